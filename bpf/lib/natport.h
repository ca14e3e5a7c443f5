/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ports of source NAT: docs/decisions/0012-nat-port-pools.md. The range is cut by CPUs. A packet's CPU tries the
 * port the client had, then ports that were freed lately, then its own range from where it stopped last,
 * then a little of the other CPUs' ranges. All of these are hints: what makes a tuple unique is that its
 * reverse row is only ever created where there was none.
 */
#ifndef AXON_LIB_NATPORT_H
#define AXON_LIB_NATPORT_H

#include "parse.h"

#define AX_NAT_STEPS 32      /* candidates of the own range */
#define AX_NAT_STEAL_STEPS 16 /* of all others together */
#define AX_NAT_LIST_TRIES 4

enum ax_nat_try { AX_NAT_GOT = 0, AX_NAT_TAKEN = 1, AX_NAT_FULL = 2 };

AX_INLINE __u32 nat_class(__u8 proto)
{
	if (proto == IPPROTO_TCP)
		return AX_NAT_TCP;
	return proto == IPPROTO_UDP ? AX_NAT_UDP : AX_NAT_ICMP;
}

AX_INLINE __u32 nat_range(const struct ax_config *cfg)
{
	return cfg->nat_port_max < cfg->nat_port_min ? 0 : (__u32)cfg->nat_port_max - cfg->nat_port_min + 1;
}

AX_INLINE __u32 nat_cpus(const struct ax_config *cfg)
{
	return cfg->nat_cpus ? cfg->nat_cpus : 1;
}

/* Ports of CPU n, as offsets from the range's start: from nat_cut(n) to before nat_cut(n + 1) */
AX_INLINE __u32 nat_cut(const struct ax_config *cfg, __u32 cpu)
{
	return nat_range(cfg) * cpu / nat_cpus(cfg);
}

AX_INLINE __u32 nat_owner(const struct ax_config *cfg, __u32 offset)
{
	return ((offset + 1) * nat_cpus(cfg) - 1) / nat_range(cfg);
}

AX_INLINE bool nat_in_range(const struct ax_config *cfg, __u32 port)
{
	return port >= cfg->nat_port_min && port <= cfg->nat_port_max;
}

AX_INLINE struct ax_nat_stat *nat_stat(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ax_nat_stats, &zero);
}

/* Has the host a socket that the reply could be meant for? `reply` is the reply's tuple, but for the port. */
AX_GLOBAL int host_socket(ax_ctx *ctx, struct ax_nat_key *reply, __u32 port)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv6);
	struct bpf_sock *sk;

	if (!reply || (reply->proto != IPPROTO_TCP && reply->proto != IPPROTO_UDP))
		return 0;
	if (addr_is4(&reply->saddr)) {
		size = sizeof(tuple.ipv4);
		tuple.ipv4.saddr = reply->saddr.w[3];
		tuple.ipv4.daddr = reply->daddr.w[3];
		tuple.ipv4.sport = reply->sport;
		tuple.ipv4.dport = bpf_htons(port);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &reply->saddr, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &reply->daddr, 16);
		tuple.ipv6.sport = reply->sport;
		tuple.ipv6.dport = bpf_htons(port);
	}
	if (reply->proto == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/* enum ax_nat_try: the reverse row w->nat under w->nat_reverse, with this port */
AX_GLOBAL int nat_try(ax_ctx *ctx, struct ax_work *w, __u32 port)
{
	struct ax_nat_stat *stat = nat_stat();
	struct ax_nat_key *key;
	long r;

	if (!w || !stat)
		return AX_NAT_FULL;
	key = &w->nat_reverse;
	key->dport = bpf_htons(port);
	if (key->proto == IPPROTO_ICMP || key->proto == IPPROTO_ICMPV6)
		key->sport = key->dport;
	if (bpf_map_lookup_elem(&ax_nat, key)) {
		stat->steps++;
		return AX_NAT_TAKEN;
	}
	if (host_socket(ctx, key, port)) {
		stat->in_use++;
		return AX_NAT_TAKEN;
	}
	r = bpf_map_update_elem(&ax_nat, key, &w->nat, BPF_NOEXIST);
	if (!r) {
		w->to_port = key->dport;
		stat->allocated++;
		return AX_NAT_GOT;
	}
	if (r == -EEXIST) {
		stat->steps++;
		return AX_NAT_TAKEN;
	}
	stat->table_full++;
	return AX_NAT_FULL;
}

AX_INLINE int nat_from_list(ax_ctx *ctx, struct ax_work *w, struct ax_config *cfg, struct ax_nat_pool *pool)
{
	for (int i = 0; i < AX_NAT_LIST_TRIES; i++) {
		__u32 tail = pool->tail, port;
		int r;

		if (tail == READ_ONCE(pool->head))
			break;
		port = pool->listed[tail & (AX_NAT_LISTED - 1)];
		WRITE_ONCE(pool->tail, tail + 1);
		if (!nat_in_range(cfg, port)) /* of an earlier configuration */
			continue;
		r = nat_try(ctx, w, port);
		if (r != AX_NAT_TAKEN)
			return r;
	}
	return AX_NAT_TAKEN;
}

/* The next candidate of a CPU's range; 0: it has none. */
AX_INLINE __u32 nat_next(const struct ax_config *cfg, struct ax_nat_pool *pool, __u32 cpu)
{
	__u32 from = nat_cut(cfg, cpu), width = nat_cut(cfg, cpu + 1) - from;
	__u32 at = pool->cursor;

	if (!width || cpu >= nat_cpus(cfg))
		return 0;
	if (at >= width)
		at = 0;
	pool->cursor = at + 1;
	return cfg->nat_port_min + from + at;
}

AX_INLINE int nat_from_own(ax_ctx *ctx, struct ax_work *w, struct ax_config *cfg, struct ax_nat_pool *pool, __u32 cpu)
{
	__u32 width = nat_cut(cfg, cpu + 1) - nat_cut(cfg, cpu);

	for (__u32 i = 0; i < AX_NAT_STEPS && i < width; i++) {
		__u32 port = nat_next(cfg, pool, cpu);
		int r;

		if (!port)
			break;
		r = nat_try(ctx, w, port);
		if (r != AX_NAT_TAKEN)
			return r;
	}
	return AX_NAT_TAKEN;
}

/* From the others, each in turn. Their cursors move too: a race only skips a candidate. */
AX_INLINE int nat_steal(ax_ctx *ctx, struct ax_work *w, struct ax_config *cfg, __u32 class, __u32 cpu)
{
	__u32 cpus = nat_cpus(cfg);

	for (__u32 i = 0; i < AX_NAT_STEAL_STEPS && cpus > 1; i++) {
		__u32 other = (cpu + 1 + i % (cpus - 1)) % cpus, port;
		struct ax_nat_pool *pool = bpf_map_lookup_percpu_elem(&ax_nat_pools, &class, other);
		int r;

		if (!pool)
			continue;
		port = nat_next(cfg, pool, other);
		if (!port)
			continue;
		r = nat_try(ctx, w, port);
		if (r != AX_NAT_TAKEN)
			return r;
	}
	return AX_NAT_TAKEN;
}

AX_INLINE int nat_result(int r, __u64 *counter)
{
	if (r == AX_NAT_GOT)
		(*counter)++;
	return r == AX_NAT_GOT ? 0 : AX_DROP_NAT_NO_MAPPING;
}

/*
 * A port for the connection whose reply is w->nat_reverse, but for the port, with w->nat as its row. `own`: the port
 * the client has, host order. 0 with the port in w->to_port and the row made, or a drop reason.
 */
AX_GLOBAL int nat_allocate(ax_ctx *ctx, struct ax_work *w, __u32 own)
{
	struct ax_nat_stat *stat = nat_stat();
	struct ax_config *cfg = config();
	struct ax_nat_pool *pool;
	__u32 class, cpu;
	int r = AX_NAT_TAKEN;

	if (!w || !cfg || !stat)
		return AX_DROP_NO_CONFIG;
	class = nat_class(w->nat_reverse.proto);
	cpu = bpf_get_smp_processor_id();
	pool = bpf_map_lookup_elem(&ax_nat_pools, &class);
	if (!pool || !nat_range(cfg))
		return AX_DROP_NAT_NO_MAPPING;
	if (nat_in_range(cfg, own))
		r = nat_try(ctx, w, own);
	if (r != AX_NAT_TAKEN)
		return nat_result(r, &stat->own);
	/* its checksum covers the ports, and is not ours to mend */
	if (w->nat_reverse.proto == IPPROTO_SCTP)
		return nat_in_range(cfg, own) ? AX_DROP_NAT_NO_MAPPING : AX_DROP_NAT_UNSUPPORTED;
	r = nat_from_list(ctx, w, cfg, pool);
	if (r != AX_NAT_TAKEN)
		return nat_result(r, &stat->listed);
	r = nat_from_own(ctx, w, cfg, pool, cpu);
	if (r == AX_NAT_GOT)
		return 0;
	if (r == AX_NAT_TAKEN)
		r = nat_steal(ctx, w, cfg, class, cpu);
	if (r == AX_NAT_TAKEN)
		stat->no_port++;
	return nat_result(r, &stat->stolen);
}

/* ct_gc, alone: the port of a mapping that is gone, for the CPU whose range it is in. A full list forgets it. */
AX_INLINE void nat_release(const struct ax_config *cfg, __u8 proto, __u32 port)
{
	__u32 class = nat_class(proto);
	struct ax_nat_pool *pool;

	if (!nat_in_range(cfg, port) || proto == IPPROTO_SCTP)
		return;
	pool = bpf_map_lookup_percpu_elem(&ax_nat_pools, &class, nat_owner(cfg, port - cfg->nat_port_min));
	if (!pool || pool->head - READ_ONCE(pool->tail) >= AX_NAT_LISTED)
		return;
	pool->listed[pool->head & (AX_NAT_LISTED - 1)] = port;
	__sync_fetch_and_add(&pool->head, 1);
}

#endif
