/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The full decision: both policies of a connection in its original direction, and
 * the entry that remembers them. Runs for new connections, and once per connection
 * after every epoch, whichever side's packet comes first.
 */
#ifndef AXON_LIB_DECIDE_H
#define AXON_LIB_DECIDE_H

#include "conntrack.h"
#include "forward.h"
#include "frag.h"
#include "policy.h"

/* The ICMP type that opened the exchange this type belongs to */
AX_INLINE __u8 icmp_request_type(__u8 proto, __u8 type)
{
	if (proto == IPPROTO_ICMPV6)
		return type == ICMPV6_ECHO_REPLY ? ICMPV6_ECHO_REQUEST : type;
	return type == ICMP_ECHOREPLY ? ICMP_ECHO : type;
}

AX_INLINE __be16 policy_port(const struct ax_pkt *p, bool src_starts)
{
	if (is_icmp(p))
		return bpf_htons(src_starts ? p->icmp_type : icmp_request_type(p->proto, p->icmp_type));
	return src_starts ? p->dport : p->sport;
}

/* Returned as a drop reason would be: neither dropped nor passed, see proxy.h */
#define AX_TO_THE_PROXY 1

/*
 * A row that names rules of the proxy: the pod's query goes there. Whatever cannot (another protocol, no proxy, a
 * packet that is no longer at its pod) is denied: nothing but the proxy may serve the connection. The answer to a
 * datagram that left before the row was there is awaited by the pod: see decide().
 */
AX_INLINE __u32 redirected(struct ax_work *w, const struct ax_config *cfg, __u32 verdict, bool src_starts)
{
	bool possible = w->pkt.proto == IPPROTO_UDP || w->pkt.proto == IPPROTO_TCP;
	__u32 rules = verdict >> AX_PROXY_SHIFT;

	verdict &= (1 << AX_PROXY_SHIFT) - 1;
	w->proxy_rules = 0;
	if (!rules || verdict != AX_PV_ALLOW)
		return verdict;
	if (!src_starts && w->pkt.proto == IPPROTO_UDP) {
		w->proxy_rules = rules;
		return verdict;
	}
	if (!possible || !src_starts || !cfg->proxy_port || !w->may_redirect)
		return AX_PV_DENY;
	w->proxy_rules = rules;
	return verdict;
}

/* The drop reason of a verdict, 0 to let it pass; notes what was decided. */
AX_INLINE __u8 apply(struct ax_note *n, __u32 verdict, bool audit, __u32 shift)
{
	if (verdict == (AX_NO_ROW | AX_PV_ALLOW))
		return 0; /* not enforced: nothing decided */
	n->flags |= AX_EVF_EGRESS << shift;
	verdict &= ~AX_NO_ROW;
	if (verdict == AX_PV_ALLOW)
		return 0;
	if (audit || verdict == AX_PV_AUDIT) {
		n->flags |= AX_EVF_AUDIT_EGRESS << shift;
		return 0;
	}
	n->flags |= AX_EVF_DENIED_EGRESS << shift;
	return verdict == AX_PV_DENY ? AX_DROP_POLICY_DENY : AX_DROP_POLICY;
}

AX_INLINE bool is_audited(const struct ax_config *cfg, const struct ax_party *party)
{
	return cfg->flags & AX_CFG_POLICY_AUDIT || party->ep_flags & AX_EP_AUDIT;
}

AX_GLOBAL int judge(struct ax_work *w, __u32 src_starts)
{
	struct ax_config *cfg = config();
	struct ax_party *from, *to;
	__u32 l4;
	__u64 v;
	int r;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	from = src_starts ? &w->src : &w->dst;
	to = src_starts ? &w->dst : &w->src;
	l4 = (__u32)w->pkt.proto << 16 | policy_port(&w->pkt, src_starts);
	if (from->policy_id) {
		v = policy_decide(w, from->policy_id, AX_EGRESS | (src_starts ? AX_PEER_DST : 0), to->identity, l4);
		w->note.rule_egress = v >> 32;
		r = apply(&w->note, redirected(w, cfg, (__u32)v, src_starts), is_audited(cfg, from), 0);
		if (r)
			return r;
		if (w->proxy_rules)
			return AX_TO_THE_PROXY;
	}
	if (to->policy_id) {
		v = policy_decide(w, to->policy_id, AX_INGRESS | (src_starts ? 0 : AX_PEER_DST), from->identity, l4);
		w->note.rule_ingress = v >> 32;
		return apply(&w->note, redirected(w, cfg, (__u32)v, false), is_audited(cfg, to), 1);
	}
	return 0;
}

/* Start of a packet's way: what it is decided under, read before any other map. */
AX_INLINE void begin(struct ax_work *w, __u32 epoch, __u32 now)
{
	w->epoch = epoch;
	w->now_s = now;
	w->frontend_port = 0;
	w->tunnel_identity = 0;
	w->hairpin = 0;
	w->dsr = 0;
	w->may_redirect = 0;
	w->proxied = 0;
	__builtin_memset(&w->note, 0, sizeof(w->note));
}

/* Does the initiator of a new connection leave the cluster under the node's address? */
AX_INLINE bool wants_masquerade(struct ax_work *w, const struct ax_config *cfg)
{
	__u32 wanted = w->pkt.family == AF_INET ? AX_CFG_MASQUERADE4 : AX_CFG_MASQUERADE6;

	if (!(cfg->flags & wanted) || !w->src.local || w->src.ep_flags & AX_EP_NO_MASQ)
		return false;
	if (w->dst.in_cluster || w->dst.ep_flags & AX_EP_HOST || w->dst.path == AX_PATH_PROXY)
		return false;
	/* nodes know the way to pods, unless only the tunnel leads there */
	if (identity_is_node(w->dst.identity) && !(cfg->flags & AX_CFG_TUNNEL))
		return false;
	w->lpm.prefixlen = 128;
	w->lpm.addr = w->pkt.daddr;
	return !bpf_map_lookup_elem(&ax_nomasq, &w->lpm);
}

AX_INLINE void side_set(struct ax_ct_side *side, const struct ax_party *party, __u32 rule_id)
{
	side->ifindex = party->ifindex;
	side->identity = party->identity;
	side->rule_id = rule_id;
	side->nexthop = party->nexthop;
	side->ep_id = party->ep_id;
	side->path = party->path;
	side->nexthop_port = party->nexthop_port;
	side->proxy_rules = party->proxy_rules;
}

AX_INLINE void note_parties(struct ax_work *w)
{
	w->note.src_identity = w->src.identity;
	w->note.dst_identity = w->dst.identity;
	w->note.src_ep = w->src.ep_id;
	w->note.dst_ep = w->dst.ep_id;
}

AX_INLINE int ct_create(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg)
{
	struct ax_ct *ct = &w->ct;
	struct ax_ct_side *from = &ct->side[w->side & 1], *to = &ct->side[(w->side ^ 1) & 1];

	__builtin_memset(ct, 0, sizeof(*ct));
	ct->epoch = w->epoch;
	ct->created_s = w->now_s;
	if (w->frontend_port) {
		ct->frontend = w->frontend;
		ct->frontend_port = w->frontend_port;
	}
	ct->flags = w->side ? AX_CT_INITIATOR_B : 0;
	/* the proxy lets an audited pod ask for what it would refuse */
	if (w->note.flags & (AX_EVF_AUDIT_EGRESS | AX_EVF_AUDIT_INGRESS) ||
	    (w->dst.path == AX_PATH_PROXY && is_audited(cfg, &w->src)))
		ct->flags |= AX_CT_AUDITED;
	if (wants_masquerade(w, cfg))
		ct->flags |= AX_CT_MASQUERADE;
	if (w->hairpin)
		ct->flags |= AX_CT_LOOPBACK;
	if (w->dsr)
		ct->flags |= AX_CT_DSR;
	ct->flags |= w->proxied;
	ct->flags |= ct_progress(ct, w->side, &w->pkt);
	side_set(from, &w->src, w->note.rule_egress);
	side_set(to, &w->dst, w->note.rule_ingress);
	from->tcp_flags = w->pkt.tcp_flags;
	from->last_report_s = w->now_s;
	/* answers name it as the one they are for */
	w->note.src_process = owner_of(skb);
	from->process = w->note.src_process;
	ct->expires_s = w->now_s + ct_timeout(cfg, ct, w->pkt.proto);
	if (bpf_map_update_elem(&ax_ct, &w->key, ct, BPF_ANY))
		return AX_DROP_CT_CREATE_FAILED;
	w->note.type = w->note.flags & (AX_EVF_EGRESS | AX_EVF_INGRESS) ? AX_EV_POLICY_VERDICT : AX_EV_TRACE;
	w->note.subtype = trace_point(to);
	w->note.reason = AX_TR_NEW;
	emit(skb, &w->pkt, &w->note);
	return 0;
}

/* The same connection under a new epoch */
AX_INLINE void ct_renew(struct __sk_buff *skb, struct ax_work *w, struct ax_ct *ct, bool src_starts)
{
	struct ax_ct_side *from = &ct->side[w->side & 1], *to = &ct->side[(w->side ^ 1) & 1];

	side_set(from, &w->src, src_starts ? w->note.rule_egress : w->note.rule_ingress);
	side_set(to, &w->dst, src_starts ? w->note.rule_ingress : w->note.rule_egress);
	if (ct->flags & AX_CT_REFUSED)
		__sync_fetch_and_and(&ct->flags, ~AX_CT_REFUSED);
	__sync_lock_test_and_set(&ct->epoch, w->epoch);
	ct_touch(skb, &w->pkt, ct, w->side);
}

/* A tunnel that the maps no longer name still leads back to where the connection came from. */
AX_INLINE void keep_tunnel(struct ax_work *w, const struct ax_ct_side *to)
{
	if (w->dst.path == AX_PATH_UNKNOWN && to->path == AX_PATH_TUNNEL) {
		w->dst.path = AX_PATH_TUNNEL;
		w->dst.ifindex = to->ifindex;
		w->dst.nexthop = to->nexthop;
	}
}

/* Answers to a client whose packet another node has forwarded go straight to the client, not back to that node. */
AX_INLINE void straight_back(struct ax_work *w)
{
	__u32 identity = w->src.identity;

	resolve(w, &w->pkt.saddr, &w->src);
	w->src.identity = identity;
}

/* From the pod behind that device; 0: from outside to a pod of this node, or to the DNS proxy in its name. */
AX_INLINE bool ct_came_from(const struct ax_ct *ct, __u32 side, __u32 device)
{
	const struct ax_ct_side *from = &ct->side[side & 1], *to = &ct->side[(side ^ 1) & 1];

	if (device)
		return from->ifindex == device;
	return !from->ep_id && (to->path == AX_PATH_PEER || to->path == AX_PATH_PROXY);
}

/*
 * The client has dialled something else under the same port, and met the same backend: what it dials now is what
 * has to answer, so this is a connection of its own. Direct return tells the frontend in some of its packets only.
 */
AX_INLINE bool ct_is_of_another_frontend(const struct ax_ct *ct, const struct ax_work *w)
{
	if (!ct_from_initiator(ct, w->side))
		return false;
	if (ct->flags & AX_CT_DSR && !w->dsr && !is_opening(&w->pkt))
		return false;
	return ct->frontend_port != w->frontend_port ||
	       (w->frontend_port && !addr_equal(&ct->frontend, &w->frontend));
}

/*
 * Does the last decision about this connection still hold? Then its entry advances and its row
 * is in w->ct. `device` as for ct_came_from.
 */
AX_GLOBAL int known(struct __sk_buff *skb, struct ax_work *w, __u32 device)
{
	struct ax_ct *ct;

	if (!w || w->pkt.flags & AX_P_ICMP_ERROR)
		return 0;
	ct = bpf_map_lookup_elem(&ax_ct, &w->key);
	if (!ct || !ct_is_decided(ct, w->epoch, w->side ^ 1) || ct_is_over(ct, w->side, &w->pkt, w->now_s) ||
	    !ct_came_from(ct, w->side, device) || ct_is_of_another_frontend(ct, w))
		return 0;
	ct_touch(skb, &w->pkt, ct, w->side);
	w->ct = *ct;
	return 1;
}

/*
 * Between the same endpoints as ever? Who gets the address of a pod that is gone inherits nothing: a
 * packet on its tuple is a new connection, judged in its own direction.
 */
AX_INLINE bool ct_is_theirs(const struct ax_ct *ct, const struct ax_work *w)
{
	return ct->side[w->side & 1].ep_id == w->src.ep_id && ct->side[(w->side ^ 1) & 1].ep_id == w->dst.ep_id;
}

/* The DNS proxy in a pod's name: the pod's egress was judged when its query came to the proxy. */
AX_INLINE void proxied_party(struct ax_party *party)
{
	party->policy_id = 0;
	party->path = AX_PATH_PROXY;
	party->ifindex = 0;
}

/*
 * Datagrams, now that they have to go to the proxy. Answers to what was asked before pass under the old decision, whose
 * entry is left to them and holds for nothing else. 0 and the entry's row in w->ct, AX_TO_THE_PROXY or a drop reason.
 */
AX_INLINE int decided_before(struct ax_work *w, const struct ax_ct *ct, bool src_starts)
{
	if (src_starts)
		return AX_TO_THE_PROXY;
	if (!ct || ct->flags & AX_CT_REFUSED)
		return AX_DROP_POLICY_DENY;
	w->ct = *ct;
	return 0;
}

/* The answer to what the proxy has asked goes to the proxy, whoever has the address. */
AX_GLOBAL int proxied_side(struct ax_work *w, __u32 ct_flags, __u32 src_starts)
{
	if (w && ct_flags & AX_CT_PROXIED && !src_starts)
		proxied_party(&w->dst);
	return 0;
}

/*
 * Needs w->pkt, src, dst, key, side, epoch, now_s. Returns 0 and leaves the entry's
 * row in w->ct, or a drop reason. AX_TO_THE_PROXY only with w->may_redirect.
 */
AX_GLOBAL int decide(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_ct *ct;
	bool src_starts;
	int r;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	note_parties(w);
	ct = bpf_map_lookup_elem(&ax_ct, &w->key);
	if (ct && (ct_is_over(ct, w->side, &w->pkt, w->now_s) || !ct_is_theirs(ct, w) ||
		   ct_is_of_another_frontend(ct, w)))
		ct = NULL;
	src_starts = !ct || ct_from_initiator(ct, w->side);
	if (ct ? ct->flags & AX_CT_DSR && src_starts : w->dsr)
		straight_back(w);
	if (ct)
		proxied_side(w, ct->flags, src_starts);
	if (ct)
		keep_tunnel(w, &ct->side[(w->side ^ 1) & 1]);
	r = judge(w, src_starts);
	if (r == AX_TO_THE_PROXY && w->pkt.proto == IPPROTO_UDP)
		return decided_before(w, ct, src_starts);
	if (r && ct) {
		__sync_fetch_and_or(&ct->flags, AX_CT_REFUSED);
		__sync_lock_test_and_set(&ct->epoch, w->epoch);
	}
	if (r)
		return r;
	route(skb, w);
	if (!ct)
		return ct_create(skb, w, cfg);
	ct_renew(skb, w, ct, src_starts);
	w->ct = *ct;
	return 0;
}

#endif
