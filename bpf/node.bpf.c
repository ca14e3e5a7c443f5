// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The node's native device. node_from: what arrives, back through masquerading and to pods.
 * node_to: what leaves, masqueraded where its connection asks for it. The host's own
 * traffic passes untouched, except that it never shares a port with a pod.
 */
#include "lib/deny.h"
#include "lib/edge_tc.h"
#include "lib/host.h"
#include "lib/l2.h"
#include "lib/proxied.h"
#include "lib/stray.h"

#define AX_EDGE_IS_PODS (-2) /* an answer to a pod of ours: Services have no say */

/* To the address that packets leave under: of a pod, or of a Service's client? AX_EDGE_GO_ON, AX_EDGE_IS_PODS or the verdict. */
AX_GLOBAL int node_from_translated(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	int found;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	if (!is_node_address(cfg, &w->pkt.daddr))
		return AX_EDGE_GO_ON;
	found = nat_in(skb, w);
	if (found == AX_NAT_SERVICE)
		return edge_back(skb, w);
	if (found == AX_NAT_POD)
		return AX_EDGE_IS_PODS;
	return found > AX_NAT_SERVICE ? drop(skb, w, found, AX_M_INGRESS) : AX_EDGE_GO_ON;
}

AX_GLOBAL int node_from_slow(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	int r;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	/* the tunnel's own packets, of which there are many, have nothing to look for in the tables of this device */
	if (is_encapsulation(cfg, &w->pkt) && is_node_address(cfg, &w->pkt.daddr))
		return TC_ACT_OK;
	r = node_from_translated(skb, w);
	if (r >= 0)
		return r;
	if (cfg->flags & AX_CFG_SERVICES && r == AX_EDGE_GO_ON) {
		r = edge_in(skb, w, 0);
		if (r != AX_EDGE_GO_ON)
			return r;
		if (has_options(&w->pkt) && dsr_hear(skb, w))
			return drop(skb, w, AX_DROP_WRITE, AX_M_INGRESS);
	}
	w->side = ct_key(&w->pkt, &w->key);
	if (known(skb, w, 0))
		return deliver_known(skb, w);
	resolve(w, &w->pkt.daddr, &w->dst);
	if (cfg->flags & AX_CFG_SERVICES && w->dst.path == AX_PATH_UNKNOWN) {
		r = edge_stray(skb, w);
		if (r != AX_EDGE_GO_ON)
			return r;
	}
	if (cfg->host_policy_id && is_to_host(skb, w, cfg))
		return host_receive(skb, w, cfg, 0);
	/* what the stack will put into the tunnel gets its identity by its source: no less checked */
	if (!w->dst.local && w->dst.path != AX_PATH_TUNNEL)
		return TC_ACT_OK;
	resolve(w, &w->pkt.saddr, &w->src);
	note_parties(w);
	/* our own addresses are not out there; pods of other nodes come through the tunnel where there is one */
	if (is_spoofed(&w->src))
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

/* A packet that another node has wrapped for direct return is read again without its wrapping. */
AX_INLINE int unwrapped(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg, int parsed)
{
	if (parsed != AX_DROP_CT_UNKNOWN_PROTO || !(cfg->flags & AX_CFG_SERVICES) || !dsr_unwrap(skb, w))
		return parsed;
	return parse_slow(skb, &w->pkt);
}

SEC("tc")
int node_from(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	struct ax_work *w;
	struct ax_pkt p;
	__u32 epoch, now, device;
	int parsed;

	/* tagged: of another network than this device's; the stack knows which. Of others: a switch floods what it cannot place */
	if (!cfg || skb->vlan_present || skb->pkt_type == PACKET_OTHERHOST)
		return TC_ACT_OK;
	epoch = READ_ONCE(cfg->epoch);
	now = now_s();
	parsed = parse_plain(skb, &p);
	if (!parsed && is_refused_here(cfg, &p))
		parsed = AX_DROP_POLICY_DENY;
	device = parsed ? 0 : settled_device(skb, cfg, &p, epoch, now);
	if (device)
		return deliver_settled(skb, device);
	if (cfg->host_policy_id && !parsed && !is_encapsulation(cfg, &p) && host_settled(skb, cfg, &p, epoch, now))
		return TC_ACT_OK;
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
	parsed = unwrapped(skb, w, cfg, parsed);
	if (parsed && w->pkt.family && cfg->flags & AX_CFG_SERVICES && edge_stray_unread(skb, w, parsed) != TC_ACT_OK)
		return TC_ACT_SHOT;
	if (parsed && cfg->host_policy_id)
		return host_receive_unread(skb, w, parsed);
	/* what we cannot read is the stack's to refuse; the pod's own device checks again */
	if (parsed || w->pkt.flags & AX_P_ND || addr_is_multicast(&w->pkt.daddr))
		return TC_ACT_OK;
	return node_from_slow(skb, w);
}

/* A pod's packet that came here through the stack without a mark of ours: its entry into w->ct */
AX_GLOBAL int pod_connection(struct ax_work *w)
{
	struct ax_endpoint *ep;
	struct ax_ct *ct;

	if (!w)
		return 0;
	ep = bpf_map_lookup_elem(&ax_endpoints, &w->pkt.saddr);
	if (!ep || ep->flags & AX_EP_HOST)
		return 0;
	w->side = ct_key(&w->pkt, &w->key);
	ct = bpf_map_lookup_elem(&ax_ct, &w->key);
	if (!ct)
		return 0;
	w->ct = *ct;
	return 1;
}

AX_INLINE int masquerade(struct __sk_buff *skb, struct ax_work *w)
{
	int r = nat_out(skb, w);

	if (r)
		return drop(skb, w, r, AX_M_EGRESS);
	skb->mark = AX_MARK_SNAT_DONE;
	return TC_ACT_OK;
}

AX_GLOBAL int node_to_slow(struct __sk_buff *skb, struct ax_work *w, __u32 decided)
{
	struct ax_config *cfg = config();
	struct ax_addr *node;
	int r;

	if (!w || !cfg)
		return TC_ACT_OK;
	if (decided)
		return masquerade(skb, w);
	if (is_of_proxy(skb)) {
		r = proxied(skb, w);
		if (r == AX_TO_THE_PROXY) {
			skb->mark = AX_MARK_SNAT_DONE;
			return TC_ACT_OK;
		}
		if (r)
			return drop(skb, w, r, AX_M_EGRESS);
	}
	if (pod_connection(w)) {
		if (w->ct.flags & AX_CT_MASQUERADE && ct_from_initiator(&w->ct, w->side))
			return masquerade(skb, w);
		r = service_answer(skb, w);
		return r ? drop(skb, w, r, AX_M_EGRESS) : TC_ACT_OK;
	}
	if (cfg->host_policy_id) {
		r = host_send(skb, w);
		if (r)
			return drop(skb, w, r, AX_M_EGRESS);
	}
	if (cfg->flags & AX_CFG_SERVICES) {
		r = edge_host_answer(skb, w);
		if (r)
			return drop(skb, w, r, AX_M_EGRESS);
	}
	node = node_address(cfg, &w->pkt);
	if (!node || !addr_equal(&w->pkt.saddr, node) || w->frontend_port || w->pkt.flags & (AX_P_ICMP_ERROR | AX_P_ND) ||
	    !nat_collides(w))
		return TC_ACT_OK;
	return masquerade(skb, w);
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
	if (!cfg || !(cfg->flags & (AX_CFG_MASQUERADE4 | AX_CFG_MASQUERADE6 | AX_CFG_SERVICES) || cfg->host_policy_id ||
		      mark == AX_MARK_PROXY))
		return TC_ACT_OK;
	w = work();
	if (!w)
		return TC_ACT_OK;
	begin(w, READ_ONCE(cfg->epoch), now_s());
	parsed = parse_plain(skb, &w->pkt);
	if (parsed)
		parsed = parse_slow(skb, &w->pkt);
	if (parsed && cfg->host_policy_id && mark != AX_MARK_IDENTITY)
		return host_send_unread(skb, w, parsed);
	if (parsed)
		return TC_ACT_OK;
	return node_to_slow(skb, w, mark == AX_MARK_IDENTITY);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
