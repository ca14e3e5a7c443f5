/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows of Services, as rows: which backend, and how it is reached. No packet is touched here, so that tc
 * and XDP share it: either may see any packet of a flow. docs/decisions/0011-edge-flows-without-conntrack.md
 *
 *   forward row  ax_svc_flows[client -> frontend] = { backend, kind, state, source }
 *   reverse row  ax_nat[backend -> source, reverse] = { client, frontend }    AX_FLOW_SNAT
 *                ax_nat[backend -> client, reverse] = { client, frontend }    AX_FLOW_HOST
 *
 * A new flow makes its reverse row first. The flow ends with its forward row; ct_gc takes the other away.
 */
#ifndef AXON_LIB_EDGE_H
#define AXON_LIB_EDGE_H

#include "conntrack.h"
#include "lb.h"
#include "natport.h"
#include "resolve.h"

/* A reverse row is no orphan for this long after it was used: its forward row may be about to come. */
#define AX_EDGE_GRACE_S 2

/* Results below the drop reasons (130..) */
enum ax_edge_result {
	AX_EDGE_NONE = 0,  /* no Service's */
	AX_EDGE_FLOW = 1,  /* w->edge says where it goes */
};

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
	if (!backend || flow_is_over(flow, &w->pkt, w->now_s) || (opens_tcp(&w->pkt) && backend->state)) {
		bpf_map_delete_elem(&ax_svc_flows, &w->flow_key);
		if (backend && flow->kind == AX_FLOW_SNAT) {
			edge_reverse_key(&w->nat_reverse, &w->edge, &w->pkt);
			bpf_map_delete_elem(&ax_nat, &w->nat_reverse);
		}
		return 0;
	}
	flow_touch(cfg, flow, w->pkt.proto, w->pkt.tcp_flags, true, w->now_s);
	return 1;
}

/* A backend of the Service w->svc_key for a new flow of w->pkt: AX_EDGE_FLOW, or a drop reason. */
AX_GLOBAL int edge_select_of(struct ax_work *w)
{
	struct ax_backend *backend;
	struct ax_svc *svc;
	__u32 ports;

	if (!w)
		return AX_DROP_NO_CONFIG;
	ports = (__u32)w->pkt.sport << 16 | w->pkt.dport;
	for (int i = 0; i < AX_LB_TRIES; i++) {
		svc = service_row(&w->svc_key);
		if (!svc || !svc->count)
			break;
		backend = select_backend(svc, &w->pkt.saddr, ports, w->pkt.proto, &w->edge.backend_id);
		if (!backend)
			continue;
		w->edge.backend = backend->addr;
		w->edge.backend_port = backend->port;
		w->edge.forwarding = svc->forwarding;
		return AX_EDGE_FLOW;
	}
	return AX_DROP_NO_SERVICE;
}

/* The same of the Service that w->pkt dials, if any: enum ax_edge_result, or a drop reason. `from`: enum ax_client_from. */
AX_GLOBAL int edge_select(struct ax_work *w, __u32 from)
{
	int reason;

	if (!w)
		return AX_DROP_NO_CONFIG;
	__builtin_memset(&w->svc_key, 0, sizeof(w->svc_key));
	w->svc_key.addr = w->pkt.daddr;
	w->svc_key.port = w->pkt.dport;
	w->svc_key.proto = w->pkt.proto;
	if (!service_for(&w->svc_key, &w->pkt.saddr, from, &reason))
		return reason;
	return edge_select_of(w);
}

#define DSR_OPTION4_LEN 8
#define DSR_OPTION6_LEN 24

/* Has the packet room for the option that names the frontend? w->len is its length from L2. */
AX_INLINE bool dsr_fits(const struct ax_work *w, const struct ax_config *cfg)
{
	bool is4 = w->pkt.family == AF_INET;
	__u32 room = is4 ? DSR_OPTION4_LEN : DSR_OPTION6_LEN;

	if (w->pkt.flags & AX_P_LATER_FRAG)
		return false;
	if (is4 ? w->pkt.l4_off > ETH_HLEN + 60 - DSR_OPTION4_LEN : w->pkt.l4_off != ETH_HLEN + sizeof(struct ipv6hdr))
		return false;
	if (cfg->flags & AX_CFG_DSR_IPIP && !(cfg->flags & AX_CFG_TUNNEL))
		room += is4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	return !cfg->mtu || w->len + room <= (__u32)cfg->mtu + ETH_HLEN;
}

/* The way to the backend that was selected, with w->dst resolved */
AX_INLINE void edge_place(struct ax_work *w, const struct ax_config *cfg)
{
	resolve(w, &w->edge.backend, &w->dst);
	if (w->dst.local)
		w->edge.kind = AX_FLOW_LOCAL;
	else if (w->dst.ep_flags & AX_EP_HOST)
		w->edge.kind = AX_FLOW_HOST;
	/* the other node's own stack knows nothing of the option */
	else if (w->edge.forwarding == AX_FWD_DSR && !identity_is_node(w->dst.identity) && dsr_fits(w, cfg))
		w->edge.kind = AX_FLOW_DSR;
	else
		w->edge.kind = AX_FLOW_SNAT;
}

/* The reverse row of a new flow: who asked, and what they dialled */
AX_INLINE void edge_reverse_row(struct ax_work *w)
{
	edge_reverse_key(&w->nat_reverse, &w->edge, &w->pkt);
	__builtin_memset(&w->nat, 0, sizeof(w->nat));
	w->nat.addr = w->pkt.saddr;
	w->nat.port = w->pkt.sport;
	w->nat.frontend = w->pkt.daddr;
	w->nat.frontend_port = w->pkt.dport;
	w->nat.expires_s = w->now_s + AX_EDGE_GRACE_S;
}

AX_INLINE int edge_give_source(ax_ctx *ctx, struct ax_work *w, const struct ax_config *cfg)
{
	int r;

	w->edge.source = w->pkt.family == AF_INET ? cfg->node_ip4 : cfg->node_ip6;
	if (addr_is_zero(&w->edge.source))
		return AX_DROP_NAT_NO_MAPPING;
	edge_reverse_row(w);
	r = nat_allocate(ctx, w, bpf_ntohs(w->pkt.sport));
	w->edge.source_port = w->to_port;
	return r;
}

/* The forward row of another frontend's flow under the same client and backend */
AX_INLINE bool edge_is_live(struct ax_work *w, const struct ax_nat *row)
{
	struct ax_svc_flow *flow;
	struct ax_flow_key key;

	__builtin_memset(&key, 0, sizeof(key));
	key.saddr = row->addr;
	key.daddr = row->frontend;
	key.sport = row->port;
	key.dport = row->frontend_port;
	key.proto = w->pkt.proto;
	flow = bpf_map_lookup_elem(&ax_svc_flows, &key);
	return flow && (__s32)(w->now_s - flow->expires_s) <= 0 && !(flow->flags & AX_FLOW_CLOSED);
}

/* The stack's replies carry no port of ours: a client may not use two frontends of one backend under one port at a time. */
AX_INLINE int edge_give_host_row(struct ax_work *w)
{
	struct ax_nat *row;

	edge_reverse_row(w);
	row = bpf_map_lookup_elem(&ax_nat, &w->nat_reverse);
	if (row && !(addr_equal(&row->frontend, &w->nat.frontend) && row->frontend_port == w->nat.frontend_port) &&
	    edge_is_live(w, row))
		return AX_DROP_NAT_NO_MAPPING;
	return bpf_map_update_elem(&ax_nat, &w->nat_reverse, &w->nat, BPF_ANY) ? AX_DROP_NAT_NO_MAPPING : 0;
}

/* The forward row. Another CPU may have been faster with a packet of the same flow: its row counts. */
AX_INLINE int edge_remember(struct ax_work *w, const struct ax_config *cfg)
{
	struct ax_svc_flow flow = {};
	long r;

	flow.backend_id = w->edge.backend_id;
	flow.kind = w->edge.kind;
	if (flow.kind == AX_FLOW_SNAT) {
		flow.nat_addr = w->edge.source;
		flow.nat_port = w->edge.source_port;
	}
	flow.flags = flow_news(0, w->pkt.proto, w->pkt.tcp_flags, flow.kind, true);
	flow.expires_s = w->now_s + flow_timeout(cfg, flow.flags, flow.kind, w->pkt.proto);
	r = bpf_map_update_elem(&ax_svc_flows, &w->flow_key, &flow, BPF_NOEXIST);
	if (!r)
		return 0;
	if (flow.kind == AX_FLOW_SNAT)
		bpf_map_delete_elem(&ax_nat, &w->nat_reverse);
	if (r == -EEXIST && edge_known(w))
		return 0;
	return AX_DROP_CT_CREATE_FAILED;
}

/* Makes the rows of a new flow. Needs w->edge from edge_select and edge_place. 0 or a drop reason. */
AX_GLOBAL int edge_open(ax_ctx *ctx, struct ax_work *w)
{
	struct ax_config *cfg = config();
	int r = 0;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	w->edge.fresh = 1;
	if (w->edge.kind == AX_FLOW_SNAT)
		r = edge_give_source(ctx, w, cfg);
	else if (w->edge.kind == AX_FLOW_HOST)
		r = edge_give_host_row(w);
	return r ? r : edge_remember(w, cfg);
}

AX_INLINE void edge_dialled(struct ax_work *w)
{
	w->frontend = w->pkt.daddr;
	w->frontend_port = w->pkt.dport;
	w->note.flags |= AX_EVF_TRANSLATED;
	w->note.orig_daddr = w->pkt.daddr;
	w->note.orig_dport = w->pkt.dport;
}

/* Addresses that are not out there: this node's own, and where there is a tunnel those of other nodes' pods */
AX_INLINE bool is_spoofed(const struct ax_party *src)
{
	return src->local || src->ep_flags & AX_EP_HOST || src->path == AX_PATH_TUNNEL;
}

/*
 * A packet from outside: is it a Service's, and where does it go? Enum ax_edge_result, or a drop reason.
 * w->flow_key is its flow; of a new one w->src and w->dst are resolved. `tunnelled`: w->src is known already.
 * XDP leaves what stays on the node to tc: it must not open these flows.
 */
AX_GLOBAL int edge_find(struct ax_work *w, __u32 tunnelled)
{
	struct ax_config *cfg = config();
	int r;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	if (is_icmp(&w->pkt))
		return AX_EDGE_NONE;
	flow_key_of(&w->flow_key, &w->pkt);
	if (edge_known(w))
		return AX_EDGE_FLOW;
	r = edge_select(w, AX_CLIENT_OUTSIDE);
	if (r == AX_EDGE_NONE)
		return r;
	if (!tunnelled) {
		resolve(w, &w->pkt.saddr, &w->src);
		if (is_spoofed(&w->src))
			return AX_DROP_INVALID_SOURCE_IP;
	}
	if (r != AX_EDGE_FLOW)
		return r;
	w->edge.fresh = 1;
	edge_place(w, cfg);
	return r;
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
