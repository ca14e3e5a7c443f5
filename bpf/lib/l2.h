/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Addresses of Services that this node announces on a link (ax_l2): whoever asks there is told the link's MAC. The
 * node itself does not have these addresses, so its own stack stays silent about them.
 */
#ifndef AXON_LIB_L2_H
#define AXON_LIB_L2_H

#include "arp.h"

AX_INLINE struct ax_l2 *announced(struct __sk_buff *skb, const struct ax_addr *addr)
{
	struct ax_l2_key key;

	key.addr = *addr;
	key.ifindex = skb->ifindex;
	return bpf_map_lookup_elem(&ax_l2, &key);
}

/*
 * Probes of who wants the address (RFC 5227, sender 0.0.0.0) are answered as well. An announcement of the address by
 * itself is no question, whoever makes it.
 */
AX_GLOBAL int l2_arp(struct __sk_buff *skb)
{
	struct ax_addr addr;
	struct ax_l2 *row;
	struct ax_arp a;

	if (!arp_load(skb, &a) || a.op != ARP_REQUEST || *(__be32 *)a.sip == *(__be32 *)a.tip)
		return TC_ACT_OK;
	addr_set4(&addr, *(__be32 *)a.tip);
	row = announced(skb, &addr);
	if (!row)
		return TC_ACT_OK;
	__sync_fetch_and_add(&row->answered, 1);
	return arp_answer(skb, &a, row->mac);
}

/* RFC 4861 7.2.4: who has no address yet (a probe for duplicates) hears it with everybody else. */
AX_GLOBAL int l2_discovery(struct __sk_buff *skb, struct ax_pkt *p)
{
	struct ax_addr all_nodes = { .w = { bpf_htonl(0xff020000), 0, 0, bpf_htonl(1) } };
	__u8 mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	struct ax_nd nd = {};
	struct ax_l2 *row;

	if (!p || p->icmp_type != ND_SOLICIT || p->icmp_code || p->l4_off != ETH_HLEN + sizeof(struct ipv6hdr) ||
	    bpf_skb_load_bytes(skb, p->l4_off, &nd, offsetof(struct ax_nd, option)))
		return TC_ACT_OK;
	row = announced(skb, &nd.target);
	if (!row || addr_is_multicast(&p->saddr))
		return TC_ACT_OK;
	__sync_fetch_and_add(&row->answered, 1);
	__builtin_memcpy(nd.mac, row->mac, 6);
	if (addr_is_zero(&p->saddr))
		return nd_answer(skb, &nd, &all_nodes, mac, ND_OVERRIDE);
	return nd_reply(skb, p, &nd);
}

#endif
