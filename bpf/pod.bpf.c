// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The host side of a pod's veth. pod_from: every packet the pod sends. pod_to: what
 * the host's stack sends to the pod (deliveries of ours bypass it by redirect_peer).
 */
#include "lib/arp.h"
#include "lib/decide.h"
#include "lib/frag.h"

/* Multicast, broadcast and what has no destination: a pod's stack chats, nobody listens. */
AX_INLINE bool is_chatter(const struct ax_pkt *p)
{
	return addr_is_multicast(&p->daddr) || addr_is_zero(&p->daddr);
}

/* The connection of w->pkt is decided: advance it and send the packet on. */
AX_INLINE int forward_known(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg)
{
	struct ax_ct_side *from = &w->ct.side[w->side & 1], *to = &w->ct.side[(w->side ^ 1) & 1];

	count_forward(skb, AX_M_EGRESS);
	return forward(skb, cfg, to, from->identity, w->ct.flags);
}

/* Everything about a packet from a pod that the entry alone does not settle */
AX_GLOBAL int pod_from_slow(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	int r;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	resolve(w, &w->pkt.saddr, &w->src);
	note_parties(w);
	if (!w->src.local || w->src.ifindex != skb->ifindex)
		return drop(skb, w, AX_DROP_INVALID_SOURCE_IP, AX_M_EGRESS);
	resolve(w, &w->pkt.daddr, &w->dst);
	w->side = ct_key(&w->pkt, &w->key);
	r = decide(skb, w);
	if (r)
		return drop(skb, w, r, AX_M_EGRESS);
	return forward_known(skb, w, cfg);
}

AX_INLINE int pod_from_parsed(struct __sk_buff *skb, struct ax_work *w, int parsed)
{
	if (parsed == AX_PARSE_ARP)
		return arp(skb);
	if (parsed == AX_PARSE_FOREIGN)
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_EGRESS);
	if (parsed)
		return drop(skb, w, parsed, AX_M_EGRESS);
	if (w->pkt.flags & AX_P_ND)
		return discovery(skb, &w->pkt);
	if (is_chatter(&w->pkt))
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_EGRESS);
	return pod_from_slow(skb, w);
}

SEC("tc")
int pod_from(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	struct ax_ct_key key;
	struct ax_work *w;
	struct ax_pkt p;
	struct ax_ct *ct;
	__u32 epoch, now, side;
	int parsed;

	if (!cfg)
		return TC_ACT_SHOT;
	epoch = READ_ONCE(cfg->epoch);
	now = now_s();
	parsed = parse_plain(skb, &p);
	if (likely(parsed == AX_PARSE_OK)) {
		side = ct_key(&p, &key) & 1;
		ct = bpf_map_lookup_elem(&ax_ct, &key);
		if (ct && ct_is_decided(ct, epoch, side ^ 1) && !ct->frontend_id &&
		    ct->side[side].ifindex == skb->ifindex && !ct_is_over(ct, &p, now)) {
			if (!ct_is_plain(cfg, ct, side, &p, now))
				ct_touch(skb, &p, ct, side);
			count_forward(skb, AX_M_EGRESS);
			return forward(skb, cfg, &ct->side[side ^ 1], ct->side[side].identity, ct->flags);
		}
	}
	w = work();
	if (!w)
		return TC_ACT_SHOT;
	w->epoch = epoch;
	w->now_s = now;
	w->frontend_id = 0;
	__builtin_memset(&w->note, 0, sizeof(w->note));
	w->pkt = p;
	if (parsed)
		parsed = parse_slow(skb, &w->pkt);
	return pod_from_parsed(skb, w, parsed);
}

/* ARP and neighbour discovery between the host and its pod need no policy. */
AX_INLINE int pod_to_parsed(struct __sk_buff *skb, struct ax_work *w, int parsed)
{
	int r;

	if (parsed == AX_PARSE_ARP)
		return TC_ACT_OK;
	if (parsed == AX_PARSE_FOREIGN)
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_INGRESS);
	if (parsed)
		return drop(skb, w, parsed, AX_M_INGRESS);
	if (w->pkt.flags & AX_P_ND)
		return TC_ACT_OK;
	if (is_chatter(&w->pkt))
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_INGRESS);
	resolve(w, &w->pkt.saddr, &w->src);
	resolve(w, &w->pkt.daddr, &w->dst);
	note_parties(w);
	if (!w->dst.local || w->dst.ifindex != skb->ifindex)
		return drop(skb, w, AX_DROP_STALE_OR_UNROUTABLE, AX_M_INGRESS);
	w->side = ct_key(&w->pkt, &w->key);
	r = decide(skb, w);
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	count_forward(skb, AX_M_INGRESS);
	return TC_ACT_OK;
}

SEC("tc")
int pod_to(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	struct ax_work *w = work();
	int parsed;

	if (!cfg || !w)
		return TC_ACT_SHOT;
	w->epoch = READ_ONCE(cfg->epoch);
	w->now_s = now_s();
	w->frontend_id = 0;
	__builtin_memset(&w->note, 0, sizeof(w->note));
	parsed = parse_plain(skb, &w->pkt);
	if (parsed)
		parsed = parse_slow(skb, &w->pkt);
	return pod_to_parsed(skb, w, parsed);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
