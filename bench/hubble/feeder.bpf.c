/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Writes records into a ring buffer as the datapath does, as fast as user space asks for. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <axon/abi.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} feed_events SEC(".maps");

/* 0: written, 1: no room */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 2);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} feed_counts SEC(".maps");

#define RUN 512

/* As in bpf/lib/events.h */
#define AX_EVENTS_WAKE_EVERY (256 * 1024)
#define AX_EVENTS_RECORD (8 + sizeof(struct ax_event))

/* As the datapath wakes its reader: when much has gathered */
static __u64 wakeup(void)
{
	__u64 backlog = bpf_ringbuf_query(&feed_events, BPF_RB_AVAIL_DATA);
	int grown = backlog >= AX_EVENTS_WAKE_EVERY && backlog % AX_EVENTS_WAKE_EVERY < AX_EVENTS_RECORD;

	return grown ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static long feed_one(__u32 i, void *ctx)
{
	struct ax_event *e = bpf_ringbuf_reserve(&feed_events, sizeof(*e), 0);
	__u32 key = e ? 0 : 1;
	__u64 *count = bpf_map_lookup_elem(&feed_counts, &key);

	if (count)
		++*count;
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = bpf_ktime_get_ns();
	e->type = AX_EV_TRACE;
	e->len = *(__u32 *)ctx;
	e->proto = 6;
	e->tcp_flags = 2;
	e->src_ep = 1 + i % 64;
	e->dst_ep = 65 + i % 64;
	e->src_identity = 1000 + i % 64;
	e->dst_identity = 2000 + i % 64;
	e->sport = 40000 + i;
	e->dport = 80;
	e->saddr.w[2] = 0xffff0000;
	e->daddr.w[2] = 0xffff0000;
	bpf_ringbuf_submit(e, wakeup());
	return 0;
}

SEC("tc")
int feed(struct __sk_buff *skb)
{
	__u32 len = skb->len;

	bpf_loop(RUN, feed_one, &len, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
