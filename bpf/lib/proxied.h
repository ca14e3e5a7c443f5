/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the DNS proxy asks servers leaves in the name of the pod that asked: with its address and its identity, so that
 * policies of the server's side, on this node or another, are about the pod. The proxy's packet names the endpoint
 * in its mark. Its entry (AX_CT_PROXIED) is under the pod's address and the port of the proxy's socket; that socket
 * is the entry's frontend, which answers go up the stack to. Where the pod itself would leave as the node, so does
 * the proxy, and what no program of ours sees (a server on this very node) comes from the node too.
 */
#ifndef AXON_LIB_PROXIED_H
#define AXON_LIB_PROXIED_H

#include "decide.h"
#include "host.h"
#include "rewrite.h"

AX_INLINE bool is_of_proxy(const struct __sk_buff *skb)
{
	return (skb->mark & AX_MARK_MASK) == AX_MARK_PROXY && is_locally_made(skb);
}

/* The pod that the mark names, as w->src and its address as w->to: 0 when there is none any more. */
AX_INLINE bool proxied_pod(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_proxy_pod_key key = {};
	struct ax_addr *addr;

	key.ep_id = skb->mark >> 16;
	key.family = w->pkt.family;
	addr = bpf_map_lookup_elem(&ax_proxy_pods, &key);
	if (!addr)
		return false;
	w->to = *addr;
	resolve(w, &w->to, &w->src);
	return w->src.local && w->src.ep_id == key.ep_id;
}

/* A query more under an entry that is there, and decided. */
AX_INLINE bool proxied_known(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_ct *ct = bpf_map_lookup_elem(&ax_ct, &w->key);

	if (!ct || !(ct->flags & AX_CT_PROXIED) || !ct_is_decided(ct, w->epoch, w->side ^ 1) ||
	    ct_is_over(ct, w->side, &w->pkt, w->now_s) || !ct_is_theirs(ct, w) || ct_is_of_another_frontend(ct, w))
		return false;
	ct_touch(skb, &w->pkt, ct, w->side);
	return true;
}

/*
 * A packet of this node's stack: does the proxy send it for a pod? AX_TO_THE_PROXY when it does and may pass, with its
 * source translated and w->src, w->dst resolved; 0 when it leaves as it is; or a drop reason.
 */
AX_GLOBAL int proxied(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	int r;

	if (!w || !cfg || !cfg->proxy_port || w->pkt.flags & (AX_P_ICMP_ERROR | AX_P_ND | AX_P_LATER_FRAG))
		return 0;
	if (!proxied_pod(skb, w))
		return 0;
	resolve(w, &w->pkt.daddr, &w->dst);
	if (w->dst.ep_flags & AX_EP_HOST || wants_masquerade(w, cfg))
		return 0;
	w->frontend = w->pkt.saddr;
	w->frontend_port = w->pkt.sport;
	r = rewrite(skb, &w->pkt, &w->to, w->pkt.sport, AX_END_SRC);
	if (r)
		return r;
	proxied_party(&w->src);
	w->proxied = AX_CT_PROXIED;
	note_parties(w);
	w->side = ct_key(&w->pkt, &w->key);
	if (proxied_known(skb, w))
		return AX_TO_THE_PROXY;
	/* the way is the stack's */
	if (w->dst.path == AX_PATH_UNKNOWN)
		w->dst.path = AX_PATH_NEIGH;
	r = decide(skb, w);
	return r ? r : AX_TO_THE_PROXY;
}

#endif
