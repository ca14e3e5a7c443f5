/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Host policies: what comes to the node's own addresses, and what its own processes send. Traffic that the kernel only
 * forwards is none of it. Connections between the host and its pods are decided where pods' packets are, in pod.bpf.c;
 * here are those over the node's own devices. docs/decisions/0017-host-policies.md
 */
#ifndef AXON_LIB_HOST_H
#define AXON_LIB_HOST_H

#include "decide.h"
#include "forward.h"
#include "icmp.h"

#define AX_TCP_LISTEN 10

/* Made by a process of this node: forwarded packets remember the device they came through. */
AX_INLINE bool is_locally_made(const struct __sk_buff *skb)
{
	return !skb->ingress_ifindex;
}

/* A node without a lease has no address that a policy could protect. */
AX_INLINE bool is_lease(const struct ax_pkt *p, bool arrives)
{
	__be16 client = p->family == AF_INET ? bpf_htons(68) : bpf_htons(546);
	__be16 server = p->family == AF_INET ? bpf_htons(67) : bpf_htons(547);

	if (p->proto != IPPROTO_UDP)
		return false;
	return arrives ? p->sport == server && p->dport == client : p->sport == client && p->dport == server;
}

/* A party becomes this node: the stack delivers there, though no map says so (link-local addresses, local routes). */
AX_INLINE void party_is_host(struct ax_party *party, const struct ax_config *cfg)
{
	party->identity = AX_ID_HOST;
	party->policy_id = cfg->host_policy_id;
	party->ep_flags = AX_EP_HOST;
	party->path = AX_PATH_STACK;
}

/* Does the stack deliver w->pkt, whose destination no map of ours knows, on this node? */
AX_GLOBAL int is_delivered_here(struct __sk_buff *skb, struct ax_work *w)
{
	int r;

	if (!w)
		return 0;
	r = fib_ask(skb, w);
	/* from a device that nothing is forwarded from, the stack takes what is its own and drops the rest */
	return r == BPF_FIB_LKUP_RET_NOT_FWDED || r == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

/* Is w->dst, resolved from w->pkt.daddr, this node? */
AX_INLINE bool is_to_host(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg)
{
	if (w->dst.ep_flags & AX_EP_HOST)
		return true;
	if (w->dst.path != AX_PATH_UNKNOWN || w->dst.in_cluster || w->dst.local || !is_delivered_here(skb, w))
		return false;
	party_is_host(&w->dst, cfg);
	return true;
}

/* The two ends of an entry are this node and somebody else, and neither is a pod of this node. */
AX_INLINE bool ct_is_of_host(const struct ax_ct *ct)
{
	return !ct->side[0].ep_id && !ct->side[1].ep_id &&
	       (ct->side[0].identity == AX_ID_HOST || ct->side[1].identity == AX_ID_HOST);
}

/* A packet to the host on a connection that is decided, and all is up to date */
AX_INLINE bool host_settled(struct __sk_buff *skb, const struct ax_config *cfg, struct ax_pkt *p, __u32 epoch, __u32 now)
{
	struct ax_ct_key key;
	__u32 side = ct_key(p, &key) & 1;
	struct ax_ct *ct = bpf_map_lookup_elem(&ax_ct, &key);

	if (!ct || !ct_is_decided(ct, epoch, side ^ 1) || ct->frontend_port || !ct_is_of_host(ct) ||
	    ct->side[side ^ 1].identity != AX_ID_HOST || ct_is_over(ct, side, p, now))
		return false;
	if (!ct_is_plain(cfg, ct, side, p, now))
		ct_touch(skb, p, ct, side);
	return true;
}

AX_INLINE bool host_known(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_ct *ct = bpf_map_lookup_elem(&ax_ct, &w->key);

	if (!ct || !ct_is_decided(ct, w->epoch, w->side ^ 1) || ct_is_over(ct, w->side, &w->pkt, w->now_s) ||
	    !ct_is_of_host(ct) || ct_is_of_another_frontend(ct, w))
		return false;
	ct_touch(skb, &w->pkt, ct, w->side);
	return true;
}

/* State of this node's socket with `local` and, unless it is NULL, this peer; 0: there is none. */
AX_INLINE __u32 socket_state(struct __sk_buff *skb, const struct ax_addr *local, __be16 lport, const struct ax_addr *peer,
			     __be16 pport)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size, state;
	struct bpf_sock *sk;

	if (addr_is4(local)) {
		size = sizeof(tuple.ipv4);
		tuple.ipv4.saddr = peer ? peer->w[3] : 0;
		tuple.ipv4.daddr = local->w[3];
		tuple.ipv4.sport = peer ? pport : 0;
		tuple.ipv4.dport = lport;
	} else {
		size = sizeof(tuple.ipv6);
		if (peer)
			__builtin_memcpy(tuple.ipv6.saddr, peer, 16);
		__builtin_memcpy(tuple.ipv6.daddr, local, 16);
		tuple.ipv6.sport = peer ? pport : 0;
		tuple.ipv6.dport = lport;
	}
	sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state;
}

/*
 * A packet in the middle of a TCP connection that has no entry: opened before there was a host policy, or idle for hours.
 * Who opened it is told by the sockets. 1: the packet's receiver did, so this is an answer.
 */
AX_GLOBAL int is_answer_of_old(struct __sk_buff *skb, struct ax_work *w, __u32 arrives)
{
	struct ax_pkt *p;
	bool listens;

	if (!w)
		return 0;
	p = &w->pkt;
	if (p->proto != IPPROTO_TCP || is_opening(p))
		return 0;
	if (arrives) {
		__u32 state = socket_state(skb, &p->daddr, p->dport, &p->saddr, p->sport);

		if (!state || state == AX_TCP_LISTEN)
			return 0;
		listens = socket_state(skb, &p->daddr, p->dport, NULL, 0) == AX_TCP_LISTEN;
		return !listens;
	}
	listens = socket_state(skb, &p->saddr, p->sport, NULL, 0) == AX_TCP_LISTEN;
	return listens;
}

/* What no entry can stand for: judged packet by packet, each in its own direction. */
AX_INLINE bool is_untracked(const struct ax_pkt *p)
{
	if (is_icmp(p))
		return !is_echo(p->proto, p->icmp_type);
	return p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP && p->proto != IPPROTO_SCTP;
}

/* An error about a connection of the host's, as its sender sent it */
AX_INLINE bool is_error_of_known(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_ct *ct;

	if (load_quoted(skb, w) || !addr_equal(&w->pkt.daddr, &w->inner.saddr))
		return false;
	ct_key(&w->inner, &w->key);
	ct = bpf_map_lookup_elem(&ax_ct, &w->key);
	return ct && (__s32)(w->now_s - ct->expires_s) <= 0 && !(ct->flags & AX_CT_REFUSED) && ct_is_of_host(ct);
}

/*
 * A packet to (`arrives`) or from this node, with w->src and w->dst resolved: 0 to let it pass, or a drop reason. Discovery,
 * leases and the errors the node itself sends are never refused.
 */
AX_GLOBAL int host_judge(struct __sk_buff *skb, struct ax_work *w, __u32 arrives)
{
	int r;

	if (!w)
		return AX_DROP_NO_CONFIG;
	if (w->pkt.flags & AX_P_ND || is_lease(&w->pkt, arrives))
		return 0;
	note_parties(w);
	if (w->pkt.flags & AX_P_ICMP_ERROR)
		return !arrives || is_error_of_known(skb, w) ? 0 : judge(w, 1);
	if (is_untracked(&w->pkt))
		return judge(w, 1);
	w->side = ct_key(&w->pkt, &w->key);
	if (host_known(skb, w))
		return 0;
	if (!bpf_map_lookup_elem(&ax_ct, &w->key) && is_answer_of_old(skb, w, arrives))
		return judge(w, 0);
	/* the way is the stack's; the entry says where to for those who read of it */
	if (w->src.path == AX_PATH_UNKNOWN)
		w->src.path = AX_PATH_NEIGH;
	if (w->dst.path == AX_PATH_UNKNOWN)
		w->dst.path = AX_PATH_NEIGH;
	r = decide(skb, w);
	/* no room to remember it: the policy allows the packet all the same, and nobody is locked out by a flood */
	return r == AX_DROP_CT_CREATE_FAILED ? 0 : r;
}

/* From the wire to this node: w->dst is the host, w->src is looked up here. The verdict. */
AX_INLINE int host_receive(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg, __u8 unread)
{
	int r;

	resolve(w, &w->pkt.saddr, &w->src);
	note_parties(w);
	if (w->src.local || w->src.ep_flags & AX_EP_HOST)
		return drop(skb, w, AX_DROP_INVALID_SOURCE_IP, AX_M_INGRESS);
	/* a pod of another node would have come through the tunnel */
	if (w->src.path == AX_PATH_TUNNEL)
		w->src.identity = world_identity(cfg, &w->pkt.saddr);
	r = unread ? unread : host_judge(skb, w, 1);
	return r ? drop(skb, w, r, AX_M_INGRESS) : TC_ACT_OK;
}

/*
 * What could not be read as a connection's. A fragment without its first one is harmless: the first one is judged, and
 * without it the stack puts nothing together.
 */
AX_GLOBAL int host_receive_unread(struct __sk_buff *skb, struct ax_work *w, __u32 reason)
{
	struct ax_config *cfg = config();

	if (!w || !cfg)
		return TC_ACT_SHOT;
	if (reason == AX_DROP_INVALID && !w->pkt.family)
		return drop_silently(skb, reason, AX_M_INGRESS);
	if (!w->pkt.family || reason == AX_DROP_FRAG_NOT_FOUND || addr_is_multicast(&w->pkt.daddr))
		return TC_ACT_OK;
	resolve(w, &w->pkt.daddr, &w->dst);
	if (!is_to_host(skb, w, cfg))
		return TC_ACT_OK;
	return host_receive(skb, w, cfg, reason == AX_DROP_CT_UNKNOWN_PROTO ? 0 : reason);
}

/* A packet that leaves through a device of the node: 0 to let it pass (also what is not the host's), or a drop reason. */
AX_GLOBAL int host_send(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();

	if (!w || !cfg)
		return AX_DROP_NO_CONFIG;
	if (!is_locally_made(skb) || addr_is_multicast(&w->pkt.daddr) || is_encapsulation(cfg, &w->pkt))
		return 0;
	resolve(w, &w->pkt.saddr, &w->src);
	if (w->src.local)
		return 0;
	resolve(w, &w->pkt.daddr, &w->dst);
	party_is_host(&w->src, cfg);
	return host_judge(skb, w, 0);
}

/* As host_receive_unread, of what leaves */
AX_INLINE int host_send_unread(struct __sk_buff *skb, struct ax_work *w, __u32 reason)
{
	int r = 0;

	if (!w->pkt.family || reason == AX_DROP_FRAG_NOT_FOUND)
		return TC_ACT_OK;
	if (reason == AX_DROP_CT_UNKNOWN_PROTO)
		r = host_send(skb, w);
	else if (is_locally_made(skb) && !addr_is_multicast(&w->pkt.daddr))
		r = reason;
	return r ? drop(skb, w, r, AX_M_EGRESS) : TC_ACT_OK;
}

#endif
