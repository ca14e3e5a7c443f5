/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAP(_name, _type, _key, _value, _max, _flags)                \
	struct {                                                     \
		__uint(type, _type);                                 \
		__type(key, _key);                                   \
		__type(value, _value);                               \
		__uint(max_entries, _max);                           \
		__uint(map_flags, _flags);                           \
		__uint(pinning, LIBBPF_PIN_BY_NAME);                 \
	} _name SEC(".maps")

struct lpm_key {
	__u32 prefixlen;
	__u8 data[4];
};

MAP(t_hash, BPF_MAP_TYPE_HASH, __u32, __u64, 1000, 0);
MAP(t_lru, BPF_MAP_TYPE_LRU_HASH, __u32, __u64, 1000, 0);
MAP(t_array, BPF_MAP_TYPE_ARRAY, __u32, __u64, 8, 0);
MAP(t_counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, 4, 0);
MAP(t_lpm, BPF_MAP_TYPE_LPM_TRIE, struct lpm_key, __u32, 256, BPF_F_NO_PREALLOC);

const volatile __u32 answer = 42;
const volatile __u64 big = 0;
const volatile __u8 mac[6] = { 0 };

SEC("tc")
int returns_answer(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&t_counters, &zero);

	if (n)
		*n += 1;
	skb->mark = mac[5];
	return big ? (int)big : (int)answer;
}

SEC("tc")
int drops(struct __sk_buff *skb)
{
	return skb->len ? 2 : 0;
}

SEC("xdp")
int grows(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -14) ? XDP_ABORTED : XDP_PASS;
}

struct sum_args {
	__u32 a;
	__u32 b;
	__u32 sum;
};

SEC("syscall")
int sums(struct sum_args *args)
{
	args->sum = args->a + args->b;
	return 7;
}

char _license[] SEC("license") = "GPL";
