/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the benchmark of the balancers compares with, and what stands at the other end of the wire. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} taken SEC(".maps");

SEC("xdp.frags")
int empty_xdp(struct xdp_md *ctx)
{
	return ctx->data < ctx->data_end ? XDP_DROP : XDP_PASS;
}

SEC("tc")
int empty_tc(struct __sk_buff *skb)
{
	return skb->len & 0;
}

/* What the other end sends, set by user space: a frame of 60 bytes, its flows told apart by the source port. */
#define FRAME 60
#define FLOWS 16

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32[FRAME / 4]);
	__uint(max_entries, 1);
} model SEC(".maps");

static __u32 sent;

/* Sends a frame. Written anew each time: its memory was a packet that came back. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u32 *words = (__u32 *)(long)ctx->data, *end = (__u32 *)(long)ctx->data_end;
	__u32 zero = 0;
	__u32 *from = bpf_map_lookup_elem(&model, &zero);

	if (!from || words + FRAME / 4 > end)
		return XDP_DROP;
#pragma unroll
	for (int i = 0; i < FRAME / 4; i++)
		words[i] = from[i];
	/* the low byte of the source port */
	((__u8 *)words)[35] += (__u8)(sent++ % FLOWS);
	return XDP_TX;
}

/* The end of the wire: counts UDP to the backends' port, lets nothing through. */
SEC("xdp.frags")
int take(struct xdp_md *ctx)
{
	const __u8 *data = (const __u8 *)(long)ctx->data, *end = (const __u8 *)(long)ctx->data_end;
	__u32 zero = 0;
	__u64 *count;

	/* IPv4 without options: destination port at 36, 8080 in network order */
	if (data + 38 > end || data[23] != 17 || data[36] != 0x1f || data[37] != 0x90)
		return XDP_DROP;
	count = bpf_map_lookup_elem(&taken, &zero);
	if (count)
		(*count)++;
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
