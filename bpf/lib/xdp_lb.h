/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services whose backend is on another node, for packets that come and go through one device. The rows are those of
 * the tc programs (ax_svc_flows, ax_nat), which also make them and follow the state of TCP: a packet that opens or
 * closes a connection is theirs, as is everything else out of the ordinary. Nothing is changed before it is sure that
 * the packet leaves here, so that what is passed up is what arrived.
 */
#ifndef AXON_LIB_XDP_LB_H
#define AXON_LIB_XDP_LB_H

#include "lb.h"
#include "xdp_events.h"
#include "xdp_rewrite.h"

/* Nothing about the flow's state changes with this packet. */
AX_INLINE bool is_midstream(const struct ax_pkt *p)
{
	return !(p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST));
}

AX_INLINE __u32 xdp_flow_expiry(const struct ax_config *cfg, const struct ax_pkt *p, __u32 now)
{
	return now + (p->proto == IPPROTO_TCP ? cfg->ct_timeout_svc_s : cfg->ct_timeout_any_s);
}

AX_INLINE bool is_expired(__u32 expires, __u32 now)
{
	return (__s32)(now - expires) > 0;
}

/* The kernel's way to the packet's new destination; true when it is out of the device that it came through. */
AX_INLINE bool xdp_route(struct xdp_md *ctx, const struct ax_frame *f, const struct ax_pkt *p,
			 const struct ax_ends *to, struct bpf_fib_lookup *fib)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = ctx->ingress_ifindex;
	fib->family = p->family;
	fib->l4_protocol = p->proto;
	fib->tot_len = f->l3_len; /* more than the way out takes: the stack knows the ICMP error */
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

AX_INLINE int xdp_send(struct xdp_md *ctx, struct ax_frame *f, struct ax_pkt *p, const struct ax_ends *to)
{
	struct bpf_fib_lookup fib;

	if (hops_left(f, p) <= 1 || checksum_is_partial(f, p) || !xdp_route(ctx, f, p, to, &fib))
		return XDP_PASS;
	xdp_rewrite(f, p, to);
	__builtin_memcpy(f->eth->h_dest, fib.dmac, 6);
	__builtin_memcpy(f->eth->h_source, fib.smac, 6);
	return XDP_TX;
}

/* The other row of a flow lives as long as this one. */
AX_INLINE void keep_reverse(const struct ax_pkt *p, const struct ax_svc_flow *flow, const struct ax_backend *backend,
			    __u32 expires)
{
	struct ax_nat_key key;
	struct ax_nat *row;

	__builtin_memset(&key, 0, sizeof(key));
	key.saddr = backend->addr;
	key.daddr = flow->nat_addr;
	key.sport = backend->port;
	key.dport = flow->nat_port;
	key.proto = p->proto;
	key.reverse = 1;
	row = bpf_map_lookup_elem(&ax_nat, &key);
	if (row)
		row->expires_s = expires;
}

AX_INLINE void keep_forward(const struct ax_pkt *p, const struct ax_nat *row, __u32 expires)
{
	struct ax_svc_flow *flow;
	struct ax_flow_key key;

	__builtin_memset(&key, 0, sizeof(key));
	key.saddr = row->addr;
	key.daddr = row->frontend;
	key.sport = row->port;
	key.dport = row->frontend_port;
	key.proto = p->proto;
	flow = bpf_map_lookup_elem(&ax_svc_flows, &key);
	if (!flow)
		return;
	if (!(flow->flags & AX_FLOW_SEEN_REPLY))
		__sync_fetch_and_or(&flow->flags, AX_FLOW_SEEN_REPLY);
	flow->expires_s = expires;
}

/* A client's packet of a flow that another node serves */
AX_INLINE int xdp_to_backend(struct xdp_md *ctx, const struct ax_config *cfg, struct ax_frame *f, struct ax_pkt *p,
			     struct ax_svc_flow *flow)
{
	const struct ax_addr *node = p->family == AF_INET ? &cfg->node_ip4 : &cfg->node_ip6;
	__u32 now = now_s(), expires = xdp_flow_expiry(cfg, p, now);
	struct ax_backend *backend;
	struct ax_ends to;
	int r;

	if (flow->kind != AX_FLOW_SNAT || flow->flags & AX_FLOW_CLOSED || is_expired(flow->expires_s, now))
		return XDP_PASS;
	/* until the backend has answered, the tc programs keep the clock */
	if (!(flow->flags & AX_FLOW_SEEN_REPLY) || !addr_equal(&flow->nat_addr, node))
		return XDP_PASS;
	backend = backend_row(flow->backend_id);
	if (!backend || addr_is4(&backend->addr) != (p->family == AF_INET))
		return XDP_PASS;
	to.saddr = flow->nat_addr;
	to.sport = flow->nat_port;
	to.daddr = backend->addr;
	to.dport = backend->port;
	r = xdp_send(ctx, f, p, &to);
	if (r == XDP_TX && flow->expires_s != expires) {
		flow->expires_s = expires;
		keep_reverse(p, flow, backend, expires);
	}
	return r;
}

/* A backend's reply to a client of ours */
AX_INLINE int xdp_to_client(struct xdp_md *ctx, const struct ax_config *cfg, struct ax_frame *f, struct ax_pkt *p)
{
	__u32 now = now_s(), expires = xdp_flow_expiry(cfg, p, now);
	struct ax_nat_key key;
	struct ax_nat *row;
	struct ax_ends to;
	int r;

	__builtin_memset(&key, 0, sizeof(key));
	key.saddr = p->saddr;
	key.daddr = p->daddr;
	key.sport = p->sport;
	key.dport = p->dport;
	key.proto = p->proto;
	key.reverse = 1;
	row = bpf_map_lookup_elem(&ax_nat, &key);
	if (!row || !row->frontend_port || is_expired(row->expires_s, now))
		return XDP_PASS;
	if (addr_is4(&row->addr) != (p->family == AF_INET))
		return XDP_PASS;
	to.saddr = row->frontend;
	to.sport = row->frontend_port;
	to.daddr = row->addr;
	to.dport = row->port;
	r = xdp_send(ctx, f, p, &to);
	if (r == XDP_TX && row->expires_s != expires) {
		row->expires_s = expires;
		keep_forward(p, row, expires);
	}
	return r;
}

AX_INLINE int balance(struct xdp_md *ctx, const struct ax_config *cfg, struct ax_frame *f, struct ax_pkt *p)
{
	const struct ax_addr *node = p->family == AF_INET ? &cfg->node_ip4 : &cfg->node_ip6;
	struct ax_svc_flow *flow;
	struct ax_flow_key key;
	int r;

	if (!(cfg->flags & AX_CFG_SERVICES) || !is_midstream(p))
		return XDP_PASS;
	__builtin_memset(&key, 0, sizeof(key));
	key.saddr = p->saddr;
	key.daddr = p->daddr;
	key.sport = p->sport;
	key.dport = p->dport;
	key.proto = p->proto;
	flow = bpf_map_lookup_elem(&ax_svc_flows, &key);
	if (flow)
		r = xdp_to_backend(ctx, cfg, f, p, flow);
	else if (addr_equal(&p->daddr, node))
		r = xdp_to_client(ctx, cfg, f, p);
	else
		return XDP_PASS;
	if (r == XDP_TX)
		count(AX_M_SERVICE, bpf_xdp_get_buff_len(ctx));
	return r;
}

#endif
