/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One program the verifier accepts and one it must not. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int fine(struct __sk_buff *skb)
{
	return skb->len > 100;
}

SEC("tc")
int reads_past_end(struct __sk_buff *skb)
{
	__u8 *data = (__u8 *)(long)skb->data;

	return data[40];
}

char _license[] SEC("license") = "GPL";
