/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One direction of one policy: probe only the shapes that exist, longest first. The peer is known by its identity and by
 * the prefix that rules name and that holds its address; a later row wins only by higher precedence.
 */
#ifndef AXON_LIB_POLICY_H
#define AXON_LIB_POLICY_H

#include "resolve.h"

#define AX_SHAPE_ANY 0
#define AX_SHAPE_PROTO 8
#define AX_SHAPE_MAX 24
#define AX_SHAPE_EGRESS 0x80
#define AX_PEER_DST 2   /* `about`: the peer is the packet's destination, else its source; or'ed with enum ax_dir */
#define AX_NO_ROW 0x100 /* with a verdict: the head's default */
#define AX_PROXY_SHIFT 16 /* with a verdict: the set of rules of the proxy it goes to */

AX_INLINE __be16 shape_port(__u32 shape, __be16 port)
{
	if (shape <= AX_SHAPE_PROTO)
		return 0;
	return port & bpf_htons((__u16)(0xffff << (AX_SHAPE_MAX - shape)));
}

/* The modes in which rules on prefixes pass over what has an identity of the cluster */
AX_INLINE bool is_passed_over(const struct ax_config *cfg, __u32 identity)
{
	__u32 scope = AX_SCOPE_OF(identity);

	if (!(cfg->flags & AX_CFG_CIDR_NOT_PODS) || scope == AX_SCOPE_CIDR || identity == AX_ID_WORLD ||
	    identity == AX_ID_WORLD_IPV4 || identity == AX_ID_WORLD_IPV6)
		return false;
	if (identity_is_node(identity) || identity == AX_ID_KUBE_APISERVER)
		return cfg->flags & AX_CFG_CIDR_NOT_NODES;
	return true;
}

/* What rules on prefixes know an address by; 0: not at all. */
AX_INLINE __u32 cidr_of(struct ax_work *w, const struct ax_addr *addr, __u32 identity)
{
	struct ax_config *cfg = config();
	__u32 *number;

	if (!cfg || is_passed_over(cfg, identity))
		return 0;
	w->lpm.prefixlen = 128;
	w->lpm.addr = *addr;
	number = bpf_map_lookup_elem(&ax_cidrs, &w->lpm);
	return number ? *number : world_identity(cfg, addr);
}

AX_INLINE void probe(struct ax_work *w, __u32 identity, __u32 cidr, struct ax_decision *best)
{
	struct ax_policy_row *row;

	w->policy_key.identity = identity;
	w->policy_key.cidr = cidr;
	row = bpf_map_lookup_elem(&ax_policy, &w->policy_key);
	if (!row || (best->rank && row->precedence <= best->precedence))
		return;
	best->precedence = row->precedence;
	best->rule_id = row->rule_id;
	best->proxy = row->proxy_port;
	best->verdict = row->verdict;
	best->rank = (w->policy_key.shape & ~AX_SHAPE_EGRESS) + 1;
}

/* The rows of one shape. A subprogram also because its caller's loop would be verified 20 times longer inlined. */
AX_GLOBAL int probe_shape(struct ax_work *w, struct ax_policy_head *head, __u32 bit)
{
	if (!w || !head)
		return 0;
	if (w->asked_cidr && head->shapes_both & bit)
		probe(w, w->asked_identity, w->asked_cidr, &w->found[AX_ROW_BOTH]);
	if (head->shapes_exact & bit)
		probe(w, w->asked_identity, 0, &w->found[AX_ROW_EXACT]);
	if (w->asked_cidr && head->shapes_cidr & bit)
		probe(w, 0, w->asked_cidr, &w->found[AX_ROW_CIDR]);
	if (head->shapes_any & bit)
		probe(w, 0, 0, &w->found[AX_ROW_ANY]);
	return 0;
}

AX_INLINE const struct ax_decision *better(const struct ax_decision *a, const struct ax_decision *b)
{
	if (!a->rank || !b->rank)
		return a->rank ? a : b;
	if (a->precedence != b->precedence)
		return a->precedence > b->precedence ? a : b;
	return a->rank >= b->rank ? a : b;
}

AX_INLINE bool is_denial(const struct ax_decision *d)
{
	return d->verdict == AX_PV_DENY || d->verdict == AX_PV_DEFAULT_DENY;
}

/*
 * Of layered rows the most specific one has the answer. Where both the identity and the prefix are named but not together,
 * the agent has not heard of this peer yet: neither is the whole answer, and the one that denies counts.
 */
AX_INLINE const struct ax_decision *best_of(const struct ax_decision *found, bool layered)
{
	const struct ax_decision *exact = &found[AX_ROW_EXACT], *cidr = &found[AX_ROW_CIDR];

	if (layered && !found[AX_ROW_BOTH].rank && exact->rank && cidr->rank)
		return is_denial(cidr) && !is_denial(exact) ? cidr : is_denial(exact) && !is_denial(cidr) ? exact :
										better(exact, cidr);
	return better(better(&found[AX_ROW_BOTH], exact), better(cidr, &found[AX_ROW_ANY]));
}

/*
 * rule id << 32 | rules of the proxy << 16 | AX_NO_ROW? | enum ax_policy_verdict. `l4`: protocol << 16 | port (__be16). A policy
 * without its head is refused: the agent writes heads before endpoints that name them.
 */
AX_GLOBAL __u64 policy_decide(struct ax_work *w, __u32 policy_id, __u32 about, __u32 identity, __u32 l4)
{
	__u32 head_key = policy_id << 1 | (about & AX_EGRESS);
	struct ax_policy_head *head = bpf_map_lookup_elem(&ax_policy_heads, &head_key);
	const struct ax_decision *best;
	__u32 shapes;

	if (!head || !w)
		return AX_PV_DEFAULT_DENY;
	__builtin_memset(w->found, 0, sizeof(w->found));
	w->policy_key.policy_id = policy_id;
	w->asked_identity = identity;
	w->asked_cidr = 0;
	/* this node reaches its pods by who it is: a denied prefix around it would end their probes */
	if ((head->shapes_both | head->shapes_cidr) && (about & AX_EGRESS || identity != AX_ID_HOST))
		w->asked_cidr = cidr_of(w, about & AX_PEER_DST ? &w->pkt.daddr : &w->pkt.saddr, identity);
	shapes = head->shapes_both | head->shapes_exact | head->shapes_cidr | head->shapes_any;
	for (int shape = AX_SHAPE_MAX; shape >= 0; shape--) {
		if (!(shapes & 1u << shape))
			continue;
		w->policy_key.port = shape_port(shape, l4 & 0xffff);
		w->policy_key.proto = shape ? l4 >> 16 : 0;
		w->policy_key.shape = shape | (about & AX_EGRESS ? AX_SHAPE_EGRESS : 0);
		probe_shape(w, head, 1u << shape);
	}
	best = best_of(w->found, head->flags & AX_PF_LAYERED);
	if (!best->rank)
		return (__u64)head->default_rule << 32 | AX_NO_ROW | head->default_verdict;
	return (__u64)best->rule_id << 32 | (__u32)best->proxy << AX_PROXY_SHIFT | best->verdict;
}

#endif
