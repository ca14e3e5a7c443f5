// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Services at the socket: connect and sendmsg go to a backend at once, so that no packet
 * is ever translated; recvmsg and getpeername show the frontend the program dialled.
 * IPv4-mapped addresses of IPv6 sockets are the IPv4 service.
 */
#include "lib/addr.h"
#include "lib/lb.h"

#define ECONNREFUSED 111

enum ax_sock_result { AX_SOCK_REFUSE = 0, AX_SOCK_PROCEED = 1 };

AX_INLINE bool is_balanced(__u32 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

AX_INLINE int refuse(void)
{
	bpf_set_retval(-ECONNREFUSED);
	return AX_SOCK_REFUSE;
}

AX_INLINE void remember(struct bpf_sock_addr *ctx, const struct ax_svc_key *svc_key, __u32 backend_id,
			const struct ax_backend *backend)
{
	struct ax_sock_rev_key key = {};
	struct ax_sock_rev rev = {};

	key.cookie = bpf_get_socket_cookie(ctx);
	key.addr = backend->addr;
	key.port = backend->port;
	rev.addr = svc_key->addr;
	rev.port = svc_key->port;
	rev.backend_id = backend_id;
	bpf_map_update_elem(&ax_sock_rev, &key, &rev, BPF_ANY);
}

/*
 * Replaces key's address and port by a backend's. A service whose rows are just being
 * replaced is left to the packet path.
 */
AX_INLINE int translate(struct bpf_sock_addr *ctx, struct ax_svc_key *key, bool *changed)
{
	struct ax_addr client = {};
	struct ax_backend *backend;
	struct ax_svc *svc;
	int reason;
	__u32 id;

	for (int i = 0; i < AX_LB_TRIES; i++) {
		struct ax_svc_key found = *key;

		svc = service_for(&found, &client, AX_CLIENT_HOST, &reason);
		if (!svc)
			return reason ? refuse() : AX_SOCK_PROCEED;
		if (!svc->count)
			return refuse();
		backend = select_backend(svc, &client, bpf_get_prandom_u32(), key->proto, &id);
		if (!backend)
			continue;
		remember(ctx, key, id, backend);
		key->addr = backend->addr;
		key->port = backend->port;
		*changed = true;
		return AX_SOCK_PROCEED;
	}
	return AX_SOCK_PROCEED;
}

AX_INLINE void svc_key_init(struct bpf_sock_addr *ctx, struct ax_svc_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->port = ctx->user_port;
	key->proto = ctx->protocol;
}

AX_INLINE void load6(struct bpf_sock_addr *ctx, struct ax_addr *addr)
{
	addr->w[0] = ctx->user_ip6[0];
	addr->w[1] = ctx->user_ip6[1];
	addr->w[2] = ctx->user_ip6[2];
	addr->w[3] = ctx->user_ip6[3];
}

AX_INLINE void store6(struct bpf_sock_addr *ctx, const struct ax_addr *addr)
{
	ctx->user_ip6[0] = addr->w[0];
	ctx->user_ip6[1] = addr->w[1];
	ctx->user_ip6[2] = addr->w[2];
	ctx->user_ip6[3] = addr->w[3];
}

AX_INLINE int translate4(struct bpf_sock_addr *ctx)
{
	struct ax_svc_key key;
	bool changed = false;
	int r;

	if (!is_balanced(ctx->protocol))
		return AX_SOCK_PROCEED;
	svc_key_init(ctx, &key);
	addr_set4(&key.addr, ctx->user_ip4);
	r = translate(ctx, &key, &changed);
	if (changed) {
		ctx->user_ip4 = key.addr.w[3];
		ctx->user_port = key.port;
	}
	return r;
}

AX_INLINE int translate6(struct bpf_sock_addr *ctx)
{
	struct ax_svc_key key;
	bool changed = false;
	int r;

	if (!is_balanced(ctx->protocol))
		return AX_SOCK_PROCEED;
	svc_key_init(ctx, &key);
	load6(ctx, &key.addr);
	r = translate(ctx, &key, &changed);
	if (changed) {
		store6(ctx, &key.addr);
		ctx->user_port = key.port;
	}
	return r;
}

AX_INLINE struct ax_sock_rev *recall(struct bpf_sock_addr *ctx, struct ax_sock_rev_key *key)
{
	key->cookie = bpf_get_socket_cookie(ctx);
	key->port = ctx->user_port;
	return bpf_map_lookup_elem(&ax_sock_rev, key);
}

AX_INLINE int reverse4(struct bpf_sock_addr *ctx)
{
	struct ax_sock_rev_key key = {};
	struct ax_sock_rev *rev;

	if (!is_balanced(ctx->protocol))
		return AX_SOCK_PROCEED;
	addr_set4(&key.addr, ctx->user_ip4);
	rev = recall(ctx, &key);
	if (rev) {
		ctx->user_ip4 = rev->addr.w[3];
		ctx->user_port = rev->port;
	}
	return AX_SOCK_PROCEED;
}

AX_INLINE int reverse6(struct bpf_sock_addr *ctx)
{
	struct ax_sock_rev_key key = {};
	struct ax_sock_rev *rev;

	if (!is_balanced(ctx->protocol))
		return AX_SOCK_PROCEED;
	load6(ctx, &key.addr);
	rev = recall(ctx, &key);
	if (rev) {
		store6(ctx, &rev->addr);
		ctx->user_port = rev->port;
	}
	return AX_SOCK_PROCEED;
}

#define AX_SOCK(_section, _name, _do)		\
	SEC(_section)				\
	int _name(struct bpf_sock_addr *ctx)	\
	{					\
		return _do(ctx);		\
	}

AX_SOCK("cgroup/connect4", sock_connect4, translate4)
AX_SOCK("cgroup/connect6", sock_connect6, translate6)
AX_SOCK("cgroup/sendmsg4", sock_sendmsg4, translate4)
AX_SOCK("cgroup/sendmsg6", sock_sendmsg6, translate6)
AX_SOCK("cgroup/recvmsg4", sock_recvmsg4, reverse4)
AX_SOCK("cgroup/recvmsg6", sock_recvmsg6, reverse6)
AX_SOCK("cgroup/getpeername4", sock_getpeername4, reverse4)
AX_SOCK("cgroup/getpeername6", sock_getpeername6, reverse6)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
