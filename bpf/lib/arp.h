/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Neighbour answers, so that pods need no gateway: whoever a pod asks for, the
 * host side of its veth answers. Requests are rewritten into replies and sent back.
 */
#ifndef AXON_LIB_ARP_H
#define AXON_LIB_ARP_H

#include "events.h"

#define ARP_REQUEST bpf_htons(1)
#define ARP_REPLY bpf_htons(2)
#define ND_SOLICIT 135
#define ND_ADVERT 136
#define ND_SOLICITED_OVERRIDE bpf_htonl(0x60000000)
#define ND_OVERRIDE bpf_htonl(0x20000000)
#define ND_TARGET_LINK_ADDR 2

struct ax_arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 op;
	__u8 smac[6];
	__u8 sip[4];
	__u8 tmac[6];
	__u8 tip[4];
} __attribute__((packed));

struct ax_nd {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	struct ax_addr target;
	__u8 option;
	__u8 option_len;   /* in units of 8 bytes */
	__u8 mac[6];
};

/* The endpoint behind this device that owns the address */
AX_INLINE struct ax_endpoint *own_endpoint(struct __sk_buff *skb, struct ax_addr *addr)
{
	struct ax_endpoint *ep = bpf_map_lookup_elem(&ax_endpoints, addr);

	return ep && ep->ifindex == skb->ifindex && !(ep->flags & AX_EP_HOST) ? ep : NULL;
}

AX_INLINE int send_back(struct __sk_buff *skb, const __u8 *to, const __u8 *from)
{
	if (bpf_skb_store_bytes(skb, 0, to, 6, 0) || bpf_skb_store_bytes(skb, 6, from, 6, 0))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}

/* Ethernet and IPv4? */
AX_INLINE bool arp_load(struct __sk_buff *skb, struct ax_arp *a)
{
	return !bpf_skb_load_bytes(skb, ETH_HLEN, a, sizeof(*a)) && a->hardware == bpf_htons(1) &&
	       a->protocol == bpf_htons(ETH_P_IP) && a->hardware_len == 6 && a->protocol_len == 4;
}

/* The request becomes the reply that `mac` has the address. */
AX_INLINE int arp_answer(struct __sk_buff *skb, struct ax_arp *a, const __u8 *mac)
{
	__u8 ip[4];

	a->op = ARP_REPLY;
	__builtin_memcpy(ip, a->tip, 4);
	__builtin_memcpy(a->tmac, a->smac, 6);
	__builtin_memcpy(a->tip, a->sip, 4);
	__builtin_memcpy(a->smac, mac, 6);
	__builtin_memcpy(a->sip, ip, 4);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, a, sizeof(*a), 0))
		return TC_ACT_SHOT;
	return send_back(skb, a->tmac, mac);
}

/* Replies of the pod to the host's own requests go up; what is not answered is dropped in silence. */
AX_GLOBAL int arp(struct __sk_buff *skb)
{
	struct ax_endpoint *ep;
	struct ax_addr addr;
	struct ax_arp a;

	if (!arp_load(skb, &a))
		return drop_silently(skb, AX_DROP_INVALID, AX_M_EGRESS);
	addr_set4(&addr, *(__be32 *)a.sip);
	ep = own_endpoint(skb, &addr);
	if (!ep) /* also an address probe, RFC 5227: nobody else has it */
		return drop_silently(skb, AX_DROP_INVALID_SOURCE_IP, AX_M_EGRESS);
	if (a.op == ARP_REPLY)
		return TC_ACT_OK;
	addr_set4(&addr, *(__be32 *)a.tip);
	if (a.op != ARP_REQUEST || own_endpoint(skb, &addr))
		return drop_silently(skb, AX_DROP_INVALID, AX_M_EGRESS);
	return arp_answer(skb, &a, ep->host_mac);
}

/* RFC 4443 2.3: over a pseudo header and the message */
AX_INLINE __sum16 icmp6_checksum(const struct ax_addr *saddr, const struct ax_addr *daddr, struct ax_nd *nd)
{
	__be32 tail[2] = { bpf_htonl(sizeof(*nd)), bpf_htonl(IPPROTO_ICMPV6) };
	__s64 sum = bpf_csum_diff(NULL, 0, (__be32 *)saddr, 16, 0);

	sum = bpf_csum_diff(NULL, 0, (__be32 *)daddr, 16, sum);
	sum = bpf_csum_diff(NULL, 0, tail, sizeof(tail), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)nd, sizeof(*nd), sum);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * The MAC to answer with: of the asking endpoint; a unicast probe from an address we do not
 * know (link-local) already carries it.
 */
AX_INLINE bool nd_mac(struct __sk_buff *skb, struct ax_pkt *p, __u8 *mac)
{
	struct ax_endpoint *ep = own_endpoint(skb, &p->saddr);

	if (ep) {
		__builtin_memcpy(mac, ep->host_mac, 6);
		return true;
	}
	if (!addr_is_link_local6(&p->saddr) || addr_is_multicast(&p->daddr))
		return false;
	return !bpf_skb_load_bytes(skb, 0, mac, 6);
}

/* The solicitation `nd` becomes an advertisement with nd->mac, to `to` behind `mac`. */
AX_INLINE int nd_answer(struct __sk_buff *skb, struct ax_nd *nd, const struct ax_addr *to, const __u8 *mac, __be32 flags)
{
	__be16 len = bpf_htons(sizeof(*nd));
	__u8 hops = 255;

	nd->type = ND_ADVERT;
	nd->code = 0;
	nd->checksum = 0;
	nd->flags = flags;
	nd->option = ND_TARGET_LINK_ADDR;
	nd->option_len = 1;
	nd->checksum = icmp6_checksum(&nd->target, to, nd);
	if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(*nd), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, payload_len), &len, 2, 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &hops, 1, 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), &nd->target, 16, 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), to, 16, 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr), nd, sizeof(*nd), 0))
		return TC_ACT_SHOT;
	return send_back(skb, mac, nd->mac);
}

AX_INLINE int nd_reply(struct __sk_buff *skb, struct ax_pkt *p, struct ax_nd *nd)
{
	__u8 mac[6];

	if (bpf_skb_load_bytes(skb, 6, mac, 6))
		return TC_ACT_SHOT;
	return nd_answer(skb, nd, &p->saddr, mac, ND_SOLICITED_OVERRIDE);
}

/* An address the stack delivers here: it forwards none of these. */
AX_INLINE bool is_for_host(struct ax_addr *addr)
{
	struct ax_endpoint *ep = bpf_map_lookup_elem(&ax_endpoints, addr);

	return addr_is_link_local6(addr) || (ep && ep->flags & AX_EP_HOST);
}

/* Neighbour solicitations are answered, advertisements to the host go up, the rest has no reader. */
AX_GLOBAL int discovery(struct __sk_buff *skb, struct ax_pkt *p)
{
	struct ax_nd nd = {};

	if (!p)
		return TC_ACT_SHOT;
	if (p->icmp_type == ND_ADVERT && is_for_host(&p->daddr))
		return TC_ACT_OK;
	if (p->icmp_type != ND_SOLICIT || p->l4_off != ETH_HLEN + sizeof(struct ipv6hdr) ||
	    bpf_skb_load_bytes(skb, p->l4_off, &nd, offsetof(struct ax_nd, option)))
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_EGRESS);
	/* a duplicate address probe comes from `::`; nobody else has the pod's address */
	if (addr_is_zero(&p->saddr) || addr_is_multicast(&nd.target) || own_endpoint(skb, &nd.target) ||
	    !nd_mac(skb, p, nd.mac))
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_EGRESS);
	return nd_reply(skb, p, &nd);
}

#endif
