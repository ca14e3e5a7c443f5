/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers of our own to a packet that goes no further: an ICMP error or a TCP reset, written over the packet
 * itself, from w->to to its sender. No state and no queue: one packet in, one out.
 */
#ifndef AXON_LIB_REJECT_H
#define AXON_LIB_REJECT_H

#include "events.h"
#include "forward.h"

#define ICMP_PORT_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define ICMPV6_PORT_UNREACH_CODE 4
#define AX_ANSWER_HOPS 64

enum ax_complaint { AX_SAY_PORT = 0, AX_SAY_TOO_BIG = 1, AX_SAY_TIME = 2 };

AX_INLINE __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Of a transport header and what follows, in the answer's addresses: unfolded */
AX_INLINE __s64 pseudo_sum(const struct ax_work *w, __u32 proto, __u32 len, __s64 sum)
{
	__be32 tail[2] = { bpf_htonl(len), bpf_htonl(proto) };

	if (w->pkt.family == AF_INET) {
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&w->to.w[3], 4, sum);
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&w->pkt.saddr.w[3], 4, sum);
	} else {
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&w->to, 16, sum);
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&w->pkt.saddr, 16, sum);
	}
	return bpf_csum_diff(NULL, 0, tail, sizeof(tail), sum);
}

AX_INLINE __u32 ip_header_len(const struct ax_work *w)
{
	return w->pkt.family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

/* Ethernet and IP of the answer; `len` is what follows IP. */
AX_INLINE int answer_headers(struct __sk_buff *skb, const struct ax_work *w, __u32 proto, __u32 len)
{
	__u8 macs[12], swapped[12];

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return AX_DROP_WRITE;
	__builtin_memcpy(swapped, macs + 6, 6);
	__builtin_memcpy(swapped + 6, macs, 6);
	if (bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0))
		return AX_DROP_WRITE;
	if (w->pkt.family == AF_INET) {
		struct iphdr ip = {
			.version = 4, .ihl = 5, .ttl = AX_ANSWER_HOPS, .protocol = proto, .frag_off = bpf_htons(0x4000),
		};

		ip.tot_len = bpf_htons(sizeof(ip) + len);
		ip.saddr = w->to.w[3];
		ip.daddr = w->pkt.saddr.w[3];
		ip.check = ~fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
		return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0) ? AX_DROP_WRITE : 0;
	}
	struct ipv6hdr ip6 = { .version = 6, .nexthdr = proto, .hop_limit = AX_ANSWER_HOPS };

	ip6.payload_len = bpf_htons(len);
	__builtin_memcpy(&ip6.saddr, &w->to, 16);
	__builtin_memcpy(&ip6.daddr, &w->pkt.saddr, 16);
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip6, sizeof(ip6), 0) ? AX_DROP_WRITE : 0;
}

/* The packet's length from L3, without the padding of a short frame */
AX_INLINE __u32 packet_length(struct __sk_buff *skb, const struct ax_work *w)
{
	__u32 off = ETH_HLEN + (w->pkt.family == AF_INET ? offsetof(struct iphdr, tot_len) :
							    offsetof(struct ipv6hdr, payload_len));
	__u32 len = skb->len - ETH_HLEN, said;
	__be16 field;

	if (bpf_skb_load_bytes(skb, off, &field, sizeof(field)))
		return 0;
	said = bpf_ntohs(field) + (w->pkt.family == AF_INET ? 0 : sizeof(struct ipv6hdr));
	return said && said < len ? said : len;
}

/* How much of the packet is quoted */
AX_INLINE __u32 quote_length(struct __sk_buff *skb, const struct ax_work *w)
{
	__u32 len = packet_length(skb, w);

	return len > AX_QUOTE ? AX_QUOTE : len;
}

AX_INLINE void complaint_header(struct ax_work *w, __u32 say, __u32 mtu)
{
	__u8 *h = w->answer;

	__builtin_memset(h, 0, 8);
	if (w->pkt.family == AF_INET) {
		h[0] = say == AX_SAY_TIME ? ICMP_TIME_EXCEEDED : ICMP_DEST_UNREACH;
		h[1] = say == AX_SAY_TIME ? 0 : say == AX_SAY_TOO_BIG ? ICMP_FRAG_NEEDED : ICMP_PORT_UNREACH;
	} else {
		h[0] = say == AX_SAY_TIME ? ICMPV6_TIME_EXCEED : say == AX_SAY_TOO_BIG ? ICMPV6_PKT_TOOBIG : ICMPV6_DEST_UNREACH;
		h[1] = say == AX_SAY_PORT ? ICMPV6_PORT_UNREACH_CODE : 0;
	}
	if (say != AX_SAY_TOO_BIG)
		return;
	h[6] = mtu >> 8;
	h[7] = mtu;
}

/* w->pkt becomes an ICMP error about itself. 0 or a drop reason. Nothing is said about errors, fragments and resets. */
AX_GLOBAL int complain(struct __sk_buff *skb, struct ax_work *w, __u32 say, __u32 mtu)
{
	__u32 quote, proto, len;
	__s64 sum = 0;
	__u16 check;
	int r;

	if (!w || w->pkt.flags & (AX_P_ICMP_ERROR | AX_P_LATER_FRAG) || addr_is_zero(&w->pkt.saddr) ||
	    addr_is_multicast(&w->pkt.saddr) || addr_is_zero(&w->to))
		return AX_DROP_INVALID;
	quote = quote_length(skb, w);
	if (quote < sizeof(struct iphdr) || quote > AX_QUOTE)
		return AX_DROP_INVALID;
	__builtin_memset(w->answer, 0, sizeof(w->answer));
	complaint_header(w, say, mtu);
	if (bpf_skb_load_bytes(skb, ETH_HLEN, w->answer + 8, quote))
		return AX_DROP_INVALID;
	proto = w->pkt.family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	len = 8 + quote;
	if (proto == IPPROTO_ICMPV6)
		sum = pseudo_sum(w, proto, len, 0);
	/* what is not quoted is zero */
	check = ~fold(bpf_csum_diff(NULL, 0, (__be32 *)w->answer, sizeof(w->answer), sum));
	__builtin_memcpy(w->answer + 2, &check, 2);
	if (bpf_skb_change_tail(skb, ETH_HLEN + ip_header_len(w) + len, 0))
		return AX_DROP_WRITE;
	r = answer_headers(skb, w, proto, len);
	if (r)
		return r;
	if (w->pkt.family == AF_INET)
		r = bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(struct iphdr), w->answer, len, 0);
	else
		r = bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr), w->answer, len, 0);
	return r ? AX_DROP_WRITE : 0;
}

struct ax_tcp {
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 offset;
	__u8 flags;
	__be16 window;
	__sum16 check;
	__be16 urgent;
};

/* Is the transport checksum still to be filled in by a device? Then a change of the payload leaves the field alone. */
AX_INLINE bool checksum_is_partial(struct __sk_buff *skb, __u32 off)
{
	__u16 before = 0, after = 0;

	if (bpf_skb_load_bytes(skb, off, &before, 2) || bpf_l4_csum_replace(skb, off, 0, bpf_htons(0x1234), 2) ||
	    bpf_skb_load_bytes(skb, off, &after, 2))
		return false;
	return before == after;
}

/* RFC 9293 3.10.7.1: the reset that a closed port answers with */
AX_INLINE void reset_header(struct ax_tcp *t, const struct ax_pkt *p, __u32 payload)
{
	__u32 seq = bpf_ntohl(t->seq);

	payload += !!(p->tcp_flags & TCP_SYN) + !!(p->tcp_flags & TCP_FIN);
	t->sport = p->dport;
	t->dport = p->sport;
	t->seq = p->tcp_flags & TCP_ACK ? t->ack : 0;
	t->ack = p->tcp_flags & TCP_ACK ? 0 : bpf_htonl(seq + payload);
	t->flags = TCP_RST | (p->tcp_flags & TCP_ACK ? 0 : TCP_ACK);
	t->offset = sizeof(*t) << 2;
	t->window = 0;
	t->check = 0;
	t->urgent = 0;
}

/* w->pkt, of TCP, becomes the reset that answers it. 0 or a drop reason. */
AX_GLOBAL int reset(struct __sk_buff *skb, struct ax_work *w)
{
	__u32 off, header, len;
	struct ax_tcp t;
	bool partial;
	__s64 sum;
	int r;

	if (!w || w->pkt.flags & AX_P_LATER_FRAG || w->pkt.tcp_flags & TCP_RST)
		return AX_DROP_INVALID;
	off = ETH_HLEN + ip_header_len(w);
	if (w->pkt.l4_off != off || bpf_skb_load_bytes(skb, off, &t, sizeof(t)))
		return AX_DROP_INVALID;
	header = t.offset >> 4 << 2;
	len = packet_length(skb, w) + ETH_HLEN;
	if (len < off + header)
		return AX_DROP_INVALID;
	partial = checksum_is_partial(skb, off + offsetof(struct ax_tcp, check));
	reset_header(&t, &w->pkt, len - off - header);
	sum = pseudo_sum(w, IPPROTO_TCP, sizeof(t), 0);
	if (partial)
		t.check = fold(sum);
	else
		t.check = ~fold(bpf_csum_diff(NULL, 0, (__be32 *)&t, sizeof(t), sum));
	if (bpf_skb_change_tail(skb, off + sizeof(t), 0))
		return AX_DROP_WRITE;
	r = answer_headers(skb, w, IPPROTO_TCP, sizeof(t));
	if (r)
		return r;
	return bpf_skb_store_bytes(skb, off, &t, sizeof(t), 0) ? AX_DROP_WRITE : 0;
}

/* Nobody serves what w->pkt dialled: a reset, or an ICMP error, in the name of the address that was dialled. */
AX_GLOBAL int refuse(struct __sk_buff *skb, struct ax_work *w)
{
	if (!w)
		return AX_DROP_INVALID;
	w->to = w->pkt.daddr;
	return w->pkt.proto == IPPROTO_TCP ? reset(skb, w) : complain(skb, w, AX_SAY_PORT, 0);
}

#endif
