// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Sockets whose backend was removed. `gone_find` walks the storages of all sockets of the machine that
 * a Service led somewhere, and notes the network namespaces with such sockets; `gone_tcp` and `gone_udp`
 * then walk the sockets of one namespace and close them: the program's next call fails with
 * ECONNABORTED. Each writes one byte for a socket that it closed.
 *
 * A socket that dialled a pod itself has no storage, and one that has gone on to another peer is
 * not where its storage says: neither is touched. A terminating backend has its row still.
 */
#include "lib/addr.h"
#include "lib/lb.h"

/* The kernel's types as far as they are looked at; the loader puts in the offsets of the running kernel. */
#define AX_KERNEL __attribute__((preserve_access_index))

struct net {
	__u64 net_cookie;
} AX_KERNEL;

typedef struct {
	struct net *net;
} AX_KERNEL possible_net_t;

struct in6_bytes {
	__u8 b[16];
};

struct sock_common {
	__be32 skc_daddr;
	__be16 skc_dport;
	unsigned short skc_family;
	unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_bytes skc_v6_daddr;
} AX_KERNEL;

struct sock {
	struct sock_common __sk_common;
} AX_KERNEL;

struct udp_sock;

struct bpf_iter_meta {
	struct seq_file *seq;
} AX_KERNEL;

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} AX_KERNEL;

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
} AX_KERNEL;

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
} AX_KERNEL;

extern int bpf_sock_destroy(struct sock_common *sk) __ksym;

#define AX_SK_ESTABLISHED 1
#define AX_SK_CLOSE 7
#define AX_SK_LISTEN 10

enum ax_gone {
	AX_GONE_TCP = 1 << 0,
	AX_GONE_UDP = 1 << 1,
};

/* Cookies of network namespaces with sockets to close: enum ax_gone. As many as can be pods, and the node's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u64);
	__type(value, __u32);
	__uint(max_entries, 16384 + 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} ax_gone SEC(".maps");

/* Without the table of backends nothing is known of any. */
AX_INLINE bool is_removed(const struct ax_sock *s)
{
	__u32 zero = 0, id = s->backend_id;
	void *rows = bpf_map_lookup_elem(&ax_backends, &zero);

	return rows && !bpf_map_lookup_elem(rows, &id);
}

AX_INLINE void peer_of(struct sock_common *sk, struct ax_addr *peer)
{
	if (sk->skc_family == AF_INET)
		addr_set4(peer, sk->skc_daddr);
	else
		bpf_probe_read_kernel(peer, sizeof(*peer), __builtin_preserve_access_index(&sk->skc_v6_daddr));
}

/* Is the socket connected to the backend it was led to, and that backend gone? */
AX_INLINE bool is_stranded(struct sock_common *sk, const struct ax_sock *s)
{
	struct ax_addr peer = {};

	if (!is_removed(s) || sk->skc_dport != s->backend_port)
		return false;
	peer_of(sk, &peer);
	return addr_equal(&peer, &s->backend);
}

AX_INLINE void close_socket(struct bpf_iter_meta *meta, struct sock_common *sk)
{
	char one = 1;

	if (!bpf_sock_destroy(sk))
		bpf_seq_write(meta->seq, &one, sizeof(one));
}

/* Pods' datagrams move to another backend on their way out (lib/moved.h): only the node's own need it. */
SEC("iter/bpf_sk_storage_map")
int gone_find(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct ax_sock *s = ctx->value;
	__u32 kind, *known;
	__u64 cookie;

	if (!sk || !s || !is_stranded(&sk->__sk_common, s))
		return 0;
	cookie = sk->__sk_common.skc_net.net->net_cookie;
	kind = s->proto == IPPROTO_TCP ? AX_GONE_TCP : AX_GONE_UDP;
	if (kind == AX_GONE_UDP && bpf_map_lookup_elem(&ax_netns, &cookie))
		return 0;
	known = bpf_map_lookup_elem(&ax_gone, &cookie);
	if (known)
		*known |= kind;
	else
		bpf_map_update_elem(&ax_gone, &cookie, &kind, BPF_ANY);
	return 0;
}

SEC("iter/tcp")
int gone_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	struct ax_sock *s;

	if (!sk || sk->skc_state == AX_SK_LISTEN || sk->skc_state == AX_SK_CLOSE)
		return 0;
	s = bpf_sk_storage_get(&ax_sock, sk, NULL, 0);
	if (s && is_stranded(sk, s))
		close_socket(ctx->meta, sk);
	return 0;
}

SEC("iter/udp")
int gone_udp(struct bpf_iter__udp *ctx)
{
	struct sock_common *sk = (struct sock_common *)ctx->udp_sk;
	struct ax_sock *s;

	if (!sk || sk->skc_state != AX_SK_ESTABLISHED)
		return 0;
	s = bpf_sk_storage_get(&ax_sock, sk, NULL, 0);
	if (s && is_stranded(sk, s))
		close_socket(ctx->meta, sk);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
