/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets from outside the node, to a pod of the node. */
#ifndef AXON_LIB_DELIVER_H
#define AXON_LIB_DELIVER_H

#include "decide.h"
#include "icmp.h"

/* To the pod behind the device, or to the DNS proxy that asked in its name. */
AX_INLINE int deliver_to(struct __sk_buff *skb, const struct ax_ct_side *to, __u32 ifindex)
{
	count_forward(skb, AX_M_INGRESS);
	if (to->path != AX_PATH_PROXY)
		return to_peer(skb, ifindex);
	address_to_us(skb);
	return TC_ACT_OK;
}

/* On a decided connection, whose row is in w->ct. The verdict. */
AX_GLOBAL int deliver_known(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_ct_side *to;
	int r;

	if (!w)
		return TC_ACT_SHOT;
	to = &w->ct.side[(w->side ^ 1) & 1];
	r = service_answer(skb, w);
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	return deliver_to(skb, to, to->ifindex);
}

AX_INLINE int deliver_error(struct __sk_buff *skb, struct ax_work *w)
{
	int r = related(skb, w);

	if (!r && w->ct.side[w->side & 1].ep_id != w->dst.ep_id)
		r = AX_DROP_STALE_OR_UNROUTABLE;
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	emit(skb, &w->pkt, &w->note);
	return deliver_to(skb, &w->ct.side[w->side & 1], w->dst.ifindex);
}

/* A new connection, or an old one under a new epoch. w->src and w->dst are resolved, dst is local. */
AX_INLINE int deliver_new(struct __sk_buff *skb, struct ax_work *w)
{
	int r = decide(skb, w);

	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	return deliver_known(skb, w);
}

/* Plain headers: no option that another node may have put there */
AX_INLINE bool is_bare(const struct ax_pkt *p)
{
	return p->l4_off == ETH_HLEN + (p->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
}

/*
 * The fast way for packets from outside: the device of the pod when the packet's entry is all that is
 * needed, and has been brought up to date; else 0.
 */
AX_INLINE __u32 settled_device(struct __sk_buff *skb, const struct ax_config *cfg, struct ax_pkt *p, __u32 epoch,
			       __u32 now)
{
	struct ax_ct_key key;
	__u32 side = ct_key(p, &key) & 1;
	struct ax_ct *ct = bpf_map_lookup_elem(&ax_ct, &key);

	if (!ct || !ct_is_decided(ct, epoch, side ^ 1) || !ct_came_from(ct, side, 0) || ct_is_over(ct, side, p, now))
		return 0;
	/* answers are translated; what a client sends to the backend's very address came from a node that forwards */
	if (ct->frontend_port && !(ct->flags & AX_CT_DSR && ct_from_initiator(ct, side) && is_bare(p)))
		return 0;
	if (!ct_is_plain(cfg, ct, side, p, now))
		ct_touch(skb, p, ct, side);
	return ct->side[side ^ 1].ifindex;
}

AX_INLINE int deliver_settled(struct __sk_buff *skb, __u32 device)
{
	count_forward(skb, AX_M_INGRESS);
	return to_peer(skb, device);
}

#endif
