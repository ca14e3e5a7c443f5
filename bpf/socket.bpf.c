// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Services at the socket: connect and sendmsg go to a backend at once, so that no packet
 * is ever translated; recvmsg and getpeername show the frontend the program dialled.
 * IPv4-mapped addresses of IPv6 sockets are the IPv4 service.
 *
 * A connected socket remembers in its own storage (ax_sock): nothing is shared, and it goes with
 * the socket. Datagrams of unconnected sockets are remembered by socket cookie in LRU maps.
 */
#include "lib/addr.h"
#include "lib/client.h"

#define EPERM 1
#define ECONNREFUSED 111
#define AX_SK_ESTABLISHED 1 /* bpf_sock.state of a connected socket, UDP too */

enum ax_sock_result { AX_SOCK_REFUSE = 0, AX_SOCK_PROCEED = 1 };

AX_INLINE bool is_balanced(__u32 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

AX_INLINE int refuse(int error)
{
	bpf_set_retval(-error);
	return AX_SOCK_REFUSE;
}

/*
 * No backend: as if the port were closed. Not among the source ranges: what netfilter tells a
 * sender whose packet a rule drops, so that nobody looks for a server that is down.
 */
AX_INLINE int refuse_for(int reason)
{
	return refuse(reason == AX_DROP_NOT_IN_SRC_RANGE ? EPERM : ECONNREFUSED);
}

AX_INLINE bool is_at(const struct ax_sock *s, const struct ax_addr *addr, __be16 port)
{
	return s->backend_port == port && addr_equal(&s->backend, addr);
}

/* The socket goes to what it dials: nothing to remember any more. */
AX_INLINE int leave_alone(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (sk)
		bpf_sk_storage_delete(&ax_sock, sk);
	return AX_SOCK_PROCEED;
}

AX_INLINE void remember(struct bpf_sock_addr *ctx, const struct ax_svc_key *dialled, const struct ax_svc_key *found,
			const struct ax_slot *backend)
{
	struct bpf_sock *sk = ctx->sk;
	struct ax_sock row = {}, *kept;

	if (!sk)
		return;
	row.frontend = dialled->addr;
	row.frontend_port = dialled->port;
	row.backend = backend->addr;
	row.backend_port = backend->port;
	row.backend_id = backend->id;
	row.service_id = backend->service_id;
	row.proto = dialled->proto;
	row.scope = found->scope;
	kept = bpf_sk_storage_get(&ax_sock, sk, &row, BPF_SK_STORAGE_GET_F_CREATE);
	/* a UDP socket that connects anew has one already */
	if (kept && (kept->backend_id != row.backend_id || !addr_equal(&kept->frontend, &row.frontend) ||
		     kept->frontend_port != row.frontend_port))
		*kept = row;
}

/*
 * Replaces key's address and port by a backend's. A service whose rows are just being
 * replaced is left to the packet path.
 */
AX_INLINE int connect_to(struct bpf_sock_addr *ctx, struct ax_svc_key *key)
{
	struct ax_addr client = {};
	__u32 from = client_of(ctx, addr_is4(&key->addr), &client);
	struct ax_slot backend = {};
	struct ax_svc *svc;
	int reason;

	for (int i = 0; i < AX_LB_TRIES; i++) {
		struct ax_svc_key found = *key;

		svc = service_for(&found, &client, from, &reason);
		if (!svc)
			return reason ? refuse_for(reason) : leave_alone(ctx);
		if (!svc->count)
			return refuse_for(AX_DROP_NO_SERVICE);
		if (!select_backend(svc, &client, bpf_get_prandom_u32(), key->proto, &backend))
			continue;
		remember(ctx, key, &found, &backend);
		key->addr = backend.addr;
		key->port = backend.port;
		return AX_SOCK_PROCEED;
	}
	return leave_alone(ctx);
}

/* A datagram to the very frontend its socket is connected to: only that backend's answers come through. */
AX_INLINE struct ax_sock *connected_to(struct bpf_sock_addr *ctx, const struct ax_svc_key *key)
{
	struct bpf_sock *sk = ctx->sk;
	struct ax_sock *s;

	if (!sk || sk->state != AX_SK_ESTABLISHED)
		return NULL;
	s = bpf_sk_storage_get(&ax_sock, sk, NULL, 0);
	return s && s->frontend_port == key->port && addr_equal(&s->frontend, &key->addr) ? s : NULL;
}

/* The backend this socket's datagrams to this frontend went to so far, while it belongs to the Service. */
AX_INLINE struct ax_backend *kept_backend(const struct ax_svc *svc, const struct ax_sock_rev_key *key, __u32 *id)
{
	__u32 *kept = bpf_map_lookup_elem(&ax_sock_fwd, key);
	struct ax_backend *backend;

	*id = 0;
	if (!kept)
		return NULL;
	*id = *kept;
	backend = backend_row(*id);
	return backend && backend->service_id == svc->service_id ? backend : NULL;
}

/*
 * A backend for a datagram: the client's by affinity, else the one before, else a new one at once. `fwd` is the
 * socket's row in ax_sock_fwd, written when it changes.
 */
AX_INLINE bool datagram_backend(struct ax_svc *svc, struct ax_addr *client,
				const struct ax_sock_rev_key *fwd, __u8 proto, struct ax_slot *choice)
{
	struct ax_backend *kept;
	bool chosen = false;
	__u32 kept_id;

	kept = kept_backend(svc, fwd, &kept_id);
	if (svc->flags & AX_SVC_AFFINITY)
		chosen = choose_affine(svc, client, false, choice);
	if (!chosen && kept && backend_fits(svc, kept, false)) {
		if (svc->flags & AX_SVC_AFFINITY)
			keep_affinity(svc, client, kept_id);
		choose_row(choice, kept, kept_id);
		return true;
	}
	if (!chosen)
		chosen = select_backend(svc, client, bpf_get_prandom_u32(), proto, choice);
	/* all are terminating: no reason to wander among them */
	if (chosen && kept && !(svc->flags & AX_SVC_AFFINITY) && is_leaving(choice->id)) {
		choose_row(choice, kept, kept_id);
		return true;
	}
	if (chosen && choice->id != kept_id)
		bpf_map_update_elem(&ax_sock_fwd, fwd, &choice->id, BPF_ANY);
	return chosen;
}

/* For recvmsg: what comes from this backend to this socket is the frontend's answer. */
AX_INLINE void expect_answer(struct ax_sock_rev_key *key, const struct ax_svc_key *dialled,
			     const struct ax_slot *backend)
{
	struct ax_sock_rev rev = {}, *row;

	key->addr = backend->addr;
	key->port = backend->port;
	row = bpf_map_lookup_elem(&ax_sock_rev, key);
	if (row && row->backend_id == backend->id && row->port == dialled->port &&
	    addr_equal(&row->addr, &dialled->addr))
		return;
	rev.addr = dialled->addr;
	rev.port = dialled->port;
	rev.backend_id = backend->id;
	bpf_map_update_elem(&ax_sock_rev, key, &rev, BPF_ANY);
}

/* As connect_to, for one datagram that names its destination. */
AX_INLINE int send_to(struct bpf_sock_addr *ctx, struct ax_svc_key *key)
{
	struct ax_sock_rev_key by_socket = {};
	struct ax_addr client = {};
	__u32 from = client_of(ctx, addr_is4(&key->addr), &client);
	struct ax_slot backend = {};
	struct ax_sock *connected;
	struct ax_svc *svc;
	int reason;

	for (int i = 0; i < AX_LB_TRIES; i++) {
		struct ax_svc_key found = *key;

		svc = service_for(&found, &client, from, &reason);
		if (!svc)
			return reason ? refuse_for(reason) : AX_SOCK_PROCEED;
		if (!svc->count)
			return refuse_for(AX_DROP_NO_SERVICE);
		connected = connected_to(ctx, key);
		if (connected) {
			key->addr = connected->backend;
			key->port = connected->backend_port;
			return AX_SOCK_PROCEED;
		}
		by_socket.cookie = bpf_get_socket_cookie(ctx);
		by_socket.addr = key->addr;
		by_socket.port = key->port;
		if (!datagram_backend(svc, &client, &by_socket, key->proto, &backend))
			continue;
		expect_answer(&by_socket, key, &backend);
		key->addr = backend.addr;
		key->port = backend.port;
		return AX_SOCK_PROCEED;
	}
	return AX_SOCK_PROCEED;
}

/* What a program is told of a backend's address: the frontend it dialled. */
AX_INLINE int show_peer(struct bpf_sock_addr *ctx, struct ax_svc_key *key)
{
	struct bpf_sock *sk = ctx->sk;
	struct ax_sock *s = sk ? bpf_sk_storage_get(&ax_sock, sk, NULL, 0) : NULL;

	if (s && is_at(s, &key->addr, key->port)) {
		key->addr = s->frontend;
		key->port = s->frontend_port;
	}
	return AX_SOCK_PROCEED;
}

/* The same for the source of a datagram, whose socket may not be connected. */
AX_INLINE int receive_from(struct bpf_sock_addr *ctx, struct ax_svc_key *key)
{
	struct ax_sock_rev_key by_socket = {};
	struct bpf_sock *sk = ctx->sk;
	struct ax_sock_rev *rev;
	struct ax_sock *s;

	s = sk ? bpf_sk_storage_get(&ax_sock, sk, NULL, 0) : NULL;
	if (s && is_at(s, &key->addr, key->port)) {
		key->addr = s->frontend;
		key->port = s->frontend_port;
		return AX_SOCK_PROCEED;
	}
	by_socket.cookie = bpf_get_socket_cookie(ctx);
	by_socket.addr = key->addr;
	by_socket.port = key->port;
	rev = bpf_map_lookup_elem(&ax_sock_rev, &by_socket);
	if (rev) {
		key->addr = rev->addr;
		key->port = rev->port;
	}
	return AX_SOCK_PROCEED;
}

AX_INLINE void key_init(struct bpf_sock_addr *ctx, struct ax_svc_key *key)
{
	key->port = ctx->user_port;
	key->proto = ctx->protocol;
	key->scope = AX_SCOPE_EXTERNAL;
}

AX_INLINE void load4(struct bpf_sock_addr *ctx, struct ax_addr *addr)
{
	addr_set4(addr, ctx->user_ip4);
}

AX_INLINE void store4(struct bpf_sock_addr *ctx, const struct ax_addr *addr)
{
	ctx->user_ip4 = addr->w[3];
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

/* A hook: `_do` is given the call's address and port and may replace them. */
#define AX_SOCK(_hook, _family, _do)					\
	SEC("cgroup/" #_hook #_family)					\
	int sock_##_hook##_family(struct bpf_sock_addr *ctx)		\
	{								\
		struct ax_svc_key key, asked;				\
		int r;							\
									\
		if (!is_balanced(ctx->protocol))			\
			return AX_SOCK_PROCEED;				\
		key_init(ctx, &key);					\
		load##_family(ctx, &key.addr);				\
		asked = key;						\
		r = _do(ctx, &key);					\
		if (key.port != asked.port || !addr_equal(&key.addr, &asked.addr)) { \
			store##_family(ctx, &key.addr);			\
			ctx->user_port = key.port;			\
		}							\
		return r;						\
	}

AX_SOCK(connect, 4, connect_to)
AX_SOCK(connect, 6, connect_to)
AX_SOCK(sendmsg, 4, send_to)
AX_SOCK(sendmsg, 6, send_to)
AX_SOCK(recvmsg, 4, receive_from)
AX_SOCK(recvmsg, 6, receive_from)
AX_SOCK(getpeername, 4, show_peer)
AX_SOCK(getpeername, 6, show_peer)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
