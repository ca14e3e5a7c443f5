// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The host side of a pod's veth. pod_from: every packet the pod sends. pod_to: what
 * the host's stack sends to the pod (deliveries of ours bypass it by redirect_peer).
 */
#include "lib/arp.h"
#include "lib/deliver.h"
#include "lib/host.h"
#include "lib/moved.h"
#include "lib/proxied.h"
#include "lib/proxy.h"
#include "lib/reject.h"

/* Multicast, broadcast and what has no destination: a pod's stack chats, nobody listens. */
AX_INLINE bool is_chatter(const struct ax_pkt *p)
{
	return addr_is_multicast(&p->daddr) || addr_is_zero(&p->daddr);
}

/* Counted as leaving its pod, and as reaching the other one of this node. */
AX_INLINE int pod_send(struct __sk_buff *skb, const struct ax_config *cfg, struct ax_ct_side *to, __u32 identity,
		       __u32 ct_flags)
{
	count_forward(skb, AX_M_EGRESS);
	if (to->path == AX_PATH_PEER)
		count_forward(skb, AX_M_INGRESS);
	return forward(skb, cfg, to, identity, ct_flags);
}

/*
 * An answer in a Service's name that the stack has to cut or to complain about goes up as the pod sent it: the
 * stack drops what comes from its own addresses. node_to translates it on its way out.
 */
AX_INLINE bool goes_untranslated(struct __sk_buff *skb, const struct ax_config *cfg, const struct ax_ct *ct, __u32 side)
{
	const struct ax_ct_side *to = &ct->side[(side ^ 1) & 1];

	if (!ct->frontend_port || ct_from_initiator(ct, side) || to->path == AX_PATH_PEER || to->path == AX_PATH_PROXY ||
	    to->identity == AX_ID_HOST)
		return false;
	return to->path == AX_PATH_STACK || exceeds_mtu(skb, cfg);
}

/* The connection of w->pkt is decided and its row in w->ct: send the packet on. */
AX_INLINE int pod_forward(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg)
{
	struct ax_ct_side *from = &w->ct.side[w->side & 1], *to = &w->ct.side[(w->side ^ 1) & 1];
	int r;

	if (goes_untranslated(skb, cfg, &w->ct, w->side)) {
		count_forward(skb, AX_M_EGRESS);
		return TC_ACT_OK;
	}
	r = service_answer(skb, w);
	if (r)
		return drop(skb, w, r, AX_M_EGRESS);
	return pod_send(skb, cfg, to, from->identity, w->ct.flags);
}

/* The answer of a Service's backend on a settled connection, whose row is in w->ct: nothing but its source changes. */
AX_GLOBAL int pod_answer(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();

	return w && cfg ? pod_forward(skb, w, cfg) : TC_ACT_SHOT;
}

/* No backend: the pod is told, as if by what it dialled. */
AX_INLINE int pod_refuse(struct __sk_buff *skb, struct ax_work *w, __u32 reason)
{
	drop(skb, w, reason, AX_M_EGRESS);
	if (reason != AX_DROP_NO_SERVICE || refuse(skb, w))
		return TC_ACT_SHOT;
	return to_peer(skb, skb->ifindex);
}

/* A pod's ICMP error: only about a packet that reached this very pod. */
AX_GLOBAL int pod_error(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_ct_side *to;
	int r;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	r = related(skb, w);
	if (!r && w->ct.side[(w->side ^ 1) & 1].ifindex != skb->ifindex)
		r = AX_DROP_INVALID_SOURCE_IP;
	if (r)
		return drop(skb, w, r, AX_M_EGRESS);
	emit(skb, &w->pkt, &w->note);
	/* the entry may be of another epoch: only the way is asked for, and asked anew */
	resolve(w, &w->pkt.daddr, &w->dst);
	route(skb, w);
	to = &w->ct.side[w->side & 1];
	side_set(to, &w->dst, 0);
	return pod_send(skb, cfg, to, w->src.identity, w->ct.flags);
}

/* The answer of a pod that reached itself through a Service */
AX_INLINE bool to_itself(struct ax_work *w)
{
	if (!is_loopback_address(&w->pkt.daddr, w->pkt.family))
		return false;
	w->hairpin = 1;
	return true;
}

/* Both ends are the same pod. Policies have no say between a pod and itself. */
AX_INLINE void meets_itself(struct ax_work *w)
{
	w->src.policy_id = 0;
	w->dst = w->src;
}

/* Whom the packet is for; where the host has a policy, also when the stack alone knows that it is for the host. */
AX_INLINE void pod_destination(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg)
{
	resolve(w, &w->pkt.daddr, &w->dst);
	if (cfg->host_policy_id)
		is_to_host(skb, w, cfg);
}

/* Everything about a packet from a pod that its entry alone does not settle */
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
	if (w->pkt.flags & AX_P_ICMP_ERROR)
		return pod_error(skb, w);
	if (to_itself(w))
		r = 0;
	else
		r = has_lost_backend(skb, w) ? move(skb, w) : service(skb, w);
	if (r == AX_DROP_NO_SERVICE)
		return pod_refuse(skb, w, r);
	/* the backend's port counts: a service may stand before a node's tunnel */
	if (!r && is_encapsulation(cfg, &w->pkt))
		r = AX_DROP_ENCAP_PROHIBITED;
	if (r)
		return drop(skb, w, r, AX_M_EGRESS);
	w->side = ct_key(&w->pkt, &w->key);
	if (known(skb, w, skb->ifindex))
		return pod_forward(skb, w, cfg);
	if (w->hairpin)
		meets_itself(w);
	else
		pod_destination(skb, w, cfg);
	w->may_redirect = 1;
	r = decide(skb, w);
	if (r == AX_TO_THE_PROXY)
		r = redirect(skb, w);
	if (r)
		return drop(skb, w, r, AX_M_EGRESS);
	return pod_forward(skb, w, cfg);
}

AX_INLINE int pod_from_parsed(struct __sk_buff *skb, struct ax_work *w, int parsed)
{
	if (parsed == AX_PARSE_ARP)
		return arp(skb);
	if (parsed == AX_PARSE_FOREIGN)
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_EGRESS);
	if (w->pkt.flags & AX_P_ND)
		return discovery(skb, &w->pkt);
	/* before the transport's errors: group membership (IGMP) has a protocol of its own */
	if (w->pkt.family && is_chatter(&w->pkt))
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_EGRESS);
	if (parsed)
		return drop(skb, w, parsed, AX_M_EGRESS);
	return pod_from_slow(skb, w);
}

SEC("tc")
int pod_from(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	struct ax_ct_key key;
	struct ax_work *w;
	struct ax_pkt p;
	struct ax_ct *ct = NULL;
	__u32 epoch, now, side = 0;
	bool answers = false;
	int parsed;

	if (!cfg)
		return TC_ACT_SHOT;
	/* a tag of the pod's choice would leave with the packet, into another network than decided about */
	if (unlikely(skb->vlan_present))
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_EGRESS);
	epoch = READ_ONCE(cfg->epoch);
	now = now_s();
	parsed = parse_plain(skb, &p);
	if (likely(parsed == AX_PARSE_OK)) {
		side = ct_key(&p, &key) & 1;
		ct = bpf_map_lookup_elem(&ax_ct, &key);
		if (ct && ct_is_decided(ct, epoch, side ^ 1) && ct->side[side].ifindex == skb->ifindex &&
		    !ct_is_over(ct, side, &p, now)) {
			answers = ct->frontend_port;
			if (!answers || !ct_from_initiator(ct, side)) {
				if (!ct_is_plain(cfg, ct, side, &p, now))
					ct_touch(skb, &p, ct, side);
				if (!answers)
					return pod_send(skb, cfg, &ct->side[side ^ 1], ct->side[side].identity,
							ct->flags);
			} else {
				answers = false;
			}
		}
	}
	w = work();
	if (!w)
		return TC_ACT_SHOT;
	begin(w, epoch, now);
	w->pkt = p;
	if (ct && answers) {
		w->side = side;
		w->ct = *ct;
		return pod_answer(skb, w);
	}
	if (parsed)
		parsed = parse_slow(skb, &w->pkt);
	return pod_from_parsed(skb, w, parsed);
}

/* What the stack sends to a pod, and is no error: an answer, or something new. 0 or a drop reason. */
AX_INLINE int pod_to_judged(struct __sk_buff *skb, struct ax_work *w)
{
	int r = proxy_answer(skb, w);

	if (r)
		return r == AX_TO_THE_PROXY ? 0 : r;
	w->side = ct_key(&w->pkt, &w->key);
	r = known(skb, w, 0) ? 0 : decide(skb, w);
	return r ? r : service_answer(skb, w);
}

/* The DNS proxy asks this pod, in the name of another one. */
AX_INLINE int pod_to_proxied(struct __sk_buff *skb, struct ax_work *w, int r)
{
	if (r == AX_TO_THE_PROXY)
		r = w->dst.local && w->dst.ifindex == skb->ifindex ? 0 : AX_DROP_STALE_OR_UNROUTABLE;
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	count_forward(skb, AX_M_INGRESS);
	return TC_ACT_OK;
}

AX_GLOBAL int pod_to_slow(struct __sk_buff *skb, struct ax_work *w)
{
	int r;

	if (!w)
		return TC_ACT_SHOT;
	if (is_of_proxy(skb)) {
		r = proxied(skb, w);
		if (r)
			return pod_to_proxied(skb, w, r);
	}
	resolve(w, &w->pkt.saddr, &w->src);
	resolve(w, &w->pkt.daddr, &w->dst);
	/* the kernel forwards under the host's address, too: no policy of the host's there */
	if (w->src.ep_flags & AX_EP_HOST && !is_locally_made(skb))
		w->src.policy_id = 0;
	note_parties(w);
	if (!w->dst.local || w->dst.ifindex != skb->ifindex)
		return drop(skb, w, AX_DROP_STALE_OR_UNROUTABLE, AX_M_INGRESS);
	if (w->pkt.flags & AX_P_ICMP_ERROR) {
		r = related(skb, w);
		if (!r)
			emit(skb, &w->pkt, &w->note);
	} else {
		r = pod_to_judged(skb, w);
	}
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	count_forward(skb, AX_M_INGRESS);
	return TC_ACT_OK;
}

/* ARP and neighbour discovery between the host and its pod need no policy. */
SEC("tc")
int pod_to(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	struct ax_work *w;
	struct ax_pkt p;
	__u32 epoch, now;
	int parsed;

	if (!cfg)
		return TC_ACT_SHOT;
	epoch = READ_ONCE(cfg->epoch);
	now = now_s();
	parsed = parse_plain(skb, &p);
	if (!parsed && !is_of_proxy(skb) && settled_device(skb, cfg, &p, epoch, now) == skb->ifindex) {
		count_forward(skb, AX_M_INGRESS);
		return TC_ACT_OK;
	}
	w = work();
	if (!w)
		return TC_ACT_SHOT;
	begin(w, epoch, now);
	w->pkt = p;
	if (parsed)
		parsed = parse_slow(skb, &w->pkt);
	if (parsed == AX_PARSE_ARP || w->pkt.flags & AX_P_ND)
		return TC_ACT_OK;
	if (parsed == AX_PARSE_FOREIGN)
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_INGRESS);
	if (parsed)
		return drop(skb, w, parsed, AX_M_INGRESS);
	if (is_chatter(&w->pkt))
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_INGRESS);
	return pod_to_slow(skb, w);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
