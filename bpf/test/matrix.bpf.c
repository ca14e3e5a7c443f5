// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * For tests: the datapath's own way from two addresses to a verdict, asked for a whole matrix in one run. Questions and
 * answers stand in one array; the packet of the test run is not looked at.
 */
#include "addr.h"
#include "resolve.h"
#include "policy.h"

#define CELLS 4096

struct cell {
	struct ax_addr subject;
	struct ax_addr peer;
	__u32 egress;
	__u32 proto;
	__u32 port;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct cell);
	__uint(max_entries, CELLS);
} test_cells SEC(".maps");

/* What policy_decide returns; 0 without a policy. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, CELLS);
} test_answers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct ax_work);
	__uint(max_entries, 1);
} test_work SEC(".maps");

static long ask(__u32 i, void *unused __attribute__((unused)))
{
	__u32 zero = 0;
	struct ax_work *w = bpf_map_lookup_elem(&test_work, &zero);
	struct cell *cell = bpf_map_lookup_elem(&test_cells, &i);
	__u64 *answer = bpf_map_lookup_elem(&test_answers, &i);

	if (!w || !cell || !answer)
		return 1;
	w->pkt.saddr = cell->subject;
	w->pkt.daddr = cell->peer;
	if (resolve(w, &w->pkt.saddr, &w->src) || resolve(w, &w->pkt.daddr, &w->dst))
		return 1;
	*answer = w->src.policy_id ? policy_decide(w, w->src.policy_id, cell->egress | AX_PEER_DST, w->dst.identity,
						   cell->proto << 16 | bpf_htons((__u16)cell->port)) :
				     0;
	return 0;
}

/* mark: how many cells. Returns how many were answered. */
SEC("tc")
int matrix(struct __sk_buff *skb)
{
	return bpf_loop(skb->mark, ask, NULL, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
