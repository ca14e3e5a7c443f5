/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Producers of ring buffer records: on command (syscall program) and under load (every write of a process). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NULL ((void *)0)

struct record {
	__u64 sequence;
	__u8 filling[104];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

/* 0: records tried, 1: records that found no room */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 2);
} counts SEC(".maps");

const volatile __u32 watched_pid = 0;
__u64 sequence = 0;

static __always_inline void count(__u32 row)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &row);

	if (n)
		*n += 1;
}

static __always_inline void produce(void)
{
	struct record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);

	count(0);
	if (!r) {
		count(1);
		return;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->sequence = __sync_fetch_and_add(&sequence, 1);
	bpf_ringbuf_submit(r, 0);
}

struct command {
	__u32 records;   /* of sizeof(struct record) */
	__u32 shorts;    /* of 12 bytes, after them */
	__u32 discards;  /* reserved and given back, last */
};

static long one_record(__u32 i, void *ctx)
{
	(void)i;
	(void)ctx;
	produce();
	return 0;
}

static long one_short(__u32 i, void *ctx)
{
	__u32 words[3] = { 1, 2, 3 };

	(void)i;
	(void)ctx;
	bpf_ringbuf_output(&events, words, sizeof(words), 0);
	return 0;
}

static long one_discard(__u32 i, void *ctx)
{
	void *r = bpf_ringbuf_reserve(&events, 16, 0);

	(void)i;
	(void)ctx;
	if (r)
		bpf_ringbuf_discard(r, 0);
	return 0;
}

SEC("syscall")
int emits(struct command *c)
{
	bpf_loop(c->records, one_record, NULL, 0);
	bpf_loop(c->shorts, one_short, NULL, 0);
	bpf_loop(c->discards, one_discard, NULL, 0);
	return 0;
}

SEC("raw_tp/sys_enter")
int on_syscall(void *ctx)
{
	(void)ctx;
	if (watched_pid && bpf_get_current_pid_tgid() >> 32 == watched_pid)
		produce();
	return 0;
}

char _license[] SEC("license") = "GPL";
