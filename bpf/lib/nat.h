/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Masquerading: source NAT to the node's address. Two rows a mapping; the reverse row is created first and
 * only if absent (natport.h), so that a tuple is never given twice. The mapping of a pod lives as long as its
 * connection (ct_gc), that of the host's own traffic by its expiry.
 */
#ifndef AXON_LIB_NAT_H
#define AXON_LIB_NAT_H

#include "edge.h"
#include "icmp.h"

AX_INLINE struct ax_addr *node_address(struct ax_config *cfg, const struct ax_pkt *p)
{
	struct ax_addr *addr = p->family == AF_INET ? &cfg->node_ip4 : &cfg->node_ip6;

	return addr_is_zero(addr) ? NULL : addr;
}

AX_INLINE void nat_forward_key(struct ax_nat_key *key, const struct ax_pkt *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = p->saddr;
	key->daddr = p->daddr;
	key->sport = p->sport;
	key->dport = p->dport;
	key->proto = p->proto;
}

/* The reply of a packet that left as (addr, port) -> (p->daddr, p->dport) */
AX_INLINE void nat_reverse_key(struct ax_nat_key *key, const struct ax_pkt *p, const struct ax_addr *addr,
			       __be16 port)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = p->daddr;
	key->daddr = *addr;
	key->sport = is_icmp(p) ? port : p->dport;
	key->dport = port;
	key->proto = p->proto;
	key->reverse = 1;
}

AX_INLINE __u32 nat_expiry(const struct ax_config *cfg, const struct ax_work *w, __u8 proto)
{
	return w->now_s + (proto == IPPROTO_TCP ? cfg->ct_timeout_tcp_s : cfg->ct_timeout_any_s);
}

AX_INLINE void nat_keep(struct ax_nat *row, __u32 expires)
{
	if (row->expires_s != expires)
		row->expires_s = expires;
}

/*
 * A mapping for w->pkt, whose source becomes w->to : w->to_port. Needs w->nat_key, the forward
 * key. 0 or a drop reason.
 */
AX_GLOBAL int nat_create(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_addr *node;
	int r;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	node = node_address(cfg, &w->pkt);
	if (!node)
		return AX_DROP_NAT_NO_MAPPING;
	w->to = *node;
	nat_reverse_key(&w->nat_reverse, &w->pkt, &w->to, 0);
	__builtin_memset(&w->nat, 0, sizeof(w->nat));
	w->nat.addr = w->pkt.saddr;
	w->nat.port = w->pkt.sport;
	w->nat.expires_s = nat_expiry(cfg, w, w->pkt.proto);
	r = nat_allocate(skb, w, bpf_ntohs(w->pkt.sport));
	if (r)
		return r;
	w->nat.addr = w->to;
	w->nat.port = w->to_port;
	if (!bpf_map_update_elem(&ax_nat, &w->nat_key, &w->nat, BPF_ANY))
		return 0;
	bpf_map_delete_elem(&ax_nat, &w->nat_reverse);
	return AX_DROP_NAT_NO_MAPPING;
}

/* An error of ours about a reply: the outside world knows only the node's address. */
AX_INLINE int nat_out_error(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_nat_key *key = &w->nat_key;
	struct ax_nat *row;
	int r = load_quoted(skb, w);

	if (r)
		return r;
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = w->inner.daddr;
	key->daddr = w->inner.saddr;
	key->sport = w->inner.dport;
	key->dport = w->inner.sport;
	key->proto = w->inner.proto;
	row = bpf_map_lookup_elem(&ax_nat, key);
	if (!row)
		return AX_DROP_NAT_NO_MAPPING;
	w->to = row->addr;
	r = rewrite_quoted(skb, w, &w->to, row->port, AX_END_DST);
	return r ? r : rewrite(skb, &w->pkt, &w->to, 0, AX_END_SRC);
}

/* Give w->pkt the node's address. 0 or a drop reason. */
AX_GLOBAL int nat_out(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_addr *node;
	struct ax_nat *row;
	int r;

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	if (w->pkt.flags & AX_P_ICMP_ERROR)
		return nat_out_error(skb, w);
	nat_forward_key(&w->nat_key, &w->pkt);
	row = bpf_map_lookup_elem(&ax_nat, &w->nat_key);
	node = node_address(cfg, &w->pkt);
	/* not a mapping of an address the node no longer has */
	if (row && node && addr_equal(&row->addr, node)) {
		nat_keep(row, nat_expiry(cfg, w, w->pkt.proto));
		w->to = row->addr;
		return rewrite(skb, &w->pkt, &w->to, row->port, AX_END_SRC);
	}
	r = nat_create(skb, w);
	return r ? r : rewrite(skb, &w->pkt, &w->to, w->to_port, AX_END_SRC);
}

/*
 * An error about a packet that left under the node's address, or under a Service's flow: it becomes one about the packet
 * that came here. Enum ax_nat_found, or a drop reason.
 */
AX_GLOBAL int nat_in_error(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_nat *row;
	bool from_backend;
	int r;

	if (!w)
		return AX_DROP_INVALID;
	r = load_quoted(skb, w);
	if (r)
		return r;
	nat_reverse_key(&w->nat_reverse, &w->inner, &w->inner.saddr, w->inner.sport);
	row = bpf_map_lookup_elem(&ax_nat, &w->nat_reverse);
	if (!row)
		return AX_NAT_NONE;
	w->to = row->addr;
	w->to_port = row->port;
	w->frontend = row->frontend;
	w->frontend_port = row->frontend_port;
	from_backend = addr_equal(&w->pkt.saddr, &w->inner.daddr);
	r = rewrite_quoted(skb, w, &w->to, w->to_port, AX_END_SRC);
	if (!r)
		r = rewrite(skb, &w->pkt, &w->to, 0, AX_END_DST);
	if (r || !w->frontend_port)
		return r ? r : AX_NAT_POD;
	r = rewrite_quoted(skb, w, &w->frontend, w->frontend_port, AX_END_DST);
	if (!r && from_backend)
		r = rewrite(skb, &w->pkt, &w->frontend, 0, AX_END_SRC);
	return r ? r : AX_NAT_SERVICE;
}

/*
 * A packet to the node's address: give it back its pod's, if it is one's. Enum ax_nat_found, or a drop
 * reason. What is for the client of a Service is not translated yet, but for errors.
 */
AX_GLOBAL int nat_in(struct __sk_buff *skb, struct ax_work *w)
{
	int found, r;

	if (!w)
		return AX_DROP_NO_CONFIG;
	if (w->pkt.flags & AX_P_ICMP_ERROR)
		return nat_in_error(skb, w);
	found = edge_answer(w);
	if (found != AX_NAT_POD)
		return found;
	r = rewrite(skb, &w->pkt, &w->to, w->to_port, AX_END_DST);
	return r ? r : AX_NAT_POD;
}

/*
 * The host's own packet: does its reply tuple belong to a pod already? Then it takes another
 * port, and keeps it while its forward row lives.
 */
AX_INLINE bool nat_collides(struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_nat *row;

	/* pods are given no others; a row made before the range was changed lasts as long as its connection */
	if (!cfg || !nat_in_range(cfg, bpf_ntohs(w->pkt.sport)))
		return false;
	nat_forward_key(&w->nat_key, &w->pkt);
	if (bpf_map_lookup_elem(&ax_nat, &w->nat_key))
		return true;
	nat_reverse_key(&w->nat_reverse, &w->pkt, &w->pkt.saddr, w->pkt.sport);
	row = bpf_map_lookup_elem(&ax_nat, &w->nat_reverse);
	return row && !addr_equal(&row->addr, &w->pkt.saddr);
}

#endif
