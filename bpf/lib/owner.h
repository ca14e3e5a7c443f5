/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which process a packet comes from: a packet keeps its socket as far as the host's end of the veth, and the
 * socket's storage has the number that owner.bpf.c put there. Asked for only when a record is written.
 */
#ifndef AXON_LIB_OWNER_H
#define AXON_LIB_OWNER_H

#include "base.h"

/* The answer to a SYN belongs to a request, which stands for the socket that listens. */
AX_INLINE struct bpf_sock *whole_socket(struct bpf_sock *sk)
{
	struct bpf_sock *full = bpf_sk_fullsock(sk);

	return full ? full : bpf_get_listener_sock(sk);
}

/* Number of the process behind the packet; 0: of no socket of a pod, or not known */
AX_INLINE __u32 owner_of(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	struct bpf_sock *sk = skb->sk;
	__u32 *id;

	if (!sk || !cfg || !(cfg->flags & AX_CFG_PROCESSES))
		return 0;
	sk = whole_socket(sk);
	if (!sk)
		return 0;
	id = bpf_sk_storage_get(&ax_owner, sk, NULL, 0);
	return id ? *id : 0;
}

#endif
