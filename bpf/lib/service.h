/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Service translation per packet. ax_svc_flows remembers a flow's backend for as long as
 * the backend exists; the connection's entry remembers what was dialled for the way back.
 */
#ifndef AXON_LIB_SERVICE_H
#define AXON_LIB_SERVICE_H

#include "conntrack.h"
#include "lb.h"
#include "rewrite.h"

AX_INLINE void flow_key_of(struct ax_flow_key *key, const struct ax_pkt *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = p->saddr;
	key->daddr = p->daddr;
	key->sport = p->sport;
	key->dport = p->dport;
	key->proto = p->proto;
}

AX_INLINE __u32 flow_expiry(const struct ax_config *cfg, const struct ax_work *w)
{
	return w->now_s + (w->pkt.proto == IPPROTO_TCP ? cfg->ct_timeout_svc_s : cfg->ct_timeout_any_s);
}

/* The backend a flow has already, if it may keep it. */
AX_INLINE struct ax_backend *remembered_backend(struct ax_work *w, const struct ax_config *cfg)
{
	struct ax_svc_flow *flow = bpf_map_lookup_elem(&ax_svc_flows, &w->flow_key);
	struct ax_backend *backend;
	bool opens = w->pkt.proto == IPPROTO_TCP && (w->pkt.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;

	if (!flow || (__s32)(w->now_s - flow->expires_s) > 0)
		return NULL;
	backend = backend_row(flow->backend_id);
	if (!backend || (opens && backend->state))
		return NULL;
	if (flow->expires_s != flow_expiry(cfg, w))
		flow->expires_s = flow_expiry(cfg, w);
	return backend;
}

AX_INLINE struct ax_backend *new_backend(struct ax_work *w, const struct ax_config *cfg)
{
	__u32 ports = (__u32)w->pkt.sport << 16 | w->pkt.dport;
	struct ax_svc_flow flow = {};
	struct ax_backend *backend;
	struct ax_svc *svc;

	for (int i = 0; i < AX_LB_TRIES; i++) {
		svc = service_row(&w->svc_key);
		if (!svc || !svc->count)
			return NULL;
		backend = select_backend(svc, &w->pkt.saddr, ports, w->pkt.proto, &flow.backend_id);
		if (!backend)
			continue;
		flow.expires_s = flow_expiry(cfg, w);
		bpf_map_update_elem(&ax_svc_flows, &w->flow_key, &flow, BPF_ANY);
		return backend;
	}
	return NULL;
}

/* Translate the destination if it is a service. 0 or a drop reason. */
AX_GLOBAL int service(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_backend *backend;
	struct ax_svc *svc;
	int reason;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	if (is_icmp(&w->pkt))
		return 0;
	__builtin_memset(&w->svc_key, 0, sizeof(w->svc_key));
	w->svc_key.addr = w->pkt.daddr;
	w->svc_key.port = w->pkt.dport;
	w->svc_key.proto = w->pkt.proto;
	svc = service_for(&w->svc_key, &w->pkt.saddr, AX_CLIENT_INSIDE, &reason);
	if (!svc)
		return reason;
	flow_key_of(&w->flow_key, &w->pkt);
	w->frontend = w->pkt.daddr;
	w->frontend_port = w->pkt.dport;
	w->note.flags |= AX_EVF_TRANSLATED;
	w->note.orig_daddr = w->pkt.daddr;
	w->note.orig_dport = w->pkt.dport;
	backend = remembered_backend(w, cfg);
	if (!backend)
		backend = new_backend(w, cfg);
	if (!backend)
		return AX_DROP_NO_SERVICE;
	w->to = backend->addr;
	count(AX_M_SERVICE, skb->len);
	return rewrite(skb, &w->pkt, &w->to, backend->port, AX_END_DST);
}

/* A reply, whose entry is in w->ct, leaves with the address the client dialled. 0 or a drop reason. */
AX_INLINE int service_answer(struct __sk_buff *skb, struct ax_work *w)
{
	if (!w->ct.frontend_port || ct_from_initiator(&w->ct, w->side))
		return 0;
	w->to = w->ct.frontend;
	return rewrite(skb, &w->pkt, &w->to, w->ct.frontend_port, AX_END_SRC);
}

#endif
