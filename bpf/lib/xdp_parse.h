/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A packet read and changed where it lies, before the kernel has made an skb of it. Only plain packets are worth
 * it: IPv4 without options, IPv6 without extension headers, no fragment, TCP or UDP. Of all others the addresses
 * are known, and the tc programs see them.
 */
#ifndef AXON_LIB_XDP_PARSE_H
#define AXON_LIB_XDP_PARSE_H

#include <linux/udp.h>
#include "parse.h"

enum ax_xdp_parse {
	AX_XDP_PLAIN = 0,
	AX_XDP_ADDRESSES = 1,  /* IP, but not plain: the addresses are all we know */
	AX_XDP_FOREIGN = 2,
};

/* Where the layers of a plain packet are */
struct ax_frame {
	struct ethhdr *eth;
	void *l3;
	void *l4;
	__sum16 *check;        /* of the transport header */
	__u16 l3_len;          /* from the IP header on, as the packet says */
	__u8 hops;             /* TTL, hop limit */
	__u8 pad;
};

AX_INLINE int xdp_parse_l4(struct ax_frame *f, struct ax_pkt *p, void *end)
{
	if (p->proto == IPPROTO_TCP) {
		struct tcphdr *tcp = f->l4;

		if ((void *)(tcp + 1) > end)
			return AX_XDP_ADDRESSES;
		p->tcp_flags = *((__u8 *)tcp + 13);
		f->check = &tcp->check;
	} else if (p->proto == IPPROTO_UDP) {
		struct udphdr *udp = f->l4;

		if ((void *)(udp + 1) > end)
			return AX_XDP_ADDRESSES;
		f->check = &udp->check;
	} else {
		return AX_XDP_ADDRESSES;
	}
	p->sport = *(__be16 *)f->l4;
	p->dport = *(__be16 *)(f->l4 + 2);
	return AX_XDP_PLAIN;
}

AX_INLINE int xdp_parse4(struct ax_frame *f, struct ax_pkt *p, void *end)
{
	struct iphdr *ip = f->l3;

	if ((void *)(ip + 1) > end || ip->version != 4)
		return AX_XDP_FOREIGN;
	addr_set4(&p->saddr, ip->saddr);
	addr_set4(&p->daddr, ip->daddr);
	p->proto = ip->protocol;
	p->family = AF_INET;
	f->l3_len = bpf_ntohs(ip->tot_len);
	f->hops = ip->ttl;
	if (ip->ihl != 5 || ip->frag_off & IP_MF_OR_OFFSET || f->l3_len < sizeof(*ip) + sizeof(struct udphdr))
		return AX_XDP_ADDRESSES;
	p->l4_off = ETH_HLEN + sizeof(*ip);
	f->l4 = ip + 1;
	return xdp_parse_l4(f, p, end);
}

AX_INLINE int xdp_parse6(struct ax_frame *f, struct ax_pkt *p, void *end)
{
	struct ipv6hdr *ip = f->l3;
	__u32 payload;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return AX_XDP_FOREIGN;
	__builtin_memcpy(&p->saddr, &ip->saddr, 16);
	__builtin_memcpy(&p->daddr, &ip->daddr, 16);
	p->proto = ip->nexthdr;
	p->family = AF_INET6;
	if (!addresses_travel(p))
		return AX_XDP_FOREIGN;
	payload = bpf_ntohs(ip->payload_len);
	f->l3_len = payload + sizeof(*ip);
	f->hops = ip->hop_limit;
	/* no jumbogram either */
	if (payload < sizeof(struct udphdr) || payload > 0xffff - sizeof(*ip))
		return AX_XDP_ADDRESSES;
	p->l4_off = ETH_HLEN + sizeof(*ip);
	f->l4 = ip + 1;
	return xdp_parse_l4(f, p, end);
}

AX_INLINE int xdp_parse(struct xdp_md *ctx, struct ax_frame *f, struct ax_pkt *p)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	__builtin_memset(p, 0, sizeof(*p));
	__builtin_memset(f, 0, sizeof(*f));
	f->eth = data;
	f->l3 = data + ETH_HLEN;
	if (f->l3 > end)
		return AX_XDP_FOREIGN;
	if (f->eth->h_proto == bpf_htons(ETH_P_IP))
		return xdp_parse4(f, p, end);
	if (f->eth->h_proto == bpf_htons(ETH_P_IPV6))
		return xdp_parse6(f, p, end);
	return AX_XDP_FOREIGN;
}

#endif
