/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments: the first one of a datagram has the ports, ax_frags remembers them for the others. */
#ifndef AXON_LIB_FRAG_H
#define AXON_LIB_FRAG_H

#include "parse.h"

AX_GLOBAL int fragment_ports(struct ax_pkt *p)
{
	struct ax_frag_key key = {};
	struct ax_frag_ports ports, *known;

	if (!p)
		return AX_DROP_INVALID;
	key.saddr = p->saddr;
	key.daddr = p->daddr;
	key.id = p->frag_id;
	key.proto = p->proto;
	if (p->flags & AX_P_FIRST_FRAG) {
		ports.sport = p->sport;
		ports.dport = p->dport;
		bpf_map_update_elem(&ax_frags, &key, &ports, BPF_ANY);
		return AX_PARSE_OK;
	}
	known = bpf_map_lookup_elem(&ax_frags, &key);
	if (!known)
		return AX_DROP_FRAG_NOT_FOUND;
	p->sport = known->sport;
	p->dport = known->dport;
	return AX_PARSE_OK;
}

/* parse_any, with the ports of fragments filled in */
AX_INLINE int parse_slow(struct __sk_buff *skb, struct ax_pkt *p)
{
	int r = parse_any(skb, p);

	if (!r && p->flags & (AX_P_FIRST_FRAG | AX_P_LATER_FRAG))
		r = fragment_ports(p);
	return r;
}

#endif
