/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Address and port translation of a packet, and of the packet quoted in an ICMP
 * error, with every checksum kept right (RFC 1624).
 */
#ifndef AXON_LIB_REWRITE_H
#define AXON_LIB_REWRITE_H

#include "parse.h"

enum ax_end { AX_END_SRC = 0, AX_END_DST = 1 };

/* Offset of the transport checksum from the transport header, 0: none that we can mend */
AX_INLINE __u32 checksum_offset(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
		return 6;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 2;
	default:
		return 0;
	}
}

AX_INLINE __u32 port_offset(const struct ax_pkt *p, __u32 end)
{
	return is_icmp(p) ? offsetof(struct ax_icmp, id) : end * 2;
}

AX_INLINE __u32 address_offset(const struct ax_pkt *p, __u32 end)
{
	if (p->family == AF_INET)
		return offsetof(struct iphdr, saddr) + end * 4;
	return offsetof(struct ipv6hdr, saddr) + end * 16;
}

AX_INLINE int rewrite_address4(struct __sk_buff *skb, struct ax_pkt *p, __be32 old, __be32 new, __u32 end)
{
	__u32 l4_check = p->l4_off + checksum_offset(p->proto);
	__u64 flags = BPF_F_PSEUDO_HDR | 4;

	if (p->proto == IPPROTO_UDP)
		flags |= BPF_F_MARK_MANGLED_0;
	if ((p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP) && !(p->flags & AX_P_LATER_FRAG) &&
	    bpf_l4_csum_replace(skb, l4_check, old, new, flags))
		return AX_DROP_WRITE;
	if (bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), old, new, 4) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + address_offset(p, end), &new, 4, 0))
		return AX_DROP_WRITE;
	return 0;
}

AX_INLINE int rewrite_address6(struct __sk_buff *skb, struct ax_pkt *p, struct ax_addr *old, struct ax_addr *new,
			       __u32 end)
{
	__u32 l4_check = p->l4_off + checksum_offset(p->proto);
	__u64 flags = BPF_F_PSEUDO_HDR;
	__s64 diff = bpf_csum_diff(old->w, 16, new->w, 16, 0);

	if (p->proto == IPPROTO_UDP)
		flags |= BPF_F_MARK_MANGLED_0;
	if (p->proto != IPPROTO_SCTP && !(p->flags & AX_P_LATER_FRAG) &&
	    bpf_l4_csum_replace(skb, l4_check, 0, diff, flags))
		return AX_DROP_WRITE;
	return bpf_skb_store_bytes(skb, ETH_HLEN + address_offset(p, end), new, 16, 0) ? AX_DROP_WRITE : 0;
}

AX_INLINE int rewrite_port(struct __sk_buff *skb, struct ax_pkt *p, __be16 old, __be16 new, __u32 end)
{
	__u64 flags = 2;

	if (p->proto == IPPROTO_SCTP) /* its CRC32c covers the ports */
		return AX_DROP_NAT_UNSUPPORTED;
	if (p->proto == IPPROTO_UDP)
		flags |= BPF_F_MARK_MANGLED_0;
	if (bpf_l4_csum_replace(skb, p->l4_off + checksum_offset(p->proto), old, new, flags) ||
	    bpf_skb_store_bytes(skb, p->l4_off + port_offset(p, end), &new, 2, 0))
		return AX_DROP_WRITE;
	return 0;
}

/* Give one end of the packet another address and port; p follows. 0 or a drop reason. */
AX_GLOBAL int rewrite(struct __sk_buff *skb, struct ax_pkt *p, struct ax_addr *to, __u32 port, __u32 end)
{
	struct ax_addr *addr;
	__be16 old_port;
	int r = 0;

	if (!p || !to)
		return AX_DROP_WRITE;
	addr = end == AX_END_DST ? &p->daddr : &p->saddr;
	old_port = end == AX_END_DST ? p->dport : p->sport;
	if (addr_is4(to) != (p->family == AF_INET))
		return AX_DROP_NAT_UNSUPPORTED;
	if (p->family == AF_INET)
		r = rewrite_address4(skb, p, addr->w[3], to->w[3], end);
	else
		r = rewrite_address6(skb, p, addr, to, end);
	if (r)
		return r;
	*addr = *to;
	if (p->flags & (AX_P_LATER_FRAG | AX_P_ICMP_ERROR) || old_port == (__be16)port)
		return 0;
	r = rewrite_port(skb, p, old_port, port, end);
	if (end == AX_END_DST || is_icmp(p))
		p->dport = port;
	if (end == AX_END_SRC || is_icmp(p))
		p->sport = port;
	return r;
}

/* Replace bytes the ICMP checksum at `check` covers. */
AX_INLINE int patch(struct __sk_buff *skb, __u32 check, __u32 off, void *old, void *new, __u32 len)
{
	__s64 diff;

	if (len == 2) {
		if (bpf_l4_csum_replace(skb, check, *(__be16 *)old, *(__be16 *)new, 2))
			return AX_DROP_WRITE;
	} else {
		diff = bpf_csum_diff(old, len, new, len, 0);
		if (bpf_l4_csum_replace(skb, check, 0, diff, 0))
			return AX_DROP_WRITE;
	}
	return bpf_skb_store_bytes(skb, off, new, len, 0) ? AX_DROP_WRITE : 0;
}

/* RFC 1624 [Eqn. 3] for 16-bit words old -> new */
AX_INLINE __sum16 checksum_update(__sum16 check, const __be16 *old, const __be16 *new, int words)
{
	__u32 sum = (__u16)~check;

	for (int i = 0; i < words; i++)
		sum += (__u16)~old[i] + new[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A checksum inside the quoted packet; absent when the quote is shorter. */
AX_INLINE int patch_quoted_checksum(struct __sk_buff *skb, __u32 check, __u32 off, const __be16 *old,
				    const __be16 *new, int words)
{
	__sum16 was, is;

	if (bpf_skb_load_bytes(skb, off, &was, 2))
		return 0;
	is = checksum_update(was, old, new, words);
	return patch(skb, check, off, &was, &is, 2);
}

/* What changes at one end of a quoted packet: address, then port, as the words a checksum sums */
struct ax_quote_change {
	struct ax_addr addr;
	__be16 port;
};
#define AX_QUOTE_WORDS 9

AX_INLINE int quoted_address(struct __sk_buff *skb, struct ax_work *w, struct ax_quote_change *old,
			     struct ax_quote_change *new, __u32 end)
{
	__u32 check = w->pkt.l4_off + offsetof(struct ax_icmp, checksum);
	__u32 ip_off = w->pkt.l4_off + sizeof(struct ax_icmp);
	__u32 off = ip_off + address_offset(&w->inner, end);
	int r;

	if (w->inner.family != AF_INET)
		return patch(skb, check, off, &old->addr, &new->addr, 16);
	r = patch_quoted_checksum(skb, check, ip_off + offsetof(struct iphdr, check), (__be16 *)&old->addr.w[3],
				  (__be16 *)&new->addr.w[3], 2);
	return r ? r : patch(skb, check, off, &old->addr.w[3], &new->addr.w[3], 4);
}

/* Of the quoted transport header; a UDP zero stays, ICMP has no pseudo header. */
AX_INLINE int quoted_l4_checksum(struct __sk_buff *skb, struct ax_work *w, struct ax_quote_change *old,
				 struct ax_quote_change *new)
{
	__u32 check = w->pkt.l4_off + offsetof(struct ax_icmp, checksum);
	__u32 off = w->inner.l4_off + checksum_offset(w->inner.proto);
	__be16 is_set = 1;

	if (w->inner.proto == IPPROTO_SCTP)
		return 0;
	if (w->inner.proto == IPPROTO_ICMP)
		return patch_quoted_checksum(skb, check, off, &old->port, &new->port, 1);
	if (w->inner.proto == IPPROTO_UDP)
		bpf_skb_load_bytes(skb, off, &is_set, 2);
	return is_set ? patch_quoted_checksum(skb, check, off, (__be16 *)old, (__be16 *)new, AX_QUOTE_WORDS) : 0;
}

/* The packet quoted by the ICMP error w->pkt: one end of w->inner gets another address and port. */
AX_GLOBAL int rewrite_quoted(struct __sk_buff *skb, struct ax_work *w, struct ax_addr *to, __u32 port, __u32 end)
{
	struct ax_quote_change old = {}, new = {};
	struct ax_pkt *in;
	int r;

	if (!w || !to)
		return AX_DROP_WRITE;
	in = &w->inner;
	old.addr = end == AX_END_DST ? in->daddr : in->saddr;
	old.port = end == AX_END_DST ? in->dport : in->sport;
	new.addr = *to;
	new.port = port;
	if (in->proto == IPPROTO_SCTP && old.port != new.port)
		return AX_DROP_NAT_UNSUPPORTED;
	r = quoted_address(skb, w, &old, &new, end);
	if (!r)
		r = quoted_l4_checksum(skb, w, &old, &new);
	if (!r && old.port != new.port)
		r = patch(skb, w->pkt.l4_off + offsetof(struct ax_icmp, checksum), in->l4_off + port_offset(in, end),
			  &old.port, &new.port, 2);
	if (end == AX_END_DST)
		in->daddr = new.addr;
	else
		in->saddr = new.addr;
	if (end == AX_END_DST || is_icmp(in))
		in->dport = new.port;
	if (end == AX_END_SRC || is_icmp(in))
		in->sport = new.port;
	return r;
}

#endif
