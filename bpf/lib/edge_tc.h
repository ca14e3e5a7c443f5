/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets of Services from outside, on their way: to a pod here, to this node's own stack, to another node,
 * and back to the client.
 */
#ifndef AXON_LIB_EDGE_TC_H
#define AXON_LIB_EDGE_TC_H

#include "deliver.h"
#include "edge_send.h"
#include "host.h"
#include "nat.h"

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

/* The backend's address has moved between this node and another: the flow's next packet begins anew. */
AX_INLINE int edge_forget(struct __sk_buff *skb, struct ax_work *w)
{
	bpf_map_delete_elem(&ax_svc_flows, &w->flow_key);
	return drop(skb, w, AX_DROP_STALE_OR_UNROUTABLE, AX_M_INGRESS);
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
	if (w->dst.local)
		return edge_forget(skb, w);
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
		return edge_forget(skb, w);
	return deliver_new(skb, w);
}

/* To this node's own stack, where the host's policy judges what the Service has made of it */
AX_INLINE int edge_to_stack(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg, __u32 tunnelled)
{
	int r = edge_translate(skb, w);

	if (!r && cfg->host_policy_id) {
		resolve(w, &w->pkt.daddr, &w->dst);
		if (!tunnelled)
			resolve(w, &w->pkt.saddr, &w->src);
		r = host_judge(skb, w, 1);
	} else if (!r && w->edge.fresh) {
		edge_report(skb, w);
	}
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	count(AX_M_SERVICE, skb->len);
	address_to_us(skb);
	return TC_ACT_OK;
}

/* An error of a client, or of a router on the way to it, about what a backend answered */
AX_GLOBAL int edge_error(struct __sk_buff *skb, struct ax_work *w, __u32 tunnelled)
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
	if (!tunnelled)
		resolve(w, &w->pkt.saddr, &w->src);
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
	struct ax_config *cfg = config();
	int r;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	w->len = skb->len;
	if (w->pkt.flags & AX_P_ICMP_ERROR)
		return edge_error(skb, w, tunnelled);
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
	} else if (!w->edge.fresh && !tunnelled && cfg->flags & AX_CFG_TUNNEL) {
		/* the tunnel will say who it is */
		resolve(w, &w->pkt.saddr, &w->src);
	}
	if (w->edge.fresh) {
		r = edge_open(skb, w);
		if (r)
			return edge_refuse(skb, w, r);
	}
	if (w->edge.kind == AX_FLOW_LOCAL)
		return edge_deliver(skb, w, tunnelled);
	return w->edge.kind == AX_FLOW_HOST ? edge_to_stack(skb, w, cfg, tunnelled) : edge_forward(skb, w);
}

/* A backend's answer, found by nat_in, goes to the client that w->to names. An error is translated already. */
AX_GLOBAL int edge_back(struct __sk_buff *skb, struct ax_work *w)
{
	int r;

	if (!w)
		return TC_ACT_SHOT;
	if (w->pkt.flags & AX_P_ICMP_ERROR) {
		resolve(w, &w->pkt.daddr, &w->dst);
		resolve(w, &w->pkt.saddr, &w->src);
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

#endif
