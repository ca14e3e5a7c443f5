// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The node's native device. node_from: what arrives, back through masquerading and to pods.
 * node_to: what leaves, masqueraded where its connection asks for it. The host's own
 * traffic passes untouched, except that it never shares a port with a pod.
 */
#include "lib/deliver.h"
#include "lib/deny.h"
#include "lib/l2.h"
#include "lib/nat.h"

AX_GLOBAL int node_from_slow(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	struct ax_addr *node;
	int r;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	node = node_address(cfg, &w->pkt);
	if (node && addr_equal(&w->pkt.daddr, node)) {
		r = nat_in(skb, w);
		if (r)
			return drop(skb, w, r, AX_M_INGRESS);
	}
	w->side = ct_key(&w->pkt, &w->key);
	if (known(skb, w, 0))
		return deliver_known(skb, w);
	resolve(w, &w->pkt.daddr, &w->dst);
	/* what the stack will put into the tunnel gets its identity by its source: no less checked */
	if (!w->dst.local && w->dst.path != AX_PATH_TUNNEL)
		return TC_ACT_OK;
	resolve(w, &w->pkt.saddr, &w->src);
	note_parties(w);
	/* our own addresses are not out there; pods of other nodes come through the tunnel where there is one */
	if (w->src.local || w->src.ep_flags & AX_EP_HOST || w->src.path == AX_PATH_TUNNEL)
		return drop(skb, w, AX_DROP_INVALID_SOURCE_IP, AX_M_INGRESS);
	if (!w->dst.local)
		return TC_ACT_OK;
	if (w->pkt.flags & AX_P_ICMP_ERROR)
		return deliver_error(skb, w);
	return deliver_new(skb, w);
}

/* Denied, and no XDP program before us that would have told. */
AX_INLINE bool is_refused_here(const struct ax_config *cfg, const struct ax_pkt *p)
{
	return !(cfg->flags & AX_CFG_XDP) && is_denied(&p->saddr);
}

SEC("tc")
int node_from(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	struct ax_work *w;
	struct ax_pkt p;
	__u32 epoch, now, device;
	int parsed;

	/* tagged: of another network than this device's; the stack knows which */
	if (!cfg || skb->vlan_present)
		return TC_ACT_OK;
	epoch = READ_ONCE(cfg->epoch);
	now = now_s();
	parsed = parse_plain(skb, &p);
	if (!parsed && is_refused_here(cfg, &p))
		parsed = AX_DROP_POLICY_DENY;
	device = parsed ? 0 : settled_device(skb, cfg, &p, epoch, now);
	if (device)
		return deliver_settled(skb, device);
	w = work();
	if (!w)
		return TC_ACT_SHOT;
	begin(w, epoch, now);
	w->pkt = p;
	if (parsed == AX_PARSE_MORE)
		parsed = parse_slow(skb, &w->pkt);
	if (w->pkt.family && is_refused_here(cfg, &w->pkt))
		return drop(skb, w, AX_DROP_POLICY_DENY, AX_M_INGRESS);
	if (parsed == AX_PARSE_ARP)
		return l2_arp(skb);
	if (!parsed && w->pkt.flags & AX_P_ND)
		return l2_discovery(skb, &w->pkt);
	/* what we cannot read is the stack's to refuse; the pod's own device checks again */
	if (parsed || w->pkt.flags & AX_P_ND || addr_is_multicast(&w->pkt.daddr))
		return TC_ACT_OK;
	return node_from_slow(skb, w);
}

/* A pod's packet that came here through the stack without a mark of ours */
AX_INLINE bool pod_wants_masquerade(struct ax_work *w)
{
	struct ax_endpoint *ep = bpf_map_lookup_elem(&ax_endpoints, &w->pkt.saddr);
	struct ax_ct *ct;

	if (!ep || ep->flags & AX_EP_HOST)
		return false;
	w->side = ct_key(&w->pkt, &w->key);
	ct = bpf_map_lookup_elem(&ax_ct, &w->key);
	return ct && ct->flags & AX_CT_MASQUERADE && ct_from_initiator(ct, w->side);
}

AX_GLOBAL int node_to_slow(struct __sk_buff *skb, struct ax_work *w, __u32 decided)
{
	struct ax_config *cfg = config();
	struct ax_addr *node;
	bool translate;
	int r;

	if (!w || !cfg)
		return TC_ACT_OK;
	node = node_address(cfg, &w->pkt);
	if (decided)
		translate = true;
	else if (node && addr_equal(&w->pkt.saddr, node))
		translate = !(w->pkt.flags & (AX_P_ICMP_ERROR | AX_P_ND)) && nat_collides(w);
	else
		translate = pod_wants_masquerade(w);
	if (!translate)
		return TC_ACT_OK;
	r = nat_out(skb, w);
	if (r)
		return drop(skb, w, r, AX_M_EGRESS);
	skb->mark = AX_MARK_SNAT_DONE;
	return TC_ACT_OK;
}

SEC("tc")
int node_to(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	__u32 mark = skb->mark & AX_MARK_MASK;
	struct ax_work *w;
	int parsed;

	if (mark == AX_MARK_SNAT_DONE || mark == AX_MARK_OVERLAY)
		return TC_ACT_OK;
	if (!cfg || !(cfg->flags & (AX_CFG_MASQUERADE4 | AX_CFG_MASQUERADE6)))
		return TC_ACT_OK;
	w = work();
	if (!w)
		return TC_ACT_OK;
	begin(w, READ_ONCE(cfg->epoch), now_s());
	parsed = parse_plain(skb, &w->pkt);
	if (parsed)
		parsed = parse_slow(skb, &w->pkt);
	if (parsed)
		return TC_ACT_OK;
	return node_to_slow(skb, w, mark == AX_MARK_IDENTITY);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
