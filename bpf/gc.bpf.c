// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * ct_gc, run by user space through BPF_PROG_RUN with a struct ax_gc_ctx: deletes expired
 * connections and flows of Services, and mappings of source NAT whose connection or flow is gone. Ports
 * that become free go back to their pools: one run at a time, since it is their only source.
 */
#include "lib/edge.h"

/* A run takes no longer: rows are used, and made, after the time that it began with. */
#define AX_GC_RUN_S 60

struct bpf_map; /* the kernel's */

AX_INLINE bool is_over(__u32 now, __u32 expires)
{
	return (__s32)(now - expires) > 0;
}

AX_INLINE bool touches(const struct ax_gc_ctx *gc, const struct ax_addr *a, const struct ax_addr *b)
{
	return !addr_is_zero(&gc->flush) && (addr_equal(a, &gc->flush) || addr_equal(b, &gc->flush));
}

static long visit_ct(struct bpf_map *map, struct ax_ct_key *key, struct ax_ct *ct, struct ax_gc_ctx *gc)
{
	gc->ct_seen++;
	if ((is_over(gc->now_s, ct->expires_s) || touches(gc, &key->a, &key->b)) && !bpf_map_delete_elem(map, key))
		gc->ct_deleted++;
	return 0;
}

/* The connection a mapping belongs to, as its pod's packets name it */
AX_INLINE void nat_connection(struct ax_pkt *p, const struct ax_nat_key *key, const struct ax_nat *row)
{
	bool icmp = key->proto == IPPROTO_ICMP || key->proto == IPPROTO_ICMPV6;

	__builtin_memset(p, 0, sizeof(*p));
	p->proto = key->proto;
	if (key->reverse) {
		p->saddr = row->addr;
		p->sport = row->port;
		p->daddr = key->saddr;
		p->dport = icmp ? row->port : key->sport;
	} else {
		p->saddr = key->saddr;
		p->sport = key->sport;
		p->daddr = key->daddr;
		p->dport = key->dport;
	}
}

AX_INLINE bool is_own_address(const struct ax_addr *addr)
{
	struct ax_config *cfg = config();

	return cfg && is_node_address(cfg, addr);
}

static long visit_flow(struct bpf_map *map, struct ax_flow_key *key, struct ax_svc_flow *flow, struct ax_gc_ctx *gc)
{
	gc->flow_seen++;
	if ((is_over(gc->now_s, flow->expires_s) || touches(gc, &key->saddr, &key->daddr)) && !bpf_map_delete_elem(map, key))
		gc->flow_deleted++;
	return 0;
}

/* Does the reverse row of a Service's flow still belong to one? */
AX_INLINE bool has_flow(const struct ax_nat_key *key, const struct ax_nat *row)
{
	struct ax_svc_flow *flow;
	struct ax_flow_key name;

	__builtin_memset(&name, 0, sizeof(name));
	name.saddr = row->addr;
	name.daddr = row->frontend;
	name.sport = row->port;
	name.dport = row->frontend_port;
	name.proto = key->proto;
	flow = bpf_map_lookup_elem(&ax_svc_flows, &name);
	if (!flow)
		return false;
	if (flow->kind == AX_FLOW_SNAT)
		return flow->nat_port == key->dport && addr_equal(&flow->nat_addr, &key->daddr);
	return flow->kind == AX_FLOW_HOST && addr_equal(&row->addr, &key->daddr);
}

/* A mapping is over with its connection or flow; that of the host's own traffic by its expiry. */
AX_INLINE bool nat_is_over(const struct ax_gc_ctx *gc, const struct ax_nat_key *key, const struct ax_nat *row,
			   const struct ax_pkt *p)
{
	struct ax_ct_key ct_name;

	/* its forward row may be about to be made */
	if (row->frontend_port)
		return row->expires_s - gc->now_s > AX_EDGE_GRACE_S + AX_GC_RUN_S && !has_flow(key, row);
	if (is_own_address(&p->saddr))
		return is_over(gc->now_s, row->expires_s);
	ct_key(p, &ct_name);
	return !bpf_map_lookup_elem(&ax_ct, &ct_name);
}

static long visit_nat(struct bpf_map *map, struct ax_nat_key *key, struct ax_nat *row, struct ax_gc_ctx *gc)
{
	struct ax_config *cfg = config();
	struct ax_pkt p;

	gc->nat_seen++;
	nat_connection(&p, key, row);
	if ((nat_is_over(gc, key, row, &p) || touches(gc, &p.saddr, &p.daddr)) && !bpf_map_delete_elem(map, key)) {
		gc->nat_deleted++;
		if (cfg && key->reverse && is_own_address(&key->daddr))
			nat_release(cfg, key->proto, bpf_ntohs(key->dport));
	}
	return 0;
}

SEC("syscall")
int ct_gc(struct ax_gc_ctx *ctx)
{
	struct ax_gc_ctx gc = {};

	gc.flush = ctx->flush;
	gc.now_s = ctx->now_s ? ctx->now_s : (__u32)(bpf_ktime_get_ns() / 1000000000ULL);
	bpf_for_each_map_elem(&ax_ct, visit_ct, &gc, 0);
	bpf_for_each_map_elem(&ax_svc_flows, visit_flow, &gc, 0);
	bpf_for_each_map_elem(&ax_nat, visit_nat, &gc, 0);
	ctx->ct_seen = gc.ct_seen;
	ctx->ct_deleted = gc.ct_deleted;
	ctx->nat_seen = gc.nat_seen;
	ctx->nat_deleted = gc.nat_deleted;
	ctx->flow_seen = gc.flow_seen;
	ctx->flow_deleted = gc.flow_deleted;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
