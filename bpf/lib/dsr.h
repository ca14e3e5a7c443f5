/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Direct server return: the node that a client dials sends the packet on to the backend's node with the client's source,
 * and tells the frontend in the packet itself:
 *   IPv4  an option of type 0x9a: type, length 8, be16 port, be32 address
 *   IPv6  a destination options header with one option of type 0x1B: be16 port, be16 zero, address
 * The same packet may be wrapped in IPIP / IP6IP6, for networks that drop options.
 */
#ifndef AXON_LIB_DSR_H
#define AXON_LIB_DSR_H

#include "edge.h"

#define DSR_OPTION4 0x9a
#define DSR_OPTION6 0x1b

struct ax_dsr4 {
	__u8 type;
	__u8 len;
	__be16 port;
	__be32 addr;
};

struct ax_dsr6 {
	__u8 next;
	__u8 len;              /* of the header, in 8 bytes less one */
	__u8 type;
	__u8 option_len;
	__be16 port;
	__be16 zero;
	struct ax_addr addr;
};

/* What comes and goes are headers: merged segments, of datagrams too, stay as large as they are. */
#define DSR_ROOM BPF_F_ADJ_ROOM_FIXED_GSO
#define DSR_AT4 (ETH_HLEN + sizeof(struct iphdr))
#define DSR_AT6 (ETH_HLEN + sizeof(struct ipv6hdr))

/* The IPv4 header gets, or loses, the words of an option. */
AX_INLINE int dsr_header4(struct __sk_buff *skb, struct ax_dsr4 *o, bool add)
{
	__u32 check = ETH_HLEN + offsetof(struct iphdr, check);
	__be32 *words = (__be32 *)o, old, new;
	__u32 word;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &old, 4))
		return AX_DROP_WRITE;
	word = bpf_ntohl(old);
	/* version and header length in words, service, total length */
	word = add ? word + (2 << 24) + sizeof(*o) : word - (2 << 24) - sizeof(*o);
	new = bpf_htonl(word);
	if (bpf_l3_csum_replace(skb, check, old, new, 4) ||
	    bpf_l3_csum_replace(skb, check, add ? 0 : words[0], add ? words[0] : 0, 4) ||
	    bpf_l3_csum_replace(skb, check, add ? 0 : words[1], add ? words[1] : 0, 4) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &new, 4, 0))
		return AX_DROP_WRITE;
	return 0;
}

AX_INLINE int dsr_header6(struct __sk_buff *skb, __u8 next, int change)
{
	__u32 off = ETH_HLEN + offsetof(struct ipv6hdr, payload_len);
	__be16 len;

	if (bpf_skb_load_bytes(skb, off, &len, 2))
		return AX_DROP_WRITE;
	len = bpf_htons(bpf_ntohs(len) + change);
	if (bpf_skb_store_bytes(skb, off, &len, 2, 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &next, 1, 0))
		return AX_DROP_WRITE;
	return 0;
}

/* w->frontend goes into the packet. 0 or a drop reason. */
AX_GLOBAL int dsr_tell(struct __sk_buff *skb, struct ax_work *w)
{
	if (!w)
		return AX_DROP_WRITE;
	if (w->pkt.family == AF_INET) {
		struct ax_dsr4 o = { .type = DSR_OPTION4, .len = sizeof(o), .port = w->frontend_port };

		o.addr = w->frontend.w[3];
		if (bpf_skb_adjust_room(skb, sizeof(o), BPF_ADJ_ROOM_NET, DSR_ROOM) ||
		    bpf_skb_store_bytes(skb, DSR_AT4, &o, sizeof(o), 0))
			return AX_DROP_WRITE;
		w->pkt.l4_off += sizeof(o);
		return dsr_header4(skb, &o, true);
	}
	struct ax_dsr6 o = { .len = sizeof(o) / 8 - 1, .type = DSR_OPTION6, .option_len = sizeof(o) - 4 };

	o.next = w->pkt.proto;
	o.port = w->frontend_port;
	o.addr = w->frontend;
	if (bpf_skb_adjust_room(skb, sizeof(o), BPF_ADJ_ROOM_NET, DSR_ROOM) ||
	    bpf_skb_store_bytes(skb, DSR_AT6, &o, sizeof(o), 0))
		return AX_DROP_WRITE;
	w->pkt.l4_off += sizeof(o);
	return dsr_header6(skb, IPPROTO_DSTOPTS, sizeof(o));
}

/*
 * Only a frontend that this cluster serves by direct return is believed: a packet may come from anybody, and what
 * it says becomes the source of the answer.
 */
AX_INLINE bool dsr_is_ours(struct ax_work *w)
{
	struct ax_svc_key *key = &w->svc_key;
	struct ax_svc *svc;

	__builtin_memset(key, 0, sizeof(*key));
	key->addr = w->frontend;
	key->port = w->frontend_port;
	key->proto = w->pkt.proto;
	svc = service_row(key);
	if (!svc) {
		/* a NodePort of another node */
		resolve(w, &w->frontend, &w->dst);
		if (!identity_is_node(w->dst.identity) && w->dst.identity != AX_ID_KUBE_APISERVER)
			return false;
		__builtin_memset(&key->addr, 0, sizeof(key->addr));
		if (w->pkt.family == AF_INET)
			key->addr.w[2] = AX_V4_WORD2;
		svc = service_row(key);
	}
	return svc && svc->forwarding == AX_FWD_DSR && svc->flags & AX_SVC_OUTSIDE;
}

AX_INLINE int dsr_strip4(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_dsr4 o;

	if (bpf_skb_load_bytes(skb, DSR_AT4, &o, sizeof(o)) || o.type != DSR_OPTION4 || o.len != sizeof(o) || !o.port)
		return 0;
	addr_set4(&w->frontend, o.addr);
	w->frontend_port = o.port;
	if (!dsr_is_ours(w))
		return 0;
	if (dsr_header4(skb, &o, false) ||
	    bpf_skb_adjust_room(skb, -(__s32)sizeof(o), BPF_ADJ_ROOM_NET, DSR_ROOM))
		return AX_DROP_WRITE;
	w->pkt.l4_off -= sizeof(o);
	w->dsr = 1;
	return 0;
}

AX_INLINE int dsr_strip6(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_dsr6 o;
	__u8 next;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &next, 1) || next != IPPROTO_DSTOPTS ||
	    bpf_skb_load_bytes(skb, DSR_AT6, &o, sizeof(o)) || o.len != sizeof(o) / 8 - 1 || o.type != DSR_OPTION6 ||
	    o.option_len != sizeof(o) - 4 || !o.port)
		return 0;
	w->frontend = o.addr;
	w->frontend_port = o.port;
	if (!dsr_is_ours(w))
		return 0;
	if (dsr_header6(skb, o.next, -(int)sizeof(o)) ||
	    bpf_skb_adjust_room(skb, -(__s32)sizeof(o), BPF_ADJ_ROOM_NET, DSR_ROOM))
		return AX_DROP_WRITE;
	w->pkt.l4_off -= sizeof(o);
	w->dsr = 1;
	return 0;
}

/*
 * A packet for a pod of this node: what another node told about it comes off. Then w->dsr is set and
 * w->frontend is what the client dialled. 0 or a drop reason.
 */
AX_GLOBAL int dsr_hear(struct __sk_buff *skb, struct ax_work *w)
{
	int r;

	if (!w || w->pkt.flags & AX_P_LATER_FRAG)
		return 0;
	r = w->pkt.family == AF_INET ? dsr_strip4(skb, w) : dsr_strip6(skb, w);
	if (!w->dsr)
		w->frontend_port = 0;
	return r;
}

AX_INLINE bool has_options(const struct ax_pkt *p)
{
	return p->l4_off > (p->family == AF_INET ? DSR_AT4 : DSR_AT6);
}

AX_INLINE int dsr_wrap4(struct __sk_buff *skb, const struct ax_config *cfg, const struct ax_addr *node)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_IPIP };
	__s64 sum;

	ip.tot_len = bpf_htons(skb->len - ETH_HLEN + sizeof(ip));
	ip.saddr = cfg->node_ip4.w[3];
	ip.daddr = node->w[3];
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0);
	sum = (sum & 0xffff) + (sum >> 16);
	ip.check = ~((sum & 0xffff) + (sum >> 16));
	if (bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0))
		return AX_DROP_WRITE;
	return 0;
}

AX_INLINE int dsr_wrap6(struct __sk_buff *skb, const struct ax_config *cfg, const struct ax_addr *node)
{
	struct ipv6hdr ip = { .version = 6, .hop_limit = 64, .nexthdr = IPPROTO_IPV6 };

	ip.payload_len = bpf_htons(skb->len - ETH_HLEN);
	__builtin_memcpy(&ip.saddr, &cfg->node_ip6, 16);
	__builtin_memcpy(&ip.daddr, node, 16);
	if (bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0))
		return AX_DROP_WRITE;
	return 0;
}

/* Around the packet, to a node of the same family. 0 or a drop reason. */
AX_GLOBAL int dsr_wrap(struct __sk_buff *skb, struct ax_addr *node)
{
	struct ax_config *cfg = config();

	if (!node || !cfg)
		return AX_DROP_NO_CONFIG;
	return addr_is4(node) ? dsr_wrap4(skb, cfg, node) : dsr_wrap6(skb, cfg, node);
}

/*
 * w->pkt may be a packet that another node has wrapped: only of nodes of the cluster, and only to an address
 * of this one. 1: it is unwrapped, to be read anew.
 */
AX_GLOBAL int dsr_unwrap(struct __sk_buff *skb, struct ax_work *w)
{
	__u32 outer;

	if (!w || w->pkt.proto != (w->pkt.family == AF_INET ? IPPROTO_IPIP : IPPROTO_IPV6))
		return 0;
	outer = w->pkt.l4_off - ETH_HLEN;
	if (outer != (w->pkt.family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)))
		return 0;
	resolve(w, &w->pkt.daddr, &w->dst);
	resolve(w, &w->pkt.saddr, &w->src);
	if (!(w->dst.ep_flags & AX_EP_HOST) ||
	    (!identity_is_remote_node(w->src.identity) && w->src.identity != AX_ID_KUBE_APISERVER))
		return 0;
	if (w->pkt.family == AF_INET)
		return !bpf_skb_adjust_room(skb, -(__s32)sizeof(struct iphdr), BPF_ADJ_ROOM_MAC, DSR_ROOM);
	return !bpf_skb_adjust_room(skb, -(__s32)sizeof(struct ipv6hdr), BPF_ADJ_ROOM_MAC, DSR_ROOM);
}

#endif
