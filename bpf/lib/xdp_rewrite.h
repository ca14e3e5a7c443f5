/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Translation of a plain packet in place: both ends at once, checksums by what changed (RFC 1624). */
#ifndef AXON_LIB_XDP_REWRITE_H
#define AXON_LIB_XDP_REWRITE_H

#include "xdp_parse.h"

/* Both ends as they shall be */
struct ax_ends {
	struct ax_addr saddr;
	struct ax_addr daddr;
	__be16 sport;
	__be16 dport;
};

/* One's complement sums gather in 64 bits: 32-bit words may be added as they lie, carries included. */
AX_INLINE __u16 sum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

AX_INLINE __u64 sum_change(__u32 old, __u32 new)
{
	return (__u64)(__u32)~old + new;
}

AX_INLINE __u64 sum_change_address(const struct ax_addr *old, const struct ax_addr *new)
{
	return sum_change(old->w[0], new->w[0]) + sum_change(old->w[1], new->w[1]) +
	       sum_change(old->w[2], new->w[2]) + sum_change(old->w[3], new->w[3]);
}

AX_INLINE __u64 sum_address(const struct ax_addr *a)
{
	/* the mapped prefix of IPv4 is all ones, as good as nothing in a one's complement sum */
	return (__u64)a->w[0] + a->w[1] + a->w[2] + a->w[3];
}

/*
 * Is the checksum still to be made? A sender on this machine (veth) leaves the pseudo header's sum there for the
 * hardware, and the packet carries the note outside of its bytes: only the stack may forward it. A finished
 * checksum that looks so by chance (1 in 65535) goes that way too.
 */
AX_INLINE bool checksum_is_partial(const struct ax_frame *f, const struct ax_pkt *p)
{
	__u32 l4_len = f->l3_len - (p->l4_off - ETH_HLEN);
	__u64 sum = sum_address(&p->saddr) + sum_address(&p->daddr) + bpf_htons(l4_len) + bpf_htons(p->proto);
	__u16 pseudo = sum_fold(sum);
	__u16 check = *f->check;

	return pseudo % 0xffff == check % 0xffff;
}

AX_INLINE void rewrite_ip4(struct iphdr *ip, const struct ax_ends *to)
{
	__u16 *ttl_word = (__u16 *)&ip->ttl, ttl_was = *ttl_word;
	__u64 sum = (__u16)~ip->check;

	ip->ttl--;
	sum += sum_change(ttl_was, *ttl_word);
	sum += sum_change(ip->saddr, to->saddr.w[3]) + sum_change(ip->daddr, to->daddr.w[3]);
	ip->saddr = to->saddr.w[3];
	ip->daddr = to->daddr.w[3];
	ip->check = ~sum_fold(sum);
}

/* False, and nothing done, when the header is not there: the parser has seen it, the verifier has forgotten. */
AX_INLINE bool rewrite_l3(struct ax_frame *f, const struct ax_pkt *p, const struct ax_ends *to, void *end)
{
	struct ipv6hdr *ip6 = f->l3;
	struct iphdr *ip4 = f->l3;

	if (p->family == AF_INET) {
		if ((void *)(ip4 + 1) > end)
			return false;
		rewrite_ip4(ip4, to);
		return true;
	}
	if ((void *)(ip6 + 1) > end)
		return false;
	ip6->hop_limit--;
	__builtin_memcpy(&ip6->saddr, &to->saddr, 16);
	__builtin_memcpy(&ip6->daddr, &to->daddr, 16);
	return true;
}

/* Gives the packet other ends and one hop less. The caller has seen that a hop is left. */
AX_INLINE bool xdp_rewrite(struct xdp_md *ctx, struct ax_frame *f, const struct ax_pkt *p, const struct ax_ends *to)
{
	__be16 *ports = f->l4;
	__u64 sum = (__u16)~*f->check;
	bool summed = p->proto == IPPROTO_TCP || *f->check;

	if (!rewrite_l3(f, p, to, (void *)(long)ctx->data_end))
		return false;
	sum += sum_change_address(&p->saddr, &to->saddr) + sum_change_address(&p->daddr, &to->daddr);
	sum += sum_change(p->sport, to->sport) + sum_change(p->dport, to->dport);
	ports[0] = to->sport;
	ports[1] = to->dport;
	if (!summed)
		return true;
	*f->check = ~sum_fold(sum);
	if (p->proto == IPPROTO_UDP && !*f->check)
		*f->check = 0xffff;
	return true;
}

#endif
