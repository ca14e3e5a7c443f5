/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One direction of one policy: probe only the shapes that exist, longest first,
 * the exact peer before any peer; a later row wins only by higher precedence.
 */
#ifndef AXON_LIB_POLICY_H
#define AXON_LIB_POLICY_H

#include "base.h"

#define AX_SHAPE_ANY 0
#define AX_SHAPE_PROTO 8
#define AX_SHAPE_MAX 24
#define AX_SHAPE_EGRESS 0x80
#define AX_NO_ROW 0x100 /* with a verdict: the head's default */
#define AX_PROXY_SHIFT 16 /* with a verdict: the set of rules of the proxy it goes to */

struct ax_decision {
	__u32 precedence;
	__u32 rule_id;
	__u16 proxy;
	__u8 verdict;
	__u8 found;
};

AX_INLINE __be16 shape_port(__u32 shape, __be16 port)
{
	if (shape <= AX_SHAPE_PROTO)
		return 0;
	return port & bpf_htons((__u16)(0xffff << (AX_SHAPE_MAX - shape)));
}

/* A subprogram also because its caller's loop would be verified 20 times longer inlined. */
AX_GLOBAL int probe(struct ax_policy_key *key, struct ax_decision *best)
{
	struct ax_policy_row *row;

	if (!key || !best)
		return 0;
	row = bpf_map_lookup_elem(&ax_policy, key);
	if (!row || (best->found && row->precedence <= best->precedence))
		return 0;
	best->precedence = row->precedence;
	best->rule_id = row->rule_id;
	best->proxy = row->proxy_port;
	best->verdict = row->verdict;
	best->found = 1;
	return 0;
}

/* rule id << 32 | rules of the proxy << 16 | AX_NO_ROW? | enum ax_policy_verdict. A policy without its head is refused: the agent
 * writes heads before endpoints that name them. */
AX_GLOBAL __u64 policy_decide(__u32 policy_id, __u32 dir, __u32 identity, __u32 port, __u32 proto)
{
	__u32 head_key = policy_id << 1 | (dir & 1);
	struct ax_policy_head *head = bpf_map_lookup_elem(&ax_policy_heads, &head_key);
	struct ax_policy_key key = {};
	struct ax_decision best = {};
	__u32 exact, any;

	if (!head)
		return AX_PV_DEFAULT_DENY;
	exact = head->shapes_exact;
	any = head->shapes_any;
	key.policy_id = policy_id;
	for (int shape = AX_SHAPE_MAX; shape >= 0; shape--) {
		__u32 bit = 1u << shape;

		if (!((exact | any) & bit))
			continue;
		key.port = shape_port(shape, port);
		key.proto = shape ? proto : 0;
		key.shape = shape | (dir ? AX_SHAPE_EGRESS : 0);
		if (exact & bit) {
			key.identity = identity;
			probe(&key, &best);
		}
		if (any & bit) {
			key.identity = 0;
			probe(&key, &best);
		}
	}
	if (!best.found)
		return (__u64)head->default_rule << 32 | AX_NO_ROW | head->default_verdict;
	return (__u64)best.rule_id << 32 | (__u32)best.proxy << AX_PROXY_SHIFT | best.verdict;
}

#endif
