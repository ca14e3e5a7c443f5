// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The VXLAN device, whose tunnel id is the sender's identity. overlay_from: from other
 * nodes to pods (and to this node). overlay_to: what the host's stack sends to remote pods; pods'
 * own packets arrive here with their tunnel set.
 */
#include "lib/edge_tc.h"
#include "lib/host.h"
#include "lib/proxied.h"

/* `known`: what this node knows of the source. It tells nodes, and parts of the world, apart more finely. */
AX_INLINE __u32 identity_from_tunnel(const struct ax_config *cfg, const struct ax_addr *saddr, __u32 id, __u32 known)
{
	if (!id)
		return known;
	if (id == AX_ID_HOST || id == AX_ID_REMOTE_NODE)
		return AX_SCOPE_OF(known) == AX_SCOPE_NODE ? known : AX_ID_REMOTE_NODE;
	if (id == AX_ID_WORLD)
		return AX_SCOPE_OF(known) == AX_SCOPE_CIDR ? known : world_identity(cfg, saddr);
	return id;
}

/* Only nodes of the cluster are believed when they say who sends. */
AX_INLINE bool is_peer(struct ax_work *w, struct ax_addr *node)
{
	resolve(w, node, &w->dst);
	return identity_is_remote_node(w->dst.identity) || w->dst.identity == AX_ID_KUBE_APISERVER;
}

/* A pod that this node knows to be at the tunnel's other end: `home` is where it knows it to be. */
AX_INLINE bool is_known_pod(const struct ax_party *src, const struct ax_addr *home)
{
	return src->in_cluster && src->identity >= AX_ID_FIRST_POD && addr_equal(home, &src->nexthop);
}

/*
 * Who sent it, and the way back: the node at the tunnel's other end. Policies of this node are about the numbers of
 * this node: of a pod that it knows its own word counts, of others the sender's.
 */
AX_INLINE int tunnel_source(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg)
{
	struct bpf_tunnel_key key = {};
	struct ax_addr home;

	resolve(w, &w->pkt.saddr, &w->src);
	home = w->src.nexthop;
	if (w->src.local || w->src.ep_flags & AX_EP_HOST)
		return AX_DROP_INVALID_SOURCE_IP;
	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
		addr_set4(&w->src.nexthop, bpf_htonl(key.remote_ipv4));
	else if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
		__builtin_memcpy(&w->src.nexthop, key.remote_ipv6, 16);
	else
		return AX_DROP_NO_TUNNEL_ENDPOINT;
	if (!is_peer(w, &w->src.nexthop))
		return AX_DROP_ENCAP_PROHIBITED;
	if (!is_known_pod(&w->src, &home))
		w->src.identity = identity_from_tunnel(cfg, &w->pkt.saddr, key.tunnel_id, w->src.identity);
	w->src.path = AX_PATH_TUNNEL;
	w->src.ifindex = cfg->tunnel_ifindex;
	return 0;
}

/* Services: answers to this node's clients, and what other nodes forward or their pods dial. AX_EDGE_GO_ON or the verdict. */
AX_INLINE int overlay_from_services(struct __sk_buff *skb, struct ax_work *w, const struct ax_config *cfg)
{
	int r;

	if (is_node_address(cfg, &w->pkt.daddr)) {
		r = nat_in(skb, w);
		if (r == AX_NAT_SERVICE)
			return edge_back(skb, w);
		if (r > AX_NAT_SERVICE)
			return drop(skb, w, r, AX_M_INGRESS);
	}
	r = edge_in(skb, w, 1);
	if (r != AX_EDGE_GO_ON)
		return r;
	if (has_options(&w->pkt) && dsr_hear(skb, w))
		return drop(skb, w, AX_DROP_WRITE, AX_M_INGRESS);
	w->side = ct_key(&w->pkt, &w->key);
	return AX_EDGE_GO_ON;
}

AX_GLOBAL int overlay_from_slow(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	int r;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	w->side = ct_key(&w->pkt, &w->key);
	if (!has_options(&w->pkt) && known(skb, w, 0))
		return deliver_known(skb, w);
	r = tunnel_source(skb, w, cfg);
	if (!r && cfg->flags & AX_CFG_SERVICES) {
		r = overlay_from_services(skb, w, cfg);
		if (r != AX_EDGE_GO_ON)
			return r;
		r = 0;
	}
	if (w->dsr && known(skb, w, 0))
		return deliver_known(skb, w);
	resolve(w, &w->pkt.daddr, &w->dst);
	note_parties(w);
	if (r)
		return drop(skb, w, r, AX_M_INGRESS);
	if (w->dst.ep_flags & AX_EP_HOST) {
		r = cfg->host_policy_id ? host_judge(skb, w, 1) : 0;
		if (r)
			return drop(skb, w, r, AX_M_INGRESS);
		address_to_us(skb);
		return TC_ACT_OK;
	}
	if (!w->dst.local)
		return drop(skb, w, AX_DROP_STALE_OR_UNROUTABLE, AX_M_INGRESS);
	if (w->pkt.flags & AX_P_ICMP_ERROR)
		return deliver_error(skb, w);
	return deliver_new(skb, w);
}

SEC("tc")
int overlay_from(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	struct ax_work *w;
	struct ax_pkt p;
	__u32 epoch, now, device;
	int parsed;

	if (!cfg)
		return TC_ACT_SHOT;
	epoch = READ_ONCE(cfg->epoch);
	now = now_s();
	parsed = parse_plain(skb, &p);
	device = parsed ? 0 : settled_device(skb, cfg, &p, epoch, now);
	if (device)
		return deliver_settled(skb, device);
	w = work();
	if (!w)
		return TC_ACT_SHOT;
	begin(w, epoch, now);
	w->pkt = p;
	if (parsed)
		parsed = parse_slow(skb, &w->pkt);
	if (parsed == AX_PARSE_ARP || parsed == AX_PARSE_FOREIGN || w->pkt.flags & AX_P_ND ||
	    (!parsed && addr_is_multicast(&w->pkt.daddr)))
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_INGRESS);
	if (parsed)
		return drop(skb, w, parsed, AX_M_INGRESS);
	return overlay_from_slow(skb, w);
}

/* Into the tunnel to w->dst, in the name of w->src, unless there is a reason `r` not to. */
AX_INLINE int overlay_to_tunnel(struct __sk_buff *skb, struct ax_work *w, int r)
{
	struct ax_addr nexthop = w->dst.nexthop;

	if (!r && w->dst.path != AX_PATH_TUNNEL)
		r = AX_DROP_NO_TUNNEL_ENDPOINT;
	if (!r)
		r = set_tunnel(skb, &nexthop, w->src.identity);
	return r ? drop(skb, w, r, AX_M_EGRESS) : TC_ACT_OK;
}

AX_GLOBAL int overlay_to_slow(struct __sk_buff *skb, struct ax_work *w)
{
	struct ax_config *cfg = config();
	int r;

	if (!w || !cfg)
		return TC_ACT_SHOT;
	if (is_of_proxy(skb)) {
		r = proxied(skb, w);
		if (r)
			return overlay_to_tunnel(skb, w, r == AX_TO_THE_PROXY ? 0 : r);
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
	resolve(w, &w->pkt.saddr, &w->src);
	resolve(w, &w->pkt.daddr, &w->dst);
	note_parties(w);
	return overlay_to_tunnel(skb, w, 0);
}

SEC("tc")
int overlay_to(struct __sk_buff *skb)
{
	struct ax_config *cfg = config();
	struct ax_work *w = work();
	int parsed;

	if ((skb->mark & AX_MARK_MASK) == AX_MARK_OVERLAY)
		return TC_ACT_OK;
	if (!cfg || !w)
		return TC_ACT_SHOT;
	begin(w, READ_ONCE(cfg->epoch), now_s());
	parsed = parse_plain(skb, &w->pkt);
	if (parsed)
		parsed = parse_slow(skb, &w->pkt);
	if (parsed == AX_PARSE_ARP || parsed == AX_PARSE_FOREIGN || w->pkt.flags & AX_P_ND ||
	    (!parsed && addr_is_multicast(&w->pkt.daddr)))
		return drop_silently(skb, AX_DROP_UNKNOWN_L3, AX_M_EGRESS);
	if (parsed)
		return drop(skb, w, parsed, AX_M_EGRESS);
	return overlay_to_slow(skb, w);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
