/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets of Services from outside, on their way: to a pod here, to this node's own stack, to another node,
 * and back to the client. What a packet cannot pass (hops, size) is told before anything of it is changed.
 */
#ifndef AXON_LIB_EDGE_TC_H
#define AXON_LIB_EDGE_TC_H

#include "deliver.h"
#include "dsr.h"
#include "nat.h"
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

/* A drop that the sender hears of */
AX_GLOBAL int edge_refuse(struct __sk_buff *skb, struct ax_work *w, __u32 reason)
{
	struct ax_config *cfg = config();

	if (!w || !cfg)
		return TC_ACT_SHOT;
	drop(skb, w, reason, AX_M_INGRESS);
	if (reason != AX_DROP_NO_SERVICE || refuse(skb, w))
		return TC_ACT_SHOT;
	return send_answer(skb, w, cfg);
}

AX_INLINE int edge_complain(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg, __u32 say, __u32 mtu)
{
	w->to = w->pkt.family == AF_INET ? cfg->node_ip4 : cfg->node_ip6;
	if (say == AX_SAY_TIME)
		drop(skb, w, AX_DROP_TTL_EXCEEDED, AX_M_INGRESS);
	if (complain(skb, w, say, mtu))
		return TC_ACT_SHOT;
	return send_answer(skb, w, cfg);
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

/* AX_EDGE_GO_ON when the packet, and `more` bytes around it, can be forwarded: else the verdict. */
AX_GLOBAL int edge_passes(struct __sk_buff *skb, struct ax_work *w, __u32 more)
{
	struct ax_config *cfg = config();

	if (!w || !cfg)
		return TC_ACT_SHOT;
	if (hops_left(skb, w) <= 1)
		return edge_complain(skb, w, cfg, AX_SAY_TIME, 0);
	if (cfg->mtu && wire_length(skb, w) + more > cfg->mtu && !may_fragment(skb, w))
		return edge_complain(skb, w, cfg, AX_SAY_TOO_BIG, cfg->mtu - more);
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
		return to_peer(skb, w->dst.ifindex);
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

AX_INLINE int edge_translate(struct __sk_buff *skb, struct ax_work *w)
{
	int r = rewrite(skb, &w->pkt, &w->edge.backend, w->edge.backend_port, AX_END_DST);

	if (!r && w->edge.kind == AX_FLOW_SNAT)
		r = rewrite(skb, &w->pkt, &w->edge.source, w->edge.source_port, AX_END_SRC);
	return r;
}

AX_INLINE void edge_report(struct __sk_buff *skb, struct ax_work *w)
{
	w->note.type = AX_EV_TRACE;
	w->note.subtype = w->dst.path == AX_PATH_TUNNEL ? AX_TO_OVERLAY :
			  w->edge.kind == AX_FLOW_HOST ? AX_TO_HOST : AX_TO_NETWORK;
	w->note.reason = AX_TR_NEW;
	note_parties(w);
	emit(skb, &w->pkt, &w->note);
}

/* To a backend on another node */
AX_GLOBAL int edge_forward(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	__u32 more = 0;
	int r;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	if (!w->edge.fresh)
		resolve(w, &w->edge.backend, &w->dst);
	if (dsr_wraps(w, cfg))
		more = ip_header_len(w);
	r = edge_passes(skb, w, more);
	if (r != AX_EDGE_GO_ON)
		return r;
	r = edge_translate(skb, w);
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	if (w->edge.fresh)
		edge_report(skb, w);
	count(AX_M_SERVICE, skb->len);
	if (w->edge.kind == AX_FLOW_DSR) {
		r = dsr_prepare(skb, w);
		if (r)
			return drop(skb, w, r, AX_M_INGRESS);
	}
	return edge_send(skb, w, w->src.identity);
}

/* To a pod of this node, which sees the client */
AX_GLOBAL int edge_deliver(struct __sk_buff *skb, struct ax_work *w, __u32 tunnelled)
{
	int r;

	if (!w)
		return TC_ACT_SHOT;
	r = edge_translate(skb, w);
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	count(AX_M_SERVICE, skb->len);
	w->side = ct_key(&w->pkt, &w->key);
	if (known(skb, w, 0))
		return deliver_known(skb, w);
	resolve(w, &w->pkt.daddr, &w->dst);
	if (!tunnelled)
		resolve(w, &w->pkt.saddr, &w->src);
	note_parties(w);
	if (!tunnelled && is_spoofed(&w->src))
		return drop(skb, w, AX_DROP_INVALID_SOURCE_IP, AX_M_INGRESS);
	if (!w->dst.local)
		return drop(skb, w, AX_DROP_STALE_OR_UNROUTABLE, AX_M_INGRESS);
	return deliver_new(skb, w);
}

/* To this node's own stack */
AX_INLINE int edge_to_stack(struct __sk_buff *skb, struct ax_work *w)
{
	int r = edge_translate(skb, w);

	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	if (w->edge.fresh)
		edge_report(skb, w);
	count(AX_M_SERVICE, skb->len);
	address_to_us(skb);
	return TC_ACT_OK;
}

/* An error of a client, or of a router on the way to it, about what a backend answered */
AX_GLOBAL int edge_error(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_backend *backend;
	struct ax_svc_flow *flow;
	int r;

	if (!w || load_quoted(skb, w))
		return AX_EDGE_GO_ON;
	flow_key_of_answer(&w->flow_key, &w->inner);
	flow = bpf_map_lookup_elem(&ax_svc_flows, &w->flow_key);
	if (!flow)
		return AX_EDGE_GO_ON;
	backend = backend_row(flow->backend_id);
	if (!backend)
		return AX_EDGE_GO_ON;
	edge_from_flow(&w->edge, flow, backend);
	r = rewrite_quoted(skb, w, &w->edge.backend, w->edge.backend_port, AX_END_SRC);
	if (!r && w->edge.kind == AX_FLOW_SNAT)
		r = rewrite_quoted(skb, w, &w->edge.source, w->edge.source_port, AX_END_DST);
	if (!r)
		r = rewrite(skb, &w->pkt, &w->edge.backend, 0, AX_END_DST);
	if (!r && w->edge.kind == AX_FLOW_SNAT)
		r = rewrite(skb, &w->pkt, &w->edge.source, 0, AX_END_SRC);
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	resolve(w, &w->pkt.daddr, &w->dst);
	/* to a pod: on, as an error about the pod's connection */
	if (w->edge.kind == AX_FLOW_LOCAL)
		return AX_EDGE_GO_ON;
	if (w->edge.kind == AX_FLOW_HOST) {
		address_to_us(skb);
		return TC_ACT_OK;
	}
	return edge_send(skb, w, w->src.identity);
}

/*
 * A packet from outside that may be for a Service: its verdict, or AX_EDGE_GO_ON. `tunnelled`: it came through the
 * tunnel, and w->src says from whom.
 */
AX_GLOBAL int edge_in(struct __sk_buff *skb, struct ax_work *w, __u32 tunnelled)
{
	int r;

	if (!w)
		return TC_ACT_SHOT;
	w->len = skb->len;
	if (w->pkt.flags & AX_P_ICMP_ERROR)
		return edge_error(skb, w);
	r = edge_find(w, tunnelled);
	if (r == AX_EDGE_NONE)
		return AX_EDGE_GO_ON;
	edge_dialled(w);
	if (r != AX_EDGE_FLOW)
		return edge_refuse(skb, w, r);
	if (w->edge.fresh && w->edge.kind != AX_FLOW_LOCAL && w->edge.kind != AX_FLOW_HOST) {
		/* before there is a flow */
		r = edge_passes(skb, w, 0);
		if (r != AX_EDGE_GO_ON)
			return r;
	} else if (!w->edge.fresh && !tunnelled && w->edge.kind != AX_FLOW_LOCAL) {
		resolve(w, &w->pkt.saddr, &w->src);
	}
	if (w->edge.fresh) {
		r = edge_open(skb, w);
		if (r)
			return edge_refuse(skb, w, r);
	}
	if (w->edge.kind == AX_FLOW_LOCAL)
		return edge_deliver(skb, w, tunnelled);
	return w->edge.kind == AX_FLOW_HOST ? edge_to_stack(skb, w) : edge_forward(skb, w);
}

/* A backend's answer, found by nat_in, goes to the client that w->to names. An error is translated already. */
AX_GLOBAL int edge_back(struct __sk_buff *skb, struct ax_work *w)
{
	int r;

	if (!w)
		return TC_ACT_SHOT;
	if (w->pkt.flags & AX_P_ICMP_ERROR) {
		resolve(w, &w->pkt.daddr, &w->dst);
		return edge_send(skb, w, w->src.identity);
	}
	resolve(w, &w->to, &w->dst);
	r = edge_passes(skb, w, 0);
	if (r != AX_EDGE_GO_ON)
		return r;
	w->edge.backend = w->to;
	if (w->dst.path == AX_PATH_TUNNEL)
		resolve(w, &w->pkt.saddr, &w->src);
	r = rewrite(skb, &w->pkt, &w->edge.backend, w->to_port, AX_END_DST);
	if (!r)
		r = rewrite(skb, &w->pkt, &w->frontend, w->frontend_port, AX_END_SRC);
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	return edge_send(skb, w, w->src.identity);
}

/* What the stack answers to a Service's client has the frontend as its source; errors too. 0, or a drop reason. */
AX_GLOBAL int edge_host_answer(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_nat *row;
	bool from_backend;
	int r;

	if (!w)
		return 0;
	if (!(w->pkt.flags & AX_P_ICMP_ERROR)) {
		if (is_icmp(&w->pkt) || edge_answer(w) != AX_NAT_SERVICE)
			return 0;
		return rewrite(skb, &w->pkt, &w->frontend, w->frontend_port, AX_END_SRC);
	}
	if (load_quoted(skb, w))
		return 0;
	nat_reverse_key(&w->nat_reverse, &w->inner, &w->inner.saddr, w->inner.sport);
	row = bpf_map_lookup_elem(&ax_nat, &w->nat_reverse);
	if (!row || !row->frontend_port)
		return 0;
	w->frontend = row->frontend;
	w->frontend_port = row->frontend_port;
	from_backend = addr_equal(&w->pkt.saddr, &w->inner.daddr);
	r = rewrite_quoted(skb, w, &w->frontend, w->frontend_port, AX_END_DST);
	if (r || !from_backend)
		return r;
	return rewrite(skb, &w->pkt, &w->frontend, 0, AX_END_SRC);
}

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

#endif
