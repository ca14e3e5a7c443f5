/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Datagrams of a connected UDP socket whose backend is gone. The socket was sent to the backend
 * itself and goes on sending there; its storage, in reach since a packet keeps its socket as far
 * as the host's end of the veth, still knows the Service. The packet is translated as for a Service
 * whose frontend is the gone backend's address: answers seem to come from there, as the socket
 * wants it, and recvmsg shows the program what it dialled.
 */
#ifndef AXON_LIB_MOVED_H
#define AXON_LIB_MOVED_H

#include "service.h"

/* What the socket behind this packet remembers, if it is one that a Service led to where the packet goes. */
AX_INLINE struct ax_sock *led_here(struct __sk_buff *skb, const struct ax_pkt *p)
{
	struct bpf_sock *sk = skb->sk;
	struct ax_sock *s;

	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return NULL;
	s = bpf_sk_storage_get(&ax_sock, sk, NULL, 0);
	if (!s || s->proto != IPPROTO_UDP || s->backend_port != p->dport || !addr_equal(&s->backend, &p->daddr))
		return NULL;
	return s;
}

/*
 * Is this packet for a backend that is gone, of a Service that is there? Then w->svc_key names the Service's row.
 * A Service that is gone too says nothing about the address: the packet may go there.
 */
AX_GLOBAL int has_lost_backend(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_sock *s;

	if (!w || w->pkt.proto != IPPROTO_UDP)
		return 0;
	s = led_here(skb, &w->pkt);
	if (!s || backend_row(s->backend_id))
		return 0;
	w->svc_key.addr = s->frontend;
	w->svc_key.port = s->frontend_port;
	w->svc_key.proto = IPPROTO_UDP;
	w->svc_key.scope = s->scope;
	w->note.orig_daddr = s->frontend;
	w->note.orig_dport = s->frontend_port;
	return frontend_row(&w->svc_key, AX_CLIENT_SOCKET) != NULL;
}

/* After has_lost_backend: to another backend of w->svc_key. 0 or a drop reason. */
AX_GLOBAL int move(struct __sk_buff *skb, struct ax_work *w)
{
	int r = AX_EDGE_FLOW;

	if (!w)
		return AX_DROP_NO_CONFIG;
	flow_key_of(&w->flow_key, &w->pkt);
	w->frontend = w->pkt.daddr;
	w->frontend_port = w->pkt.dport;
	w->note.flags |= AX_EVF_TRANSLATED;
	if (!edge_known(w)) {
		r = edge_select_of(w);
		if (r == AX_EDGE_FLOW)
			r = service_remember(w);
	}
	return r == AX_EDGE_FLOW ? service_translate(skb, w) : r;
}

#endif
