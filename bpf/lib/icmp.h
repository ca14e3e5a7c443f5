/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors pass when they are about a connection we know, with the packet they quote
 * as its sender sent it. No policy: they belong to the connection.
 */
#ifndef AXON_LIB_ICMP_H
#define AXON_LIB_ICMP_H

#include "conntrack.h"
#include "service.h"

/* The quoted packet, at least its ports (RFC 792: 64 bits), into w->inner. 0 or a drop reason. */
AX_GLOBAL int load_quoted(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_pkt *in;
	struct ax_icmp h;
	__u32 off;
	int r;

	if (!w)
		return AX_DROP_INVALID;
	in = &w->inner;
	off = w->pkt.l4_off + sizeof(struct ax_icmp);
	__builtin_memset(in, 0, sizeof(*in));
	r = w->pkt.family == AF_INET ? load_ip4(skb, off, in) : load_ip6(skb, off, in);
	if (r)
		return r;
	if (in->flags & AX_P_LATER_FRAG || bpf_skb_load_bytes(skb, in->l4_off, &h, sizeof(h)))
		return AX_DROP_CT_INVALID_HDR;
	if (in->proto == IPPROTO_TCP || in->proto == IPPROTO_UDP || in->proto == IPPROTO_SCTP) {
		__builtin_memcpy(&in->sport, &h, 4);
		return 0;
	}
	if (!is_icmp(in) || !is_echo(in->proto, h.type))
		return AX_DROP_CT_UNKNOWN_PROTO;
	in->sport = in->dport = h.id;
	return 0;
}

/* A pod's error about a reply it got from a service: it knows only the frontend. */
AX_INLINE int quote_from_backend(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_svc_flow *flow;
	struct ax_backend *backend;
	int r;

	flow_key_of_answer(&w->flow_key, &w->inner);
	flow = bpf_map_lookup_elem(&ax_svc_flows, &w->flow_key);
	if (!flow)
		return 0;
	backend = backend_row(flow->backend_id);
	if (!backend)
		return 0;
	w->to = backend->addr;
	r = rewrite_quoted(skb, w, &w->to, backend->port, AX_END_SRC);
	if (!r)
		r = rewrite(skb, &w->pkt, &w->to, 0, AX_END_DST);
	if (r || !addr_equal(&w->to, &w->inner.daddr))
		return r;
	loopback_address(&w->to, w->inner.family);
	r = rewrite_quoted(skb, w, &w->to, w->inner.dport, AX_END_DST);
	return r ? r : rewrite(skb, &w->pkt, &w->to, 0, AX_END_SRC);
}

/* Who reached itself is told about a packet of its own. */
AX_INLINE int quote_to_itself(struct __sk_buff *skb, struct ax_work *w)
{
	int r;

	w->edge.backend = w->inner.daddr;
	r = rewrite_quoted(skb, w, &w->edge.backend, w->inner.sport, AX_END_SRC);
	return r ? r : rewrite(skb, &w->pkt, &w->edge.backend, 0, AX_END_DST);
}

/* An error on its way to the client of a service: the quoted destination becomes the frontend again. */
AX_GLOBAL int quote_to_frontend(struct __sk_buff *skb, struct ax_work *w)
{
	bool from_backend;
	int r;

	if (!w)
		return AX_DROP_INVALID;
	from_backend = addr_equal(&w->pkt.saddr, &w->inner.daddr);
	w->to = w->ct.frontend;
	r = w->ct.flags & AX_CT_LOOPBACK ? quote_to_itself(skb, w) : 0;
	if (!r)
		r = rewrite_quoted(skb, w, &w->to, w->ct.frontend_port, AX_END_DST);
	if (r || !from_backend)
		return r;
	return rewrite(skb, &w->pkt, &w->to, 0, AX_END_SRC);
}

/* An error about what the DNS proxy sent in a pod's name: to the socket it came from. */
AX_GLOBAL int quote_to_proxy(struct __sk_buff *skb, struct ax_work *w)
{
	int r;

	if (!w)
		return AX_DROP_INVALID;
	w->to = w->ct.frontend;
	r = rewrite_quoted(skb, w, &w->to, w->ct.frontend_port, AX_END_SRC);
	return r ? r : rewrite(skb, &w->pkt, &w->to, 0, AX_END_DST);
}

/*
 * 0: the error is about a live connection and goes to the sender of the quoted packet;
 * w->ct is its entry, w->side the side the error goes to. Else a drop reason.
 */
AX_GLOBAL int related(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_ct *ct;
	int r;

	if (!w)
		return AX_DROP_INVALID;
	r = load_quoted(skb, w);
	if (!r)
		r = quote_from_backend(skb, w);
	if (r)
		return r;
	w->side = ct_key(&w->inner, &w->key) & 1;
	ct = bpf_map_lookup_elem(&ax_ct, &w->key);
	if (!ct || (__s32)(w->now_s - ct->expires_s) > 0 || ct->flags & AX_CT_REFUSED ||
	    !addr_equal(&w->pkt.daddr, &w->inner.saddr))
		return AX_DROP_STALE_OR_UNROUTABLE;
	w->ct = *ct;
	w->note.type = AX_EV_TRACE;
	w->note.reason = AX_TR_RELATED;
	w->note.subtype = trace_point(&w->ct.side[w->side & 1]);
	w->note.dst_identity = w->ct.side[w->side & 1].identity;
	w->note.dst_ep = w->ct.side[w->side & 1].ep_id;
	if (w->ct.flags & AX_CT_PROXIED && ct_from_initiator(&w->ct, w->side))
		return quote_to_proxy(skb, w);
	if (w->ct.frontend_port && ct_from_initiator(&w->ct, w->side))
		return quote_to_frontend(skb, w);
	return 0;
}

#endif
