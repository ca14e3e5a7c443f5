/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * No code: every struct and enum of the ABI by value, so that the compiler
 * describes them in BTF, and every map. packages/abi is generated from it;
 * scripts/gen-abi.mjs fails when a type of axon/abi.h is missing here.
 */
#include <linux/bpf.h>
#include <axon/abi.h>
#include <axon/maps.h>

struct abi_types {
	struct ax_config config;
	struct ax_endpoint endpoint;
	struct ax_ipcache_key ipcache_key;
	struct ax_ipcache_entry ipcache_entry;
	struct ax_policy_key policy_key;
	struct ax_policy_row policy_row;
	struct ax_policy_head policy_head;
	struct ax_svc_key svc_key;
	struct ax_svc svc;
	struct ax_backend backend;
	struct ax_slot slot;
	struct ax_affinity_key affinity_key;
	struct ax_affinity affinity;
	struct ax_src_range_key src_range_key;
	struct ax_skip_key skip_key;
	struct ax_netns netns;
	struct ax_sock sock;
	struct ax_process process;
	struct ax_process_id process_id;
	struct ax_process_seq process_seq;
	struct ax_sock_rev_key sock_rev_key;
	struct ax_sock_rev sock_rev;
	struct ax_flow_key flow_key;
	struct ax_svc_flow svc_flow;
	struct ax_ct_key ct_key;
	struct ax_ct ct;
	struct ax_nat_key nat_key;
	struct ax_nat nat;
	struct ax_nat_stat nat_stat;
	struct ax_l2_key l2_key;
	struct ax_l2 l2;
	struct ax_gc_ctx gc_ctx;
	struct ax_frag_key frag_key;
	struct ax_frag_ports frag_ports;
	struct ax_metric metric;
	struct ax_event event;

	enum ax_identity e_identity;
	enum ax_config_flags e_config_flags;
	enum ax_aggregation e_aggregation;
	enum ax_ep_flags e_ep_flags;
	enum ax_ipcache_flags e_ipcache_flags;
	enum ax_dir e_dir;
	enum ax_policy_verdict e_policy_verdict;
	enum ax_policy_flags e_policy_flags;
	enum ax_svc_scope e_svc_scope;
	enum ax_svc_flags e_svc_flags;
	enum ax_svc_algorithm e_svc_algorithm;
	enum ax_svc_forwarding e_svc_forwarding;
	enum ax_backend_flags e_backend_flags;
	enum ax_process_flags e_process_flags;
	enum ax_flow_kind e_flow_kind;
	enum ax_flow_flags e_flow_flags;
	enum ax_ct_flags e_ct_flags;
	enum ax_ct_path e_ct_path;
	enum ax_metric_index e_metric_index;
	enum ax_event_type e_event_type;
	enum ax_trace_point e_trace_point;
	enum ax_trace_reason e_trace_reason;
	enum ax_event_flags e_event_flags;
	enum ax_drop e_drop;
};

struct abi_types abi_types;

char _license[] SEC("license") = "Dual BSD/GPL";
