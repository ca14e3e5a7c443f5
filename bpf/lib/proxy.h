/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections that a policy sends to the node's DNS proxy. Their entry is under the pod's and the proxy's address, where
 * the proxy finds it by its own socket's names: what was dialled (frontend), the server it stands for (nexthop of
 * the proxy's side), and the set of rules. Each packet of the pod is judged anew under what it dials, so the entry
 * has no need of the epoch, and answers pass as long as it lives.
 */
#ifndef AXON_LIB_PROXY_H
#define AXON_LIB_PROXY_H

#include "decide.h"
#include "rewrite.h"

AX_INLINE const struct ax_addr *proxy_address(const struct ax_config *cfg, __u8 family)
{
	return family == AF_INET ? &cfg->proxy_ip4 : &cfg->proxy_ip6;
}

AX_INLINE bool proxy_stands_for(const struct ax_ct *ct, const struct ax_work *w)
{
	return ct_is_redirected(ct) && ct->frontend_port == w->frontend_port && addr_equal(&ct->frontend, &w->frontend);
}

/*
 * The entry of this pod, its port and what it dialled: 1 when it is there. w->key, w->side and w->to_port say which
 * port of the proxy is its own; another server of the same pod's port has another. More than AX_PROXY_PORTS: the
 * last gives way.
 */
AX_GLOBAL int proxy_entry(struct ax_work *w)
{
	struct ax_config *cfg = config();

	if (!w || !cfg)
		return 0;
	w->inner = w->pkt;
	w->inner.daddr = w->to;
	for (int i = 0; i < AX_PROXY_PORTS; i++) {
		struct ax_ct *ct;

		w->to_port = w->inner.dport = bpf_htons(cfg->proxy_port + i);
		w->side = ct_key(&w->inner, &w->key) & 1;
		ct = bpf_map_lookup_elem(&ax_ct, &w->key);
		if (!ct || ct_is_over(ct, w->side, &w->pkt, w->now_s))
			return 0;
		if (proxy_stands_for(ct, w))
			return ct->side[w->side & 1].ep_id == w->src.ep_id;
	}
	return 0;
}

/* The proxy in the place of the server in w->dst and w->pkt */
AX_INLINE void proxy_in_place(struct ax_work *w)
{
	w->dst.path = AX_PATH_PROXY;
	w->dst.ifindex = 0;
	w->dst.ep_id = 0;
	w->dst.nexthop = w->pkt.daddr;
	w->dst.nexthop_port = w->pkt.dport;
	w->dst.proxy_rules = w->proxy_rules;
}

/* A query more under an entry that is there: by the rules of now, whatever they were */
AX_INLINE void proxy_renew(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg, struct ax_ct *ct)
{
	side_set(&ct->side[w->side & 1], &w->src, w->note.rule_egress);
	side_set(&ct->side[(w->side ^ 1) & 1], &w->dst, 0);
	WRITE_ONCE(ct->epoch, w->epoch);
	if (is_audited(cfg, &w->src))
		__sync_fetch_and_or(&ct->flags, AX_CT_AUDITED);
	else
		__sync_fetch_and_and(&ct->flags, ~AX_CT_AUDITED);
	ct_touch(skb, &w->pkt, ct, w->side);
	w->ct = *ct;
}

/* The query is judged and goes to the proxy. 0 and the entry's row in w->ct, or a drop reason. */
AX_GLOBAL int redirect(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_ct *ct;
	int r;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	w->to = *proxy_address(cfg, w->pkt.family);
	if (addr_is_zero(&w->to))
		return AX_DROP_POLICY_DENY;
	if (!w->frontend_port) {
		w->frontend = w->pkt.daddr;
		w->frontend_port = w->pkt.dport;
	}
	proxy_in_place(w);
	ct = proxy_entry(w) ? bpf_map_lookup_elem(&ax_ct, &w->key) : NULL;
	if (ct) {
		proxy_renew(skb, w, cfg, ct);
	} else {
		r = ct_create(skb, w, cfg);
		if (r)
			return r;
	}
	return rewrite(skb, &w->pkt, &w->to, w->to_port, AX_END_DST);
}

/*
 * A packet of the stack to a pod: is it the proxy's answer? It leaves in the name of what the pod dialled. 1 when it
 * is and may pass, 0 when it is something else, or a drop reason.
 */
AX_GLOBAL int proxy_answer(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_ct *ct;
	int r;

	if (!w || !cfg || !cfg->proxy_port || w->pkt.flags & AX_P_ICMP_ERROR ||
	    !addr_equal(&w->pkt.saddr, proxy_address(cfg, w->pkt.family)))
		return 0;
	w->side = ct_key(&w->pkt, &w->key) & 1;
	ct = bpf_map_lookup_elem(&ax_ct, &w->key);
	if (!ct || ct_from_initiator(ct, w->side) || !ct_is_redirected(ct))
		return 0;
	if ((__s32)(w->now_s - ct->expires_s) > 0 || ct->side[(w->side ^ 1) & 1].ep_id != w->dst.ep_id)
		return AX_DROP_STALE_OR_UNROUTABLE;
	w->to = ct->frontend;
	r = rewrite(skb, &w->pkt, &w->to, ct->frontend_port, AX_END_SRC);
	if (r)
		return r;
	ct_touch(skb, &w->pkt, ct, w->side);
	return AX_TO_THE_PROXY;
}

#endif
