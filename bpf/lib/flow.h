/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows of Services, as rows: which backend, and how it is reached. No packet is changed here. XDP works on the
 * same rows: either may see any packet of a flow. docs/decisions/0011-edge-flows-without-conntrack.md
 *
 *   forward row  ax_svc_flows[client -> frontend] = { backend, kind, state, source }
 *   reverse row  ax_nat[backend -> source, reverse] = { client, frontend }    AX_FLOW_SNAT
 *                ax_nat[backend -> client, reverse] = { client, frontend }    AX_FLOW_HOST
 *
 * A new flow makes its reverse row first. The flow ends with its forward row; ct_gc takes the other away.
 */
#ifndef AXON_LIB_FLOW_H
#define AXON_LIB_FLOW_H

#include "conntrack.h"
#include "lb.h"
#include "resolve.h"

/* A reverse row is no orphan for this long after it was used: its forward row may be about to come. */
#define AX_EDGE_GRACE_S 2

AX_INLINE void flow_key_of(struct ax_flow_key *key, const struct ax_pkt *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = p->saddr;
	key->daddr = p->daddr;
	key->sport = p->sport;
	key->dport = p->dport;
	key->proto = p->proto;
}

/* The flow whose backend's answers look like p once they are translated */
AX_INLINE void flow_key_of_answer(struct ax_flow_key *key, const struct ax_pkt *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = p->daddr;
	key->daddr = p->saddr;
	key->sport = p->dport;
	key->dport = p->sport;
	key->proto = p->proto;
}

AX_INLINE __u32 flow_timeout(const struct ax_config *cfg, __u32 flags, __u8 kind, __u8 proto)
{
	if (proto != IPPROTO_TCP)
		return cfg->ct_timeout_any_s;
	if (flags & AX_FLOW_CLOSED)
		return cfg->ct_timeout_tcp_fin_s;
	/* of a flow answered elsewhere only the client's side is seen: its FIN may be all there is */
	if (!(flags & AX_FLOW_SEEN_REPLY) || (kind == AX_FLOW_DSR && flags & AX_FLOW_FIN_CLIENT))
		return cfg->ct_timeout_tcp_syn_s;
	return cfg->ct_timeout_svc_s;
}

/* What a packet says about its flow: enum ax_flow_flags to be set */
AX_INLINE __u32 flow_news(__u32 flags, __u8 proto, __u8 tcp_flags, __u8 kind, bool from_client)
{
	__u32 both = AX_FLOW_FIN_CLIENT | AX_FLOW_FIN_BACKEND, set = 0;

	/* where replies are not seen here, a client that goes on has got one */
	if (!from_client || (kind != AX_FLOW_SNAT && proto == IPPROTO_TCP && !(tcp_flags & TCP_SYN)))
		set |= AX_FLOW_SEEN_REPLY;
	if (proto != IPPROTO_TCP)
		return set;
	if (tcp_flags & TCP_FIN)
		set |= from_client ? AX_FLOW_FIN_CLIENT : AX_FLOW_FIN_BACKEND;
	if (tcp_flags & TCP_RST || ((flags | set) & both) == both)
		set |= AX_FLOW_CLOSED;
	return set;
}

/* Writes only what changes: most packets of a second leave the row alone. */
AX_INLINE void flow_touch(const struct ax_config *cfg, struct ax_svc_flow *flow, __u8 proto, __u8 tcp_flags, bool from_client,
			  __u32 now)
{
	__u32 set = flow_news(flow->flags, proto, tcp_flags, flow->kind, from_client) & ~flow->flags, expires;

	if (set)
		__sync_fetch_and_or(&flow->flags, set);
	expires = now + flow_timeout(cfg, flow->flags, flow->kind, proto);
	if (flow->expires_s != expires)
		flow->expires_s = expires;
}

AX_INLINE bool opens_tcp(const struct ax_pkt *p)
{
	return p->proto == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* A SYN opens a new connection where the old one has begun to end, or where its backend takes none. */
AX_INLINE bool flow_is_over(const struct ax_svc_flow *flow, const struct ax_pkt *p, __u32 now)
{
	if ((__s32)(now - flow->expires_s) > 0)
		return true;
	return opens_tcp(p) && flow->flags & (AX_FLOW_FIN_CLIENT | AX_FLOW_FIN_BACKEND | AX_FLOW_CLOSED);
}

AX_INLINE void edge_from_flow(struct ax_edge *edge, const struct ax_svc_flow *flow, const struct ax_backend *backend)
{
	edge->backend = backend->addr;
	edge->backend_port = backend->port;
	edge->source = flow->nat_addr;
	edge->source_port = flow->nat_port;
	edge->backend_id = flow->backend_id;
	edge->kind = flow->kind;
	edge->fresh = 0;
}

/* The reply of a flow as it arrives here */
AX_INLINE void edge_reverse_key(struct ax_nat_key *key, const struct ax_edge *edge, const struct ax_pkt *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = edge->backend;
	key->sport = edge->backend_port;
	key->daddr = edge->kind == AX_FLOW_SNAT ? edge->source : p->saddr;
	key->dport = edge->kind == AX_FLOW_SNAT ? edge->source_port : p->sport;
	key->proto = p->proto;
	key->reverse = 1;
}

/* Answers to an address that the node no longer has do not come here. */
AX_INLINE bool has_lost_source(const struct ax_config *cfg, const struct ax_svc_flow *flow)
{
	return flow->kind == AX_FLOW_SNAT && !is_node_address(cfg, &flow->nat_addr);
}

/*
 * The flow w->flow_key as long as its backend exists; w->edge says where it goes. 1 or 0. What is
 * over, or has lost its backend, is forgotten: the packet selects again.
 */
AX_GLOBAL int edge_known(struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_backend *backend;
	struct ax_svc_flow *flow;

	if (!w || !cfg)
		return 0;
	flow = bpf_map_lookup_elem(&ax_svc_flows, &w->flow_key);
	if (!flow)
		return 0;
	backend = backend_row(flow->backend_id);
	if (backend)
		edge_from_flow(&w->edge, flow, backend);
	if (!backend || flow_is_over(flow, &w->pkt, w->now_s) || (opens_tcp(&w->pkt) && backend->state) ||
	    has_lost_source(cfg, flow)) {
		bpf_map_delete_elem(&ax_svc_flows, &w->flow_key);
		/* the row's memory may be another flow's by now */
		if (backend && w->edge.kind == AX_FLOW_SNAT) {
			edge_reverse_key(&w->nat_reverse, &w->edge, &w->pkt);
			bpf_map_delete_elem(&ax_nat, &w->nat_reverse);
		}
		return 0;
	}
	w->way = READ_ONCE(flow->way);
	flow_touch(cfg, flow, w->pkt.proto, w->pkt.tcp_flags, true, w->now_s);
	return 1;
}

enum ax_nat_found { AX_NAT_NONE = 0, AX_NAT_POD = 1, AX_NAT_SERVICE = 2 };

/*
 * The reverse row of a packet that arrives at the node's address: enum ax_nat_found. Its destination becomes
 * w->to : w->to_port; of a Service's flow, its source becomes w->frontend : w->frontend_port, and its forward row
 * hears of the reply: when a second has passed, and of every SYN, FIN and RST.
 */
AX_GLOBAL int edge_answer(struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_nat_key *key;
	struct ax_svc_flow *flow;
	struct ax_nat *row;
	__u32 expires;

	if (!w || !cfg)
		return AX_NAT_NONE;
	key = &w->nat_reverse;
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = w->pkt.saddr;
	key->daddr = w->pkt.daddr;
	key->sport = w->pkt.sport;
	key->dport = w->pkt.dport;
	key->proto = w->pkt.proto;
	key->reverse = 1;
	row = bpf_map_lookup_elem(&ax_nat, key);
	if (!row)
		return AX_NAT_NONE;
	w->to = row->addr;
	w->to_port = row->port;
	if (!row->frontend_port) {
		expires = w->now_s + (key->proto == IPPROTO_TCP ? cfg->ct_timeout_tcp_s : cfg->ct_timeout_any_s);
		if (row->expires_s != expires)
			row->expires_s = expires;
		return AX_NAT_POD;
	}
	w->frontend = row->frontend;
	w->frontend_port = row->frontend_port;
	w->way = READ_ONCE(row->way);
	expires = w->now_s + AX_EDGE_GRACE_S;
	if (row->expires_s == expires && !(w->pkt.tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		return AX_NAT_SERVICE;
	row->expires_s = expires;
	__builtin_memset(&w->flow_key, 0, sizeof(w->flow_key));
	w->flow_key.saddr = w->to;
	w->flow_key.daddr = w->frontend;
	w->flow_key.sport = w->to_port;
	w->flow_key.dport = w->frontend_port;
	w->flow_key.proto = key->proto;
	flow = bpf_map_lookup_elem(&ax_svc_flows, &w->flow_key);
	if (flow)
		flow_touch(cfg, flow, key->proto, w->pkt.tcp_flags, false, w->now_s);
	return AX_NAT_SERVICE;
}

#endif
