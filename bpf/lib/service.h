/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Service translation per packet. ax_svc_flows remembers a flow's backend for as long as
 * the backend exists; the connection's entry remembers what was dialled for the way back.
 */
#ifndef AXON_LIB_SERVICE_H
#define AXON_LIB_SERVICE_H

#include "edge.h"
#include "rewrite.h"

/* A pod on the way to itself has this address: it would not answer itself otherwise. fd00:6178:6f6e::1 */
#define AX_LOOPBACK4 bpf_htonl(0xa9fe2a01)

AX_INLINE void loopback_address(struct ax_addr *addr, __u8 family)
{
	if (family == AF_INET) {
		addr_set4(addr, AX_LOOPBACK4);
		return;
	}
	addr->w[0] = bpf_htonl(0xfd006178);
	addr->w[1] = bpf_htonl(0x6f6e0000);
	addr->w[2] = 0;
	addr->w[3] = bpf_htonl(1);
}

AX_INLINE bool is_loopback_address(const struct ax_addr *addr, __u8 family)
{
	struct ax_addr loopback;

	loopback_address(&loopback, family);
	return addr_equal(addr, &loopback);
}

/* A pod's flow: its backend is what the row remembers, its connection's entry knows the rest. */
AX_GLOBAL int service_remember(struct ax_work *w)
{
	struct ax_config *cfg = config();
	int r;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	w->edge.kind = AX_FLOW_LOCAL;
	r = edge_remember(w, cfg);
	return r ? r : AX_EDGE_FLOW;
}

/* To the backend in w->edge. 0 or a drop reason. */
AX_GLOBAL int service_translate(struct __sk_buff *skb, struct ax_work *w)
{
	bool hairpin;
	int r;

	if (!w)
		return AX_DROP_NO_CONFIG;
	count(AX_M_SERVICE, skb->len);
	w->to = w->edge.backend;
	hairpin = addr_equal(&w->to, &w->pkt.saddr);
	r = rewrite(skb, &w->pkt, &w->to, w->edge.backend_port, AX_END_DST);
	if (r || !hairpin)
		return r;
	w->hairpin = 1;
	loopback_address(&w->to, w->pkt.family);
	return rewrite(skb, &w->pkt, &w->to, w->pkt.sport, AX_END_SRC);
}

/* Translate the destination of a pod's packet if it is a service. 0 or a drop reason. */
AX_GLOBAL int service(struct __sk_buff *skb, struct ax_work *w)
{
	int r = AX_EDGE_FLOW;

	if (!w)
		return AX_DROP_NO_CONFIG;
	if (is_icmp(&w->pkt))
		return 0;
	flow_key_of(&w->flow_key, &w->pkt);
	if (!edge_known(w)) {
		r = edge_select(w, AX_CLIENT_INSIDE);
		if (r == AX_EDGE_FLOW)
			r = service_remember(w);
	}
	if (r == AX_EDGE_NONE || r == AX_DROP_NOT_IN_SRC_RANGE)
		return r;
	edge_dialled(w);
	return r == AX_EDGE_FLOW ? service_translate(skb, w) : r;
}

/* The flow sees the client's packets only: it hears when the other end has closed, and that a datagram was answered. */
AX_INLINE void service_flow_hears(struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_svc_flow *flow;

	if (!cfg)
		return;
	/* w->pkt is translated by now */
	flow_key_of_answer(&w->flow_key, &w->pkt);
	flow = bpf_map_lookup_elem(&ax_svc_flows, &w->flow_key);
	if (flow)
		flow_touch(cfg, flow, w->pkt.proto, w->pkt.tcp_flags, false, w->now_s);
}

/*
 * A reply, whose entry is in w->ct, leaves with the address the client dialled, or goes to the DNS proxy that asked in
 * the client's name. 0 or a drop reason.
 */
AX_GLOBAL int service_translate_answer(struct __sk_buff *skb, struct ax_work *w)
{
	int r;

	if (!w)
		return AX_DROP_NO_CONFIG;
	w->to = w->ct.frontend;
	if (w->ct.flags & AX_CT_PROXIED)
		return rewrite(skb, &w->pkt, &w->to, w->ct.frontend_port, AX_END_DST);
	if (w->ct.flags & AX_CT_LOOPBACK) {
		w->edge.backend = w->pkt.saddr;
		r = rewrite(skb, &w->pkt, &w->edge.backend, w->pkt.dport, AX_END_DST);
		if (r)
			return r;
	}
	r = rewrite(skb, &w->pkt, &w->to, w->ct.frontend_port, AX_END_SRC);
	if (w->pkt.proto != IPPROTO_TCP || w->pkt.tcp_flags & (TCP_FIN | TCP_RST))
		service_flow_hears(w);
	return r;
}

AX_INLINE int service_answer(struct __sk_buff *skb, struct ax_work *w)
{
	if (!w->ct.frontend_port || ct_from_initiator(&w->ct, w->side))
		return 0;
	return service_translate_answer(skb, w);
}

#endif
