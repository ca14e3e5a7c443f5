/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who is behind a socket: the address its packets will carry, by which Services know their
 * clients (affinity, source ranges, Maglev), and whether it is a pod's or the node's own.
 */
#ifndef AXON_LIB_CLIENT_H
#define AXON_LIB_CLIENT_H

#include "lb.h"

/* The source a socket has chosen already; false: none, or one that says nothing to others. */
AX_INLINE bool bound_source(struct bpf_sock_addr *ctx, bool is4, struct ax_addr *addr)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return false;
	if (sk->family == AF_INET6) {
		addr->w[0] = sk->src_ip6[0];
		addr->w[1] = sk->src_ip6[1];
		addr->w[2] = sk->src_ip6[2];
		addr->w[3] = sk->src_ip6[3];
	} else {
		addr_set4(addr, READ_ONCE(sk->src_ip4)); /* else the compiler reckons with sk, which must not be */
	}
	/* "::" and 0.0.0.0 end in zeros, and nothing else that a socket can be bound to */
	return addr->w[3] && addr_is4(addr) == is4 && !addr_is_loopback(addr);
}

/*
 * Fills in the client's address of the family that it dials. A pod's namespace has a row in
 * ax_netns; every other one is taken for the node's. Returns enum ax_client_from.
 */
AX_INLINE __u32 client_of(struct bpf_sock_addr *ctx, bool is4, struct ax_addr *client)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct ax_netns *pod = bpf_map_lookup_elem(&ax_netns, &cookie);
	struct ax_config *cfg;

	if (bound_source(ctx, is4, client))
		return pod ? AX_CLIENT_SOCKET : AX_CLIENT_HOST;
	if (pod) {
		*client = is4 ? pod->ip4 : pod->ip6;
		return AX_CLIENT_SOCKET;
	}
	cfg = config();
	if (cfg)
		*client = is4 ? cfg->node_ip4 : cfg->node_ip6;
	return AX_CLIENT_HOST;
}

#endif
