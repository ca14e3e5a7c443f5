/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a decided packet leaves. */
#ifndef AXON_LIB_FORWARD_H
#define AXON_LIB_FORWARD_H

#include "resolve.h"
#include "events.h"

/* skb->mark, bits 8..11, as in the field */
#define AX_MARK_MASK 0x0f00
#define AX_MARK_SNAT_DONE 0x0300  /* leave it as it is */
#define AX_MARK_OVERLAY 0x0400    /* its tunnel is set */
#define AX_MARK_PROXY 0x0900     /* of the DNS proxy, for the endpoint whose id is in the upper half */
#define AX_MARK_IDENTITY 0x0f00   /* decided by a pod's program; the source may be masqueraded */

AX_INLINE __u32 identity_mark(__u32 identity, __u32 kind)
{
	return identity << 16 | (identity >> 16 & 0xff) | kind;
}

/* A VXLAN header has 24 bits and no dual-stack worlds; numbers of this node's own making say nothing to others. */
AX_INLINE __u32 identity_to_tunnel(__u32 identity)
{
	if (identity == AX_ID_WORLD_IPV4 || identity == AX_ID_WORLD_IPV6 || AX_SCOPE_OF(identity) == AX_SCOPE_CIDR)
		return AX_ID_WORLD;
	if (AX_SCOPE_OF(identity) == AX_SCOPE_CLASS)
		return AX_ID_UNKNOWN;
	return identity_is_node(identity) ? AX_ID_REMOTE_NODE : identity & 0xffffff;
}

AX_INLINE bool exceeds_mtu(struct __sk_buff *skb, const struct ax_config *cfg)
{
	return cfg->mtu && !skb->gso_segs && skb->len > (__u32)cfg->mtu + ETH_HLEN;
}

/* The receiving stack ignores what was not addressed to the device it came through. */
AX_INLINE void address_to_us(struct __sk_buff *skb)
{
	if (unlikely(skb->pkt_type != PACKET_HOST))
		bpf_skb_change_type(skb, PACKET_HOST);
}

AX_INLINE int to_peer(struct __sk_buff *skb, __u32 ifindex)
{
	address_to_us(skb);
	return bpf_redirect_peer(ifindex, 0);
}

AX_INLINE int to_neighbour(__u32 ifindex, const struct ax_addr *nexthop)
{
	struct bpf_redir_neigh nh = {};

	if (addr_is4(nexthop)) {
		nh.nh_family = AF_INET;
		nh.ipv4_nh = nexthop->w[3];
	} else {
		nh.nh_family = AF_INET6;
		__builtin_memcpy(nh.ipv6_nh, nexthop, 16);
	}
	return bpf_redirect_neigh(ifindex, &nh, sizeof(nh), 0);
}

/* Name the tunnel of a packet: the other node, and who sends. 0 or a drop reason. */
AX_GLOBAL int set_tunnel(struct __sk_buff *skb, struct ax_addr *nexthop, __u32 identity)
{
	struct bpf_tunnel_key key = {};
	struct ax_config *cfg = config();
	__u64 flags = BPF_F_ZERO_CSUM_TX;

	if (!nexthop || !cfg)
		return AX_DROP_NO_TUNNEL_ENDPOINT;
	key.tunnel_id = identity_to_tunnel(identity);
	key.tunnel_ttl = 64;
	if (addr_is4(nexthop)) {
		key.remote_ipv4 = bpf_ntohl(nexthop->w[3]);
		/* the address the others know this node by, whatever else the device has */
		key.local_ipv4 = bpf_ntohl(cfg->node_ip4.w[3]);
	} else {
		__builtin_memcpy(key.remote_ipv6, nexthop, 16);
		__builtin_memcpy(key.local_ipv6, &cfg->node_ip6, 16);
		flags |= BPF_F_TUNINFO_IPV6;
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags))
		return AX_DROP_NO_TUNNEL_ENDPOINT;
	skb->mark = identity_mark(identity, AX_MARK_OVERLAY);
	return 0;
}

/* One hop less; false: let the host stack have the packet, it answers with the ICMP error. */
AX_GLOBAL int decrement_ttl(struct __sk_buff *skb)
{
	__be16 type, old = 0, new = 0;
	__u8 ttl;

	if (bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type)))
		return 0;
	if (type == bpf_htons(ETH_P_IP)) {
		__u32 off = ETH_HLEN + offsetof(struct iphdr, ttl);

		if (bpf_skb_load_bytes(skb, off, &old, sizeof(old)))
			return 0;
		new = old;
		ttl = *(__u8 *)&old;
		if (ttl <= 1)
			return 0;
		*(__u8 *)&new = ttl - 1;
		return !bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), old, new, 2) &&
		       !bpf_skb_store_bytes(skb, off, &new, sizeof(new), 0);
	}
	if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &ttl, 1) || ttl <= 1)
		return 0;
	ttl--;
	return !bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &ttl, 1, 0);
}

/* What the stack needs to know when it gets the packet: who sent it, or that its source stays. */
AX_INLINE int to_stack(struct __sk_buff *skb, __u32 identity, __u32 ct_flags)
{
	skb->mark = ct_flags & AX_CT_MASQUERADE ? identity_mark(identity, AX_MARK_IDENTITY) : AX_MARK_SNAT_DONE;
	return TC_ACT_OK;
}

/* Off this node, or up its stack. `to` is the side the packet goes to. */
AX_INLINE int leave(struct __sk_buff *skb, const struct ax_config *cfg, struct ax_ct_side *to, __u32 identity,
		    __u32 ct_flags)
{
	if (to->path == AX_PATH_STACK || to->path == AX_PATH_PROXY || exceeds_mtu(skb, cfg))
		return to_stack(skb, identity, ct_flags);
	if (to->path == AX_PATH_TUNNEL)
		return set_tunnel(skb, &to->nexthop, identity) ? TC_ACT_SHOT : bpf_redirect(to->ifindex, 0);
	to_stack(skb, identity, ct_flags);
	if (to->path == AX_PATH_NEIGH && !decrement_ttl(skb))
		return TC_ACT_OK;
	return to_neighbour(to->ifindex, &to->nexthop);
}

AX_INLINE int forward(struct __sk_buff *skb, const struct ax_config *cfg, struct ax_ct_side *to, __u32 identity,
		      __u32 ct_flags)
{
	if (to->path == AX_PATH_PEER)
		return to_peer(skb, to->ifindex);
	return leave(skb, cfg, to, identity, ct_flags);
}

/* The kernel's way from w->pkt's source to its destination, in w->fib: enum BPF_FIB_LKUP_RET */
AX_INLINE int fib_ask(struct __sk_buff *skb, struct ax_work *w)
{
	struct bpf_fib_lookup *fib = &w->fib;

	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = skb->ifindex;
	fib->l4_protocol = w->pkt.proto;
	if (w->pkt.family == AF_INET) {
		fib->family = AF_INET;
		fib->ipv4_src = w->pkt.saddr.w[3];
		fib->ipv4_dst = w->pkt.daddr.w[3];
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_src, &w->pkt.saddr, 16);
		__builtin_memcpy(fib->ipv6_dst, &w->pkt.daddr, 16);
	}
	return bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
}

/* Ask the kernel's routes for the way to a party that no map of ours leads to. */
AX_GLOBAL int route(struct __sk_buff *skb, struct ax_work *w)
{
	struct bpf_fib_lookup *fib;
	int r;

	if (!w || w->dst.path != AX_PATH_UNKNOWN)
		return 0;
	fib = &w->fib;
	r = fib_ask(skb, w);
	/* anything but a plain next hop is the stack's to answer: it knows the ICMP error */
	w->dst.path = AX_PATH_STACK;
	if (r != BPF_FIB_LKUP_RET_SUCCESS && r != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	w->dst.path = AX_PATH_NEIGH;
	w->dst.ifindex = fib->ifindex;
	if (fib->family == AF_INET)
		addr_set4(&w->dst.nexthop, fib->ipv4_dst);
	else
		__builtin_memcpy(&w->dst.nexthop, fib->ipv6_dst, 16);
	return 0;
}

#endif
