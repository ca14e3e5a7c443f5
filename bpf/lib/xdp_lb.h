/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services whose backend is on another node, for packets that come and go through one device. Flows are found,
 * opened and kept by edge.h, as in the tc programs: either may see any packet of a flow. What cannot go from here is
 * passed up as it came, and tc finds in the rows what was decided here: docs/decisions/0013-xdp-shares-the-rows.md
 */
#ifndef AXON_LIB_XDP_LB_H
#define AXON_LIB_XDP_LB_H

#include "edge.h"
#include "way.h"
#include "xdp_events.h"
#include "xdp_rewrite.h"

/* The kernel's way to the packet's new destination; true when it is out of the device that it came through. */
AX_INLINE bool xdp_route(struct xdp_md *ctx, const struct ax_frame *f, const struct ax_pkt *p,
			 const struct ax_ends *to, struct bpf_fib_lookup *fib)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = ctx->ingress_ifindex;
	fib->family = p->family;
	fib->l4_protocol = p->proto;
	fib->tot_len = f->l3_len;
	if (p->family == AF_INET) {
		fib->ipv4_src = to->saddr.w[3];
		fib->ipv4_dst = to->daddr.w[3];
	} else {
		__builtin_memcpy(fib->ipv6_src, &to->saddr, 16);
		__builtin_memcpy(fib->ipv6_dst, &to->daddr, 16);
	}
	/* other devices may not take frames that are no skb, and would lose them without a word */
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0) == BPF_FIB_LKUP_RET_SUCCESS &&
	       fib->ifindex == ctx->ingress_ifindex;
}

/* Can the packet be forwarded at all? Else tc answers its sender. */
AX_INLINE bool xdp_passes(const struct ax_config *cfg, const struct ax_frame *f, const struct ax_work *w)
{
	return f->hops > 1 && (!cfg->mtu || w->len <= (__u32)cfg->mtu + ETH_HLEN);
}

/*
 * Out of the device that the packet came through. A veth forgets to wake its other end after XDP_TX, unless that has an
 * XDP program too: frames would lie there until some other packet comes by. A redirect to the device itself wakes it.
 */
AX_INLINE int xdp_turn(struct xdp_md *ctx, const struct ax_config *cfg)
{
	return cfg->flags & AX_CFG_XDP_REDIRECT ? bpf_redirect(ctx->ingress_ifindex, 0) : XDP_TX;
}

AX_INLINE bool is_device_known(const struct ax_config *cfg)
{
	const __u16 *mac = (const __u16 *)cfg->device_mac;

	return mac[0] | mac[1] | mac[2];
}

/*
 * Translated and out of the device, to the next hop that w->way names or the kernel finds: then w->way is its, and
 * *found is set. XDP_PASS, and nothing done, when the packet cannot leave from here.
 */
AX_INLINE int xdp_send(struct xdp_md *ctx, const struct ax_config *cfg, struct ax_frame *f, const struct ax_pkt *p,
		       struct ax_work *w, const struct ax_ends *to, bool *found)
{
	bool known = is_device_known(cfg) && way_is_fresh(w->way, w->now_s);
	struct bpf_fib_lookup fib;

	*found = false;
	if (checksum_is_partial(f, p) || (!known && !xdp_route(ctx, f, p, to, &fib)) || !xdp_rewrite(ctx, f, p, to))
		return XDP_PASS;
	if (known) {
		/* it came to the device's own address: is_for_another() */
		__builtin_memcpy(f->eth->h_source, f->eth->h_dest, 6);
		__builtin_memcpy(f->eth->h_dest, &w->way, 6);
	} else {
		__builtin_memcpy(f->eth->h_dest, fib.dmac, 6);
		__builtin_memcpy(f->eth->h_source, fib.smac, 6);
		w->way = way_make(fib.dmac, w->now_s);
		*found = true;
	}
	count(AX_M_INGRESS, w->len);
	return xdp_turn(ctx, cfg);
}

/* A backend's answer to a client of ours */
AX_INLINE int xdp_back(struct xdp_md *ctx, const struct ax_config *cfg, struct ax_frame *f, const struct ax_pkt *p,
		       struct ax_work *w)
{
	struct ax_ends to;
	struct ax_nat *row;
	bool found;
	int r;

	if (!xdp_passes(cfg, f, w) || addr_is4(&w->to) != (p->family == AF_INET))
		return XDP_PASS;
	to.saddr = w->frontend;
	to.sport = w->frontend_port;
	to.daddr = w->to;
	to.dport = w->to_port;
	r = xdp_send(ctx, cfg, f, p, w, &to, &found);
	row = found ? bpf_map_lookup_elem(&ax_nat, &w->nat_reverse) : NULL;
	if (row)
		WRITE_ONCE(row->way, w->way);
	return r;
}

AX_INLINE void xdp_report(struct xdp_md *ctx, struct ax_work *w)
{
	__builtin_memset(&w->note, 0, sizeof(w->note));
	w->note.type = AX_EV_TRACE;
	w->note.subtype = w->dst.path == AX_PATH_TUNNEL ? AX_TO_OVERLAY :
			  w->edge.kind == AX_FLOW_HOST ? AX_TO_HOST : AX_TO_NETWORK;
	w->note.reason = AX_TR_NEW;
	w->note.src_identity = w->src.identity;
	w->note.dst_identity = w->dst.identity;
	edge_dialled(w);
	w->pkt.daddr = w->edge.backend;
	w->pkt.dport = w->edge.backend_port;
	if (w->edge.kind == AX_FLOW_SNAT) {
		w->pkt.saddr = w->edge.source;
		w->pkt.sport = w->edge.source_port;
	}
	xdp_emit(ctx, &w->pkt, &w->note);
}

/*
 * A flow that begins. It is opened here even where tc has to take its packets: were tc to select again, backends that
 * XDP can serve would be had more often than others. What direct return needs at the start is tc's alone.
 */
AX_INLINE bool xdp_open(struct xdp_md *ctx, const struct ax_config *cfg, const struct ax_frame *f, struct ax_work *w)
{
	if (w->edge.forwarding == AX_FWD_DSR || (w->edge.kind == AX_FLOW_SNAT && !xdp_passes(cfg, f, w)))
		return false;
	/* another CPU may have opened it meanwhile, and otherwise: then it is no news */
	if (edge_open(ctx, w) || !w->edge.fresh)
		return false;
	/* of a pod's connection, its entry is the news */
	if (w->edge.kind != AX_FLOW_LOCAL)
		xdp_report(ctx, w);
	return true;
}

AX_INLINE int xdp_forward(struct xdp_md *ctx, const struct ax_config *cfg, struct ax_frame *f, const struct ax_pkt *p,
			  struct ax_work *w)
{
	struct ax_svc_flow *flow;
	struct ax_ends to;
	bool found;
	int r;

	if (edge_find(w, 0) != AX_EDGE_FLOW || (w->edge.fresh && !xdp_open(ctx, cfg, f, w)))
		return XDP_PASS;
	if (w->edge.kind != AX_FLOW_SNAT || !xdp_passes(cfg, f, w))
		return XDP_PASS;
	if (addr_is4(&w->edge.backend) != (p->family == AF_INET))
		return XDP_PASS;
	to.saddr = w->edge.source;
	to.sport = w->edge.source_port;
	to.daddr = w->edge.backend;
	to.dport = w->edge.backend_port;
	r = xdp_send(ctx, cfg, f, p, w, &to, &found);
	if (r != XDP_PASS)
		count(AX_M_SERVICE, w->len);
	flow = found ? bpf_map_lookup_elem(&ax_svc_flows, &w->flow_key) : NULL;
	if (flow)
		WRITE_ONCE(flow->way, w->way);
	return r;
}

/* A switch floods what it cannot place. */
AX_INLINE bool is_for_another(const struct ax_config *cfg, const struct ax_frame *f)
{
	const __u16 *mac = (const __u16 *)cfg->device_mac, *to = (const __u16 *)f->eth->h_dest;

	if (!is_device_known(cfg))
		return false;
	return (mac[0] ^ to[0]) | (mac[1] ^ to[1]) | (mac[2] ^ to[2]);
}

/* Most of what arrives at a node is for its pods. */
AX_INLINE bool is_for_pod(const struct ax_addr *addr)
{
	struct ax_endpoint *ep = bpf_map_lookup_elem(&ax_endpoints, addr);

	return ep && !(ep->flags & AX_EP_HOST);
}

/* Answers to translated packets come to these ports only; none of them is a NodePort. */
AX_INLINE bool is_translated_port(const struct ax_config *cfg, __be16 port)
{
	__u16 number = bpf_ntohs(port);

	return number >= cfg->nat_port_min && number <= cfg->nat_port_max;
}

AX_INLINE int balance(struct xdp_md *ctx, const struct ax_config *cfg, struct ax_frame *f, const struct ax_pkt *p)
{
	const struct ax_addr *node = p->family == AF_INET ? &cfg->node_ip4 : &cfg->node_ip6;
	bool is_node = addr_equal(&p->daddr, node);
	struct ax_work *w;
	int found = AX_NAT_NONE;

	if (!(cfg->flags & AX_CFG_SERVICES) || (!is_node && is_for_pod(&p->daddr)) ||
	    (is_encapsulation(cfg, p) && is_node_address(cfg, &p->daddr)))
		return XDP_PASS;
	w = work();
	if (!w)
		return XDP_PASS;
	w->pkt = *p;
	w->now_s = now_s();
	w->len = bpf_xdp_get_buff_len(ctx);
	if (f->l3_len + ETH_HLEN > w->len) /* cut short */
		return XDP_PASS;
	w->frontend_port = 0;
	w->way = 0;
	if (is_node && is_translated_port(cfg, p->dport))
		found = edge_answer(w);
	if (found == AX_NAT_SERVICE)
		return xdp_back(ctx, cfg, f, p, w);
	/* an answer to a pod, whatever Service has the same port of the node */
	if (found == AX_NAT_POD)
		return XDP_PASS;
	return xdp_forward(ctx, cfg, f, p, w);
}

#endif
