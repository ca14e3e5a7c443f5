/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* New flows of Services: a backend, the way to it, and the rows that remember both. */
#ifndef AXON_LIB_EDGE_H
#define AXON_LIB_EDGE_H

#include "flow.h"
#include "natport.h"

/* Results below the drop reasons (130..) */
enum ax_edge_result {
	AX_EDGE_NONE = 0,  /* no Service's */
	AX_EDGE_FLOW = 1,  /* w->edge says where it goes */
};

/* A backend of the Service w->svc_key for a new flow of w->pkt: AX_EDGE_FLOW, or a drop reason. */
AX_GLOBAL int edge_select_of(struct ax_work *w)
{
	struct ax_slot backend = {};
	struct ax_svc *svc;
	__u32 ports;

	if (!w)
		return AX_DROP_NO_CONFIG;
	ports = (__u32)w->pkt.sport << 16 | w->pkt.dport;
	for (int i = 0; i < AX_LB_TRIES; i++) {
		svc = service_row(&w->svc_key);
		if (!svc || !svc->count)
			break;
		if (!select_backend(svc, &w->pkt.saddr, ports, w->pkt.proto, &backend))
			continue;
		w->edge.backend = backend.addr;
		w->edge.backend_port = backend.port;
		w->edge.backend_id = backend.id;
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

/*
 * May the backend's node answer the client itself? Only for a pod: a node's own stack (the API server's too) and a server
 * outside of the cluster know nothing of the option. A client that lives there as well would seem to come from outside
 * under an address of that node.
 */
AX_INLINE bool dsr_suits(const struct ax_work *w)
{
	if (!w->dst.in_cluster || w->dst.identity == AX_ID_KUBE_APISERVER || identity_is_node(w->dst.identity) ||
	    identity_is_node(w->src.identity) || w->src.identity == AX_ID_KUBE_APISERVER)
		return false;
	return addr_is_zero(&w->src.nexthop) || !addr_equal(&w->src.nexthop, &w->dst.nexthop);
}

/* The way to the backend that was selected, with w->dst resolved */
AX_INLINE void edge_place(struct ax_work *w, const struct ax_config *cfg)
{
	resolve(w, &w->edge.backend, &w->dst);
	if (w->dst.local)
		w->edge.kind = AX_FLOW_LOCAL;
	else if (w->dst.ep_flags & AX_EP_HOST)
		w->edge.kind = AX_FLOW_HOST;
	else if (w->edge.forwarding == AX_FWD_DSR && dsr_suits(w) && dsr_fits(w, cfg))
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

#endif
