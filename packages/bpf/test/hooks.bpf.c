/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One program for each kind of place, each counting its runs in its own row. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 8);
} runs SEC(".maps");

static __always_inline void count(__u32 row)
{
	__u64 *n = bpf_map_lookup_elem(&runs, &row);

	if (n)
		__sync_fetch_and_add(n, 1);
}

SEC("tcx/ingress")
int first(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		count(0);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int second(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		count(1);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int blocks(struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_IP) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("cgroup/connect4")
int refuses(struct bpf_sock_addr *ctx)
{
	count(2);
	return ctx->user_port != bpf_htons(9);
}

SEC("cgroup/connect4")
int allows(struct bpf_sock_addr *ctx)
{
	(void)ctx;
	count(3);
	return 1;
}

SEC("xdp")
int passes(struct xdp_md *ctx)
{
	(void)ctx;
	count(4);
	return XDP_PASS;
}

SEC("raw_tp/sys_enter")
int enters(void *ctx)
{
	(void)ctx;
	count(5);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_getpid")
int traces(void *ctx)
{
	(void)ctx;
	count(6);
	return 0;
}

char _license[] SEC("license") = "GPL";
