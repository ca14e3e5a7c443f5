/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From bytes to struct ax_pkt, two ways with one result:
 *  - parse_plain reads the linear part in place: IPv4 with or without options,
 *    IPv6 without extension headers, no fragment, TCP, UDP, SCTP or an ICMP echo.
 *  - parse_any reads everything else through bpf_skb_load_bytes.
 * Lengths that only matter to the receiving stack are left to it: a packet that
 * lies about them gains nothing here.
 */
#ifndef AXON_LIB_PARSE_H
#define AXON_LIB_PARSE_H

#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include "addr.h"

#define IP_MF_OR_OFFSET bpf_htons(0x3fff)
#define IP_OFFSET bpf_htons(0x1fff)
#define IPV6_MAX_EXTENSIONS 6

/* RFC 792, RFC 1191; <linux/icmp.h> drags in libc */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12

/* RFC 4861: router solicitation .. redirect; valid only with the hop limit they were sent with */
#define ND_FIRST 133
#define ND_LAST 137

struct ax_icmp {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

/* Results below the drop reasons (130..) */
enum ax_parse {
	AX_PARSE_OK = 0,
	AX_PARSE_MORE = 1,    /* not plain: parse_any decides */
	AX_PARSE_ARP = 2,
	AX_PARSE_FOREIGN = 3, /* not an Ethernet type of ours */
};

AX_INLINE bool is_icmp(const struct ax_pkt *p)
{
	return p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6;
}

AX_INLINE bool is_echo(__u8 proto, __u8 type)
{
	if (proto == IPPROTO_ICMP)
		return type == ICMP_ECHO || type == ICMP_ECHOREPLY;
	return type == ICMPV6_ECHO_REQUEST || type == ICMPV6_ECHO_REPLY;
}

AX_INLINE bool is_icmp_error(__u8 proto, __u8 type)
{
	if (proto == IPPROTO_ICMP)
		return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
	return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
}

/* An ICMP message belongs to its family; a v4-mapped address never travels (RFC 4291 2.5.5.2,
 * and it would share its map rows with the IPv4 address). */
AX_INLINE bool addresses_travel(const struct ax_pkt *p)
{
	return !addr_is4(&p->saddr) && !addr_is4(&p->daddr);
}

AX_INLINE int parse_plain_l4(void *l4, void *end, struct ax_pkt *p)
{
	if (p->proto == IPPROTO_TCP) {
		if (l4 + 14 > end)
			return AX_PARSE_MORE;
		p->sport = *(__be16 *)l4;
		p->dport = *(__be16 *)(l4 + 2);
		p->tcp_flags = *(__u8 *)(l4 + 13);
		return AX_PARSE_OK;
	}
	if (l4 + 8 > end)
		return AX_PARSE_MORE;
	if (p->proto == IPPROTO_UDP || p->proto == IPPROTO_SCTP) {
		p->sport = *(__be16 *)l4;
		p->dport = *(__be16 *)(l4 + 2);
		return AX_PARSE_OK;
	}
	if (p->proto == (p->family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6) &&
	    is_echo(p->proto, *(__u8 *)l4)) {
		p->icmp_type = *(__u8 *)l4;
		p->icmp_code = *(__u8 *)(l4 + 1);
		p->sport = p->dport = *(__be16 *)(l4 + 4);
		return AX_PARSE_OK;
	}
	return AX_PARSE_MORE;
}

AX_INLINE int parse_plain(struct __sk_buff *skb, struct ax_pkt *p)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;

	__builtin_memset(p, 0, sizeof(*p));
	if (data + ETH_HLEN + sizeof(struct iphdr) > end)
		return AX_PARSE_MORE;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;
		__u32 header = ip->ihl * 4;

		if (ip->version != 4 || header < sizeof(*ip) || ip->frag_off & IP_MF_OR_OFFSET)
			return AX_PARSE_MORE;
		addr_set4(&p->saddr, ip->saddr);
		addr_set4(&p->daddr, ip->daddr);
		p->proto = ip->protocol;
		p->family = AF_INET;
		p->l4_off = ETH_HLEN + header;
		return parse_plain_l4((void *)ip + header, end, p);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETH_HLEN;

		if ((void *)(ip + 1) > end || ip->version != 6)
			return AX_PARSE_MORE;
		__builtin_memcpy(&p->saddr, &ip->saddr, 16);
		__builtin_memcpy(&p->daddr, &ip->daddr, 16);
		if (!addresses_travel(p))
			return AX_PARSE_MORE;
		p->proto = ip->nexthdr;
		p->family = AF_INET6;
		p->l4_off = ETH_HLEN + sizeof(*ip);
		return parse_plain_l4(ip + 1, end, p);
	}
	return AX_PARSE_MORE;
}

AX_INLINE int load_ip4(struct __sk_buff *skb, __u32 off, struct ax_pkt *p)
{
	struct iphdr ip;
	__u32 header;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return AX_DROP_INVALID;
	header = ip.ihl * 4;
	if (ip.version != 4 || header < sizeof(ip) || off + header > skb->len)
		return AX_DROP_INVALID;
	addr_set4(&p->saddr, ip.saddr);
	addr_set4(&p->daddr, ip.daddr);
	p->proto = ip.protocol;
	p->family = AF_INET;
	p->l4_off = off + header;
	p->frag_id = ip.id;
	if (ip.frag_off & IP_MF_OR_OFFSET)
		p->flags |= ip.frag_off & IP_OFFSET ? AX_P_LATER_FRAG : AX_P_FIRST_FRAG;
	return AX_PARSE_OK;
}

/* Extension headers up to the transport header: RFC 8200 4 */
AX_INLINE int load_extensions(struct __sk_buff *skb, struct ax_pkt *p)
{
	struct {
		__u8 next;
		__u8 len;
		__be16 frag_off;
		__be32 frag_id;
	} h;

	for (int i = 0; i < IPV6_MAX_EXTENSIONS; i++) {
		switch (p->proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
			break;
		case IPPROTO_NONE:
			return AX_DROP_INVALID_EXTHDR;
		default:
			return AX_PARSE_OK;
		}
		if (p->flags & AX_P_LATER_FRAG)
			return AX_PARSE_OK;
		if (bpf_skb_load_bytes(skb, p->l4_off, &h, sizeof(h)))
			return AX_DROP_INVALID;
		if (p->proto == IPPROTO_FRAGMENT) {
			p->frag_id = h.frag_id;
			if (h.frag_off & bpf_htons(0xfff8))
				p->flags |= AX_P_LATER_FRAG;
			else if (h.frag_off & bpf_htons(1))
				p->flags |= AX_P_FIRST_FRAG;
			p->l4_off += 8;
		} else if (p->proto == IPPROTO_AH) {
			p->l4_off += (h.len + 2) * 4;
		} else {
			p->l4_off += (h.len + 1) * 8;
		}
		p->proto = h.next;
	}
	return AX_DROP_INVALID_EXTHDR;
}

AX_INLINE int load_ip6(struct __sk_buff *skb, __u32 off, struct ax_pkt *p)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version != 6)
		return AX_DROP_INVALID;
	__builtin_memcpy(&p->saddr, &ip.saddr, 16);
	__builtin_memcpy(&p->daddr, &ip.daddr, 16);
	if (!addresses_travel(p))
		return AX_DROP_INVALID;
	p->proto = ip.nexthdr;
	p->hops = ip.hop_limit;
	p->family = AF_INET6;
	p->l4_off = off + sizeof(ip);
	return load_extensions(skb, p);
}

AX_INLINE int load_icmp(struct __sk_buff *skb, struct ax_pkt *p)
{
	struct ax_icmp h;

	if (p->proto != (p->family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return AX_DROP_CT_UNKNOWN_PROTO;
	if (bpf_skb_load_bytes(skb, p->l4_off, &h, sizeof(h)))
		return AX_DROP_CT_INVALID_HDR;
	p->icmp_type = h.type;
	p->icmp_code = h.code;
	if (is_echo(p->proto, h.type))
		p->sport = p->dport = h.id;
	else if (is_icmp_error(p->proto, h.type))
		p->flags |= AX_P_ICMP_ERROR;
	else if (p->proto == IPPROTO_ICMPV6 && h.type >= ND_FIRST && h.type <= ND_LAST && p->hops == 255)
		p->flags |= AX_P_ND;
	return AX_PARSE_OK;
}

AX_INLINE int load_l4(struct __sk_buff *skb, struct ax_pkt *p)
{
	__be16 ports[2];

	switch (p->proto) {
	case IPPROTO_TCP:
		/* a shorter header cannot be one of TCP: byte 13 holds the flags */
		if (bpf_skb_load_bytes(skb, p->l4_off + 13, &p->tcp_flags, 1))
			return AX_DROP_CT_INVALID_HDR;
		break;
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		break;
	default:
		return load_icmp(skb, p);
	}
	if (p->l4_off + 8 > skb->len || bpf_skb_load_bytes(skb, p->l4_off, ports, sizeof(ports)))
		return AX_DROP_CT_INVALID_HDR;
	p->sport = ports[0];
	p->dport = ports[1];
	return AX_PARSE_OK;
}

/* Later fragments keep ports 0 here: see frag.h. */
AX_GLOBAL int parse_any(struct __sk_buff *skb, struct ax_pkt *p)
{
	__be16 type;
	int r;

	if (!p || bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type)))
		return AX_DROP_INVALID;
	__builtin_memset(p, 0, sizeof(*p));
	if (type == bpf_htons(ETH_P_ARP))
		return AX_PARSE_ARP;
	if (type == bpf_htons(ETH_P_IP))
		r = load_ip4(skb, ETH_HLEN, p);
	else if (type == bpf_htons(ETH_P_IPV6))
		r = load_ip6(skb, ETH_HLEN, p);
	else
		return AX_PARSE_FOREIGN;
	if (r || p->flags & AX_P_LATER_FRAG)
		return r;
	return load_l4(skb, p);
}

#endif
