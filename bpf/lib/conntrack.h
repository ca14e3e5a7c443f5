/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connection tracking: the key, the life of an entry, and what it reports.
 * Entries are shared by all CPUs without a lock: flags are OR-ed atomically, the
 * epoch is written after what it vouches for, and everything else is a hint that
 * may be written twice.
 */
#ifndef AXON_LIB_CONNTRACK_H
#define AXON_LIB_CONNTRACK_H

#include "clock.h"
#include "events.h"

/* An expiry moves in steps of 1/64 of its timeout, so that packets do not dirty the entry. */
#define AX_CT_EXPIRY_STEP_SHIFT 6

/* The key of a packet, and which side sent it: 0 = a, 1 = b */
AX_INLINE __u32 ct_key(const struct ax_pkt *p, struct ax_ct_key *k)
{
	int order = addr_compare(&p->saddr, &p->daddr);
	__u32 side = order > 0 || (order == 0 && bpf_ntohs(p->sport) > bpf_ntohs(p->dport));

	__builtin_memset(k, 0, sizeof(*k));
	k->proto = p->proto;
	if (side) {
		k->a = p->daddr;
		k->b = p->saddr;
		k->aport = p->dport;
		k->bport = p->sport;
	} else {
		k->a = p->saddr;
		k->b = p->daddr;
		k->aport = p->sport;
		k->bport = p->dport;
	}
	return side;
}

AX_INLINE bool ct_from_initiator(const struct ax_ct *ct, __u32 side)
{
	return !!(ct->flags & AX_CT_INITIATOR_B) == !!side;
}

/* A query over UDP needs its entry until its answer: who asks much would fill the table with those answered. */
#define AX_PROXY_TIMEOUT_S 10

AX_INLINE bool ct_is_redirected(const struct ax_ct *ct)
{
	return ct->side[ct->flags & AX_CT_INITIATOR_B ? 0 : 1].path == AX_PATH_PROXY;
}

AX_INLINE __u32 ct_timeout(const struct ax_config *cfg, const struct ax_ct *ct, __u8 proto)
{
	if (proto != IPPROTO_TCP)
		return ct_is_redirected(ct) || ct->flags & AX_CT_PROXIED ? AX_PROXY_TIMEOUT_S : cfg->ct_timeout_any_s;
	if (ct->flags & AX_CT_CLOSED)
		return cfg->ct_timeout_tcp_fin_s;
	if (!(ct->flags & AX_CT_SEEN_REPLY))
		return cfg->ct_timeout_tcp_syn_s;
	return cfg->ct_timeout_tcp_s;
}

/* Would a packet of this side be worth a record now? */
AX_INLINE bool ct_report_due(const struct ax_config *cfg, const struct ax_ct_side *from, __u32 now)
{
	return !cfg->aggregation || now - from->last_report_s >= cfg->report_interval_s;
}

/*
 * Nothing about the entry changes with this packet: no new TCP flag, no first reply,
 * no report, no expiry to move. Packets with SYN, FIN or RST are never plain.
 */
AX_INLINE bool ct_is_plain(const struct ax_config *cfg, const struct ax_ct *ct, __u32 side, const struct ax_pkt *p,
			   __u32 now)
{
	const struct ax_ct_side *from = &ct->side[side & 1];
	__s32 left = ct->expires_s - now;

	if (p->tcp_flags & (~from->tcp_flags | TCP_SYN | TCP_FIN | TCP_RST))
		return false;
	if (!(ct->flags & AX_CT_SEEN_REPLY) && !ct_from_initiator(ct, side))
		return false;
	if (ct_report_due(cfg, from, now))
		return false;
	if (p->proto == IPPROTO_TCP) {
		__s32 timeout = ct->flags & AX_CT_SEEN_REPLY ? cfg->ct_timeout_tcp_s : cfg->ct_timeout_tcp_syn_s;

		return !(ct->flags & AX_CT_CLOSED) && left >= timeout - (timeout >> AX_CT_EXPIRY_STEP_SHIFT);
	}
	return left >= (__s32)cfg->ct_timeout_any_s - 1;
}

/* Does this packet open something, whatever was before? */
AX_INLINE bool is_opening(const struct ax_pkt *p)
{
	switch (p->proto) {
	case IPPROTO_TCP:
		return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	case IPPROTO_ICMP:
		return p->icmp_type == ICMP_ECHO;
	case IPPROTO_ICMPV6:
		return p->icmp_type == ICMPV6_ECHO_REQUEST;
	default:
		return false;
	}
}

/*
 * A new connection on an old tuple, to be judged as one: anything on an expired entry, a SYN on a
 * closed one, and a SYN or echo request of the side that only ever had to answer.
 */
AX_INLINE bool ct_is_over(const struct ax_ct *ct, __u32 side, const struct ax_pkt *p, __u32 now)
{
	if ((__s32)(now - ct->expires_s) > 0)
		return true;
	if (!is_opening(p))
		return false;
	return !ct_from_initiator(ct, side) || (ct->flags & AX_CT_CLOSED && p->proto == IPPROTO_TCP);
}

/* The last full decision still holds. */
AX_INLINE bool ct_is_decided(const struct ax_ct *ct, __u32 epoch, __u32 to)
{
	return READ_ONCE(ct->epoch) == epoch && !(ct->flags & AX_CT_REFUSED) &&
	       ct->side[to & 1].path != AX_PATH_UNKNOWN;
}

AX_INLINE __u8 trace_point(const struct ax_ct_side *to)
{
	switch (to->path) {
	case AX_PATH_PEER:
		return AX_TO_ENDPOINT;
	case AX_PATH_PROXY:
		return AX_TO_PROXY;
	case AX_PATH_TUNNEL:
		return AX_TO_OVERLAY;
	case AX_PATH_NEIGH:
	case AX_PATH_DIRECT:
		return AX_TO_NETWORK;
	default:
		return to->identity == AX_ID_HOST ? AX_TO_HOST : AX_TO_STACK;
	}
}

AX_INLINE void ct_trace(struct __sk_buff *skb, struct ax_pkt *p, struct ax_ct *ct, __u32 side)
{
	struct ax_ct_side *from = &ct->side[side & 1], *to = &ct->side[(side ^ 1) & 1];
	struct ax_note n = {};
	__u32 owner;

	n.type = AX_EV_TRACE;
	n.subtype = trace_point(to);
	n.reason = ct_from_initiator(ct, side) ? AX_TR_ESTABLISHED : AX_TR_REPLY;
	n.src_identity = from->identity;
	n.dst_identity = to->identity;
	n.src_ep = from->ep_id;
	n.dst_ep = to->ep_id;
	/* a datagram may come from another socket than the one before */
	n.src_process = p->proto == IPPROTO_TCP ? from->process : 0;
	n.dst_process = to->process;
	owner = emit(skb, p, &n);
	if (owner && owner != from->process)
		from->process = owner;
}

/* New state out of a packet's TCP flags: enum ax_ct_flags to be set */
AX_INLINE __u32 ct_progress(const struct ax_ct *ct, __u32 side, const struct ax_pkt *p)
{
	__u32 set = 0;

	if (!ct_from_initiator(ct, side))
		set |= AX_CT_SEEN_REPLY;
	if (p->proto != IPPROTO_TCP)
		return set;
	if (p->tcp_flags & TCP_FIN)
		set |= side ? AX_CT_FIN_B : AX_CT_FIN_A;
	if (p->tcp_flags & TCP_RST ||
	    ((ct->flags | set) & (AX_CT_FIN_A | AX_CT_FIN_B)) == (AX_CT_FIN_A | AX_CT_FIN_B))
		set |= AX_CT_CLOSED;
	return set;
}

/* A packet of a decided connection: advance the entry, report what is due. */
AX_GLOBAL int ct_touch(struct __sk_buff *skb, struct ax_pkt *p, struct ax_ct *ct, __u32 side)
{
	struct ax_config *cfg = config();
	struct ax_ct_side *from;
	__u32 now = now_s(), set, expires;
	__u8 fresh;

	if (!p || !ct || !cfg)
		return 0;
	from = &ct->side[side & 1];
	set = ct_progress(ct, side, p) & ~ct->flags;
	if (set)
		__sync_fetch_and_or(&ct->flags, set);
	fresh = p->tcp_flags & ~from->tcp_flags;
	if (fresh)
		from->tcp_flags |= fresh;
	expires = now + ct_timeout(cfg, ct, p->proto);
	if (expires != ct->expires_s)
		ct->expires_s = expires;
	if (fresh & (TCP_SYN | TCP_FIN | TCP_RST) || ct_report_due(cfg, from, now)) {
		from->last_report_s = now;
		ct_trace(skb, p, ct, side);
	}
	return 0;
}

#endif
