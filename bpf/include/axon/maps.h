/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map of the datapath. All are pinned by name under the node's bpffs and
 * reused by each object that names them. `max_entries` given here are the
 * defaults; the loader may raise or lower them before the first load.
 */
#ifndef AXON_MAPS_H
#define AXON_MAPS_H

#include <bpf/bpf_helpers.h>
#include "abi.h"

#define AX_MAP(_name, _type, _key, _value, _max, _flags)	\
	struct {						\
		__uint(type, _type);				\
		__type(key, _key);				\
		__type(value, _value);				\
		__uint(max_entries, _max);			\
		__uint(map_flags, _flags);			\
		__uint(pinning, LIBBPF_PIN_BY_NAME);		\
	} _name SEC(".maps")

AX_MAP(ax_config, BPF_MAP_TYPE_ARRAY, __u32, struct ax_config, 1, 0);
AX_MAP(ax_endpoints, BPF_MAP_TYPE_HASH, struct ax_addr, struct ax_endpoint, 16384, 0);
AX_MAP(ax_ipcache, BPF_MAP_TYPE_LPM_TRIE, struct ax_ipcache_key, struct ax_ipcache_entry, 512000, BPF_F_NO_PREALLOC);
AX_MAP(ax_nomasq, BPF_MAP_TYPE_LPM_TRIE, struct ax_ipcache_key, __u32, 16384, BPF_F_NO_PREALLOC);
AX_MAP(ax_cidrs, BPF_MAP_TYPE_LPM_TRIE, struct ax_ipcache_key, __u32, 131072, BPF_F_NO_PREALLOC);
AX_MAP(ax_policy, BPF_MAP_TYPE_HASH, struct ax_policy_key, struct ax_policy_row, 1048576, BPF_F_NO_PREALLOC);
AX_MAP(ax_policy_heads, BPF_MAP_TYPE_HASH, __u32, struct ax_policy_head, 65536, BPF_F_NO_PREALLOC);
AX_MAP(ax_affinity, BPF_MAP_TYPE_LRU_HASH, struct ax_affinity_key, struct ax_affinity, 65536, 0);
AX_MAP(ax_src_ranges, BPF_MAP_TYPE_LPM_TRIE, struct ax_src_range_key, __u32, 262144, BPF_F_NO_PREALLOC);
AX_MAP(ax_lrp_skip, BPF_MAP_TYPE_HASH, struct ax_skip_key, __u32, 65536, BPF_F_NO_PREALLOC);
AX_MAP(ax_netns, BPF_MAP_TYPE_HASH, __u64, struct ax_netns, 16384, BPF_F_NO_PREALLOC);
AX_MAP(ax_sock_rev, BPF_MAP_TYPE_LRU_HASH, struct ax_sock_rev_key, struct ax_sock_rev, 65536, 0);
AX_MAP(ax_sock_fwd, BPF_MAP_TYPE_LRU_HASH, struct ax_sock_rev_key, __u32, 65536, 0);
AX_MAP(ax_svc_flows, BPF_MAP_TYPE_HASH, struct ax_flow_key, struct ax_svc_flow, 131072, BPF_F_NO_PREALLOC);
AX_MAP(ax_l2, BPF_MAP_TYPE_HASH, struct ax_l2_key, struct ax_l2, 16384, BPF_F_NO_PREALLOC);
AX_MAP(ax_deny, BPF_MAP_TYPE_LPM_TRIE, struct ax_ipcache_key, __u32, 65536, BPF_F_NO_PREALLOC);
AX_MAP(ax_ct, BPF_MAP_TYPE_HASH, struct ax_ct_key, struct ax_ct, 131072, 0);
AX_MAP(ax_proxy_pods, BPF_MAP_TYPE_HASH, struct ax_proxy_pod_key, struct ax_addr, 131072, BPF_F_NO_PREALLOC);
AX_MAP(ax_nat, BPF_MAP_TYPE_HASH, struct ax_nat_key, struct ax_nat, 131072, BPF_F_NO_PREALLOC);
AX_MAP(ax_nat_stats, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct ax_nat_stat, 1, 0);
AX_MAP(ax_frags, BPF_MAP_TYPE_LRU_HASH, struct ax_frag_key, struct ax_frag_ports, 8192, 0);
AX_MAP(ax_metrics, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct ax_metric, 1024, 0);
AX_MAP(ax_processes, BPF_MAP_TYPE_HASH, __u32, struct ax_process, 32768, BPF_F_NO_PREALLOC);
AX_MAP(ax_process_ids, BPF_MAP_TYPE_LRU_HASH, __u32, struct ax_process_id, 16384, 0);
AX_MAP(ax_process_seq, BPF_MAP_TYPE_ARRAY, __u32, struct ax_process_seq, 1, 0);

/*
 * Maps that grow while they are in use: an array of one element, whose hash or array user space replaces
 * by a larger copy. The first one comes from user space too: nothing is found until then.
 */
#define AX_GROWING(_name, _type, _key, _value, _flags)			\
	struct rows_of_##_name {						\
		__uint(type, _type);					\
		/* sizes, not types: clang describes no type behind two pointers */ \
		__uint(key_size, sizeof(_key));				\
		__uint(value_size, sizeof(_value));			\
		__uint(max_entries, 1);					\
		__uint(map_flags, _flags);				\
	};								\
	struct {							\
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);		\
		__type(key, __u32);					\
		__uint(max_entries, 1);					\
		__uint(pinning, LIBBPF_PIN_BY_NAME);			\
		__array(values, struct rows_of_##_name);			\
	} _name SEC(".maps");						\
	/* always empty: its types say what the rows are, to an agent of another version */ \
	AX_MAP(_name##_row, BPF_MAP_TYPE_HASH, _key, _value, 1, BPF_F_NO_PREALLOC)

AX_GROWING(ax_services, BPF_MAP_TYPE_HASH, struct ax_svc_key, struct ax_svc, BPF_F_NO_PREALLOC);
AX_GROWING(ax_backends, BPF_MAP_TYPE_HASH, __u32, struct ax_backend, BPF_F_NO_PREALLOC);
AX_GROWING(ax_slots, BPF_MAP_TYPE_ARRAY, __u32, struct ax_slot, BPF_F_INNER_MAP);

/* The ports of one protocol on one CPU: lib/natport.h. Not of the ABI: nobody else reads it. */
enum ax_nat_class { AX_NAT_TCP = 0, AX_NAT_UDP = 1, AX_NAT_ICMP = 2, AX_NAT_CLASSES = 3 };
#define AX_NAT_LISTED 1024 /* a power of two */

struct ax_nat_pool {
	__u32 cursor;   /* next candidate, from the start of the CPU's range */
	__u32 head;     /* moved by ct_gc alone */
	__u32 tail;     /* moved by this CPU alone */
	__u32 pad;
	__u16 listed[AX_NAT_LISTED];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct ax_nat_pool));
	__uint(max_entries, AX_NAT_CLASSES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ax_nat_pools SEC(".maps");

/* Storage that goes with its socket */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__type(key, int);
	__type(value, struct ax_sock);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ax_sock SEC(".maps");

/* Not inherited by accepted sockets, which would cost a connection a microsecond: the answer to a SYN is the listener's. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__type(key, int);
	__type(value, __u32);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ax_owner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ax_events SEC(".maps");

#endif
