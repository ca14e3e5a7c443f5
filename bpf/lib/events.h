/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics per CPU, and records for user space through one ring buffer. */
#ifndef AXON_LIB_EVENTS_H
#define AXON_LIB_EVENTS_H

#include "owner.h"
#include "parse.h"

/* Readers poll; each time the backlog has grown by this much they are woken. Bytes. A wake-up costs some
 * microseconds, ten times the record. */
#define AX_EVENTS_WAKE_EVERY (256 * 1024)
#define AX_EVENTS_RECORD (8 + sizeof(struct ax_event)) /* as the ring buffer stores it */

enum ax_metric_dir { AX_M_INGRESS = 0, AX_M_EGRESS = 1, AX_M_SERVICE = 2 };

AX_INLINE void count(__u32 index, __u32 bytes)
{
	struct ax_metric *m = bpf_map_lookup_elem(&ax_metrics, &index);

	if (m) {
		m->packets++;
		m->bytes += bytes;
	}
}

AX_INLINE void count_forward(struct __sk_buff *skb, __u32 dir)
{
	count(dir, skb->len);
}

AX_INLINE __u64 wakeup(void)
{
	__u64 backlog = bpf_ringbuf_query(&ax_events, BPF_RB_AVAIL_DATA);
	bool grown = backlog >= AX_EVENTS_WAKE_EVERY && backlog % AX_EVENTS_WAKE_EVERY < AX_EVENTS_RECORD;

	return grown ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Room for a record; NULL, and counted as lost, when readers are too slow. */
AX_INLINE struct ax_event *event_reserve(void)
{
	struct ax_event *e = bpf_ringbuf_reserve(&ax_events, sizeof(*e), 0);

	if (!e)
		count(AX_METRIC_EVENTS_LOST, sizeof(*e));
	return e;
}

/* All of a record but the packet's Ethernet addresses */
AX_INLINE void event_fill(struct ax_event *e, const struct ax_pkt *p, const struct ax_note *n, __u32 len,
			  __u32 ifindex)
{
	e->time_ns = bpf_ktime_get_ns();
	e->type = n->type;
	e->subtype = n->subtype;
	e->reason = n->reason;
	e->flags = n->flags | (p->family == AF_INET6 ? AX_EVF_IPV6 : 0);
	e->proto = p->proto;
	e->tcp_flags = p->tcp_flags;
	e->icmp_type = p->icmp_type;
	e->icmp_code = p->icmp_code;
	e->len = len;
	e->ifindex = ifindex;
	e->src_identity = n->src_identity;
	e->dst_identity = n->dst_identity;
	e->src_ep = n->src_ep;
	e->dst_ep = n->dst_ep;
	e->sport = is_icmp(p) ? 0 : p->sport;
	e->dport = is_icmp(p) ? 0 : p->dport;
	e->saddr = p->saddr;
	e->daddr = p->daddr;
	e->rule_egress = n->rule_egress;
	e->rule_ingress = n->rule_ingress;
	e->orig_daddr = n->orig_daddr;
	e->orig_dport = n->orig_dport;
	e->cpu = bpf_get_smp_processor_id();
	e->src_process = n->src_process;
	e->dst_process = n->dst_process;
}

/* Returns the number of the process that sent the packet, 0 when it is not known or there was no room. */
AX_GLOBAL int emit(struct __sk_buff *skb, struct ax_pkt *p, struct ax_note *n)
{
	struct ax_event *e;
	__u32 owner;

	if (!p || !n)
		return 0;
	e = event_reserve();
	if (!e)
		return 0;
	event_fill(e, p, n, skb->len, skb->ifindex);
	owner = n->src_process ? n->src_process : owner_of(skb);
	e->src_process = owner;
	if (bpf_skb_load_bytes(skb, 0, e->dmac, 6) || bpf_skb_load_bytes(skb, 6, e->smac, 6)) {
		__builtin_memset(e->dmac, 0, 6);
		__builtin_memset(e->smac, 0, 6);
	}
	bpf_ringbuf_submit(e, wakeup());
	return owner;
}

/* A drop: counted, told, and the end of the packet. */
AX_INLINE int drop(struct __sk_buff *skb, struct ax_work *w, __u8 reason, __u32 dir)
{
	count((__u32)reason << 2 | dir, skb->len);
	w->note.type = AX_EV_DROP;
	w->note.subtype = reason;
	w->note.reason = AX_TR_UNKNOWN;
	emit(skb, &w->pkt, &w->note);
	return TC_ACT_SHOT;
}

/* What is dropped without a word: multicast chatter of a pod's stack. */
AX_INLINE int drop_silently(struct __sk_buff *skb, __u8 reason, __u32 dir)
{
	count((__u32)reason << 2 | dir, skb->len);
	return TC_ACT_SHOT;
}

#endif
