/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How a Service's packet leaves the node again, or why not. What a packet cannot pass (hops, size) is told
 * before anything of it is changed.
 */
#ifndef AXON_LIB_EDGE_SEND_H
#define AXON_LIB_EDGE_SEND_H

#include "dsr.h"
#include "forward.h"
#include "reject.h"

#define AX_EDGE_GO_ON (-1) /* nothing for us: the program goes on */

/* Back to where the packet came from, through the tunnel if that was its way. */
AX_INLINE int send_answer(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg)
{
	skb->mark = AX_MARK_SNAT_DONE;
	if (cfg->flags & AX_CFG_TUNNEL && skb->ifindex == cfg->tunnel_ifindex &&
	    set_tunnel(skb, &w->src.nexthop, AX_ID_HOST))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}

/* Of traffic policy Local, and nobody is here: other nodes have backends, so there is nothing to tell a client. */
AX_INLINE bool is_served_elsewhere(struct ax_work *w)
{
	struct ax_svc *svc = service_row(&w->svc_key);

	return svc && svc->flags & AX_SVC_LOCAL_ONLY && svc->flags & AX_SVC_OUTSIDE;
}

/* A drop that the sender hears of, as a rule */
AX_GLOBAL int edge_refuse(struct __sk_buff *skb, struct ax_work *w, __u32 reason)
{
	struct ax_config *cfg = config();

	if (!w || !cfg)
		return TC_ACT_SHOT;
	drop(skb, w, reason, AX_M_INGRESS);
	if (reason != AX_DROP_NO_SERVICE || is_served_elsewhere(w) || refuse(skb, w))
		return TC_ACT_SHOT;
	return send_answer(skb, w, cfg);
}

AX_INLINE int edge_complain(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg, __u32 say, __u32 mtu)
{
	w->to = w->pkt.family == AF_INET ? cfg->node_ip4 : cfg->node_ip6;
	if (say == AX_SAY_TIME)
		drop(skb, w, AX_DROP_TTL_EXCEEDED, AX_M_INGRESS);
	if (!complain(skb, w, say, mtu))
		return send_answer(skb, w, cfg);
	/* of a kind that is not complained about */
	return say == AX_SAY_TIME ? TC_ACT_SHOT : drop(skb, w, AX_DROP_FIB, AX_M_INGRESS);
}

/* Length from L3 of what goes over the wire: of one segment of a packet the stack has merged */
AX_INLINE __u32 wire_length(struct __sk_buff *skb, const struct ax_work *w)
{
	__u32 header = 8;
	__u8 offset;

	if (!skb->gso_size)
		return skb->len - ETH_HLEN;
	if (w->pkt.proto == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, w->pkt.l4_off + 12, &offset, 1))
			return skb->len - ETH_HLEN;
		header = offset >> 4 << 2;
	}
	return w->pkt.l4_off - ETH_HLEN + header + skb->gso_size;
}

/* The outer packet of a tunnel may be cut in fragments, unless the sender forbids it. */
AX_INLINE bool may_fragment(struct __sk_buff *skb, const struct ax_work *w)
{
	__be16 frag;

	if (w->pkt.family != AF_INET || w->dst.path != AX_PATH_TUNNEL)
		return false;
	return !bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, frag_off), &frag, 2) &&
	       !(frag & bpf_htons(0x4000));
}

AX_INLINE __u8 hops_left(struct __sk_buff *skb, const struct ax_work *w)
{
	__u8 hops = 0;

	bpf_skb_load_bytes(skb, ETH_HLEN + (w->pkt.family == AF_INET ? offsetof(struct iphdr, ttl) :
								      offsetof(struct ipv6hdr, hop_limit)), &hops, 1);
	return hops;
}

/*
 * The size that the way has room for, 0: any. Where there is a tunnel, other ways out take what came in through the same
 * device: servers in another node's own network know nothing of the tunnel's size.
 */
AX_INLINE __u32 way_mtu(const struct ax_work *w, const struct ax_config *cfg)
{
	return cfg->flags & AX_CFG_TUNNEL && w->dst.path != AX_PATH_TUNNEL ? 0 : cfg->mtu;
}

/* AX_EDGE_GO_ON when the packet, and `more` bytes around it, can be forwarded: else the verdict. */
AX_GLOBAL int edge_passes(struct __sk_buff *skb, struct ax_work *w, __u32 more)
{
	struct ax_config *cfg = config();
	__u32 mtu;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	if (hops_left(skb, w) <= 1)
		return edge_complain(skb, w, cfg, AX_SAY_TIME, 0);
	mtu = way_mtu(w, cfg);
	if (mtu && wire_length(skb, w) + more > mtu && !may_fragment(skb, w))
		return edge_complain(skb, w, cfg, AX_SAY_TOO_BIG, mtu - more);
	return AX_EDGE_GO_ON;
}

/* Off the node to w->dst, as it is. */
AX_INLINE int edge_send(struct __sk_buff *skb, struct ax_work *w, __u32 identity)
{
	if (!decrement_ttl(skb))
		return drop(skb, w, AX_DROP_TTL_EXCEEDED, AX_M_INGRESS);
	route(skb, w);
	count_forward(skb, AX_M_INGRESS);
	switch (w->dst.path) {
	case AX_PATH_PEER:
		/* its address has come to this node since the flow began: nobody has asked the pod's policy */
		return drop(skb, w, AX_DROP_STALE_OR_UNROUTABLE, AX_M_INGRESS);
	case AX_PATH_TUNNEL:
		if (set_tunnel(skb, &w->dst.nexthop, identity))
			return drop(skb, w, AX_DROP_NO_TUNNEL_ENDPOINT, AX_M_INGRESS);
		return bpf_redirect(w->dst.ifindex, 0);
	case AX_PATH_NEIGH:
	case AX_PATH_DIRECT:
		skb->mark = AX_MARK_SNAT_DONE;
		return to_neighbour(w->dst.ifindex, &w->dst.nexthop);
	default:
		/* not the stack's: it drops what comes from its own addresses */
		return drop(skb, w, AX_DROP_FIB, AX_M_INGRESS);
	}
}

AX_INLINE bool dsr_wraps(const struct ax_work *w, const struct ax_config *cfg)
{
	return w->edge.kind == AX_FLOW_DSR && cfg->flags & AX_CFG_DSR_IPIP && w->dst.path != AX_PATH_TUNNEL &&
	       !addr_is_zero(&w->dst.nexthop);
}

/* The source stays, the frontend travels with the packet: with all that may be the first the other node sees of the flow. */
AX_GLOBAL int dsr_prepare(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	bool wraps;
	int r = 0;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	wraps = dsr_wraps(w, cfg);
	if ((w->edge.fresh || w->pkt.proto != IPPROTO_TCP || w->pkt.tcp_flags & TCP_SYN) && dsr_fits(w, cfg))
		r = dsr_tell(skb, w);
	if (r || !wraps)
		return r;
	/* the way is now that to the other node */
	w->edge.source = w->dst.nexthop;
	w->pkt.daddr = w->edge.source;
	return dsr_wrap(skb, &w->edge.source);
}

#endif
