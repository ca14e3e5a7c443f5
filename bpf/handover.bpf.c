/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One generation of programs hands over to the next when their maps differ. These stand at all hooks meanwhile and
 * pass each packet on to the generation whose turn it is: one write changes all hooks of all devices together.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/* packages/datapath/src/migration/switch.ts has the same order */
enum { POD_FROM, POD_TO, NODE_FROM, NODE_TO, OVERLAY_FROM, OVERLAY_TO, HOOKS };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);   /* 0: the former generation, 1: the next */
	__uint(max_entries, 1);
} ax_turn SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, 2 * HOOKS);
} ax_sides SEC(".maps");

static __always_inline int pass(struct __sk_buff *skb, __u32 hook)
{
	__u32 zero = 0, *turn = bpf_map_lookup_elem(&ax_turn, &zero);

	bpf_tail_call(skb, &ax_sides, turn && *turn ? HOOKS + hook : hook);
	/* nobody is there: nobody has said yes */
	return TC_ACT_SHOT;
}

#define PASS(_name, _hook)			\
	SEC("tc")				\
	int pass_##_name(struct __sk_buff *skb)	\
	{					\
		return pass(skb, _hook);	\
	}

PASS(pod_from, POD_FROM)
PASS(pod_to, POD_TO)
PASS(node_from, NODE_FROM)
PASS(node_to, NODE_TO)
PASS(overlay_from, OVERLAY_FROM)
PASS(overlay_to, OVERLAY_TO)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
