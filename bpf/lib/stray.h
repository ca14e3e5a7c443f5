/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets to an address that only Services have, but to no port of theirs. */
#ifndef AXON_LIB_STRAY_H
#define AXON_LIB_STRAY_H

#include "edge_send.h"

/* An address that only Services have: of the marker row under port 0 and protocol 0, or announced on this link */
AX_INLINE bool is_service_address(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_l2_key l2 = {};

	__builtin_memset(&w->svc_key, 0, sizeof(w->svc_key));
	w->svc_key.addr = w->pkt.daddr;
	if (service_row(&w->svc_key))
		return true;
	l2.addr = w->pkt.daddr;
	l2.ifindex = skb->ifindex;
	return bpf_map_lookup_elem(&ax_l2, &l2);
}

/* An answer of ours has all hops before it, whatever were left of the request's. */
AX_INLINE int fresh_hops(struct __sk_buff *skb, const struct ax_work *w)
{
	__u32 off = ETH_HLEN + offsetof(struct iphdr, ttl);
	__u8 hops = AX_ANSWER_HOPS;
	__be16 old, new;

	if (w->pkt.family != AF_INET)
		return bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &hops, 1, 0);
	if (bpf_skb_load_bytes(skb, off, &old, 2))
		return AX_DROP_INVALID;
	new = old;
	*(__u8 *)&new = hops;
	return bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), old, new, 2) ||
	       bpf_skb_store_bytes(skb, off, &new, 2, 0);
}

/* An echo request becomes its answer: the two addresses change places, which no checksum minds. */
AX_INLINE int echo_back(struct __sk_buff *skb, struct ax_work *w)
{
	__be16 old, new;
	__u8 macs[12], swapped[12];
	int r = 0;

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)) || bpf_skb_load_bytes(skb, w->pkt.l4_off, &old, 2))
		return AX_DROP_INVALID;
	__builtin_memcpy(swapped, macs + 6, 6);
	__builtin_memcpy(swapped + 6, macs, 6);
	new = bpf_htons((w->pkt.family == AF_INET ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY) << 8);
	if (w->pkt.family == AF_INET) {
		r |= bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), &w->pkt.daddr.w[3], 4, 0);
		r |= bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &w->pkt.saddr.w[3], 4, 0);
	} else {
		r |= bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), &w->pkt.daddr, 16, 0);
		r |= bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), &w->pkt.saddr, 16, 0);
	}
	r |= bpf_l4_csum_replace(skb, w->pkt.l4_off + offsetof(struct ax_icmp, checksum), old, new, 2);
	r |= bpf_skb_store_bytes(skb, w->pkt.l4_off, &new, 2, 0);
	r |= bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0);
	r |= fresh_hops(skb, w);
	return r ? AX_DROP_WRITE : 0;
}

/*
 * No Service's port, but perhaps a Service's address: then nobody else has it, and routing it on would send it
 * around in circles. The node that attracts it answers echo requests and refuses the rest. AX_EDGE_GO_ON or the verdict.
 */
AX_GLOBAL int edge_stray(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();

	if (!w || !cfg || !is_service_address(skb, w))
		return AX_EDGE_GO_ON;
	if (!is_icmp(&w->pkt))
		return edge_refuse(skb, w, AX_DROP_NO_SERVICE);
	if (!is_opening(&w->pkt) || w->pkt.flags & (AX_P_FIRST_FRAG | AX_P_LATER_FRAG) || echo_back(skb, w))
		return drop(skb, w, AX_DROP_NO_SERVICE, AX_M_INGRESS);
	return send_answer(skb, w, cfg);
}

/* What of it we cannot read (another protocol, a fragment without its first one) goes round in circles no less. */
AX_GLOBAL int edge_stray_unread(struct __sk_buff *skb, struct ax_work *w, __u32 reason)
{
	if (!w)
		return TC_ACT_SHOT;
	resolve(w, &w->pkt.daddr, &w->dst);
	if (w->dst.path != AX_PATH_UNKNOWN || !is_service_address(skb, w))
		return TC_ACT_OK;
	return drop(skb, w, reason, AX_M_INGRESS);
}

#endif
