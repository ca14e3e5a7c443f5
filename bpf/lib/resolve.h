/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who an address is, and how packets reach it. */
#ifndef AXON_LIB_RESOLVE_H
#define AXON_LIB_RESOLVE_H

#include "addr.h"

AX_INLINE __u32 world_identity(const struct ax_config *cfg, const struct ax_addr *addr)
{
	__u32 both = AX_CFG_IPV4 | AX_CFG_IPV6;

	if ((cfg->flags & both) != both)
		return AX_ID_WORLD;
	return addr_is4(addr) ? AX_ID_WORLD_IPV4 : AX_ID_WORLD_IPV6;
}

/* An address that packets of others leave this node under */
AX_INLINE bool is_node_address(const struct ax_config *cfg, const struct ax_addr *addr)
{
	return addr_equal(addr, &cfg->node_ip4) || addr_equal(addr, &cfg->node_ip6);
}

#define AX_VXLAN_PORT 8472 /* unless configured */

AX_INLINE bool is_encapsulation(const struct ax_config *cfg, const struct ax_pkt *p)
{
	__u16 port = cfg->tunnel_port ? cfg->tunnel_port : AX_VXLAN_PORT;

	return cfg->flags & AX_CFG_TUNNEL && p->proto == IPPROTO_UDP && p->dport == bpf_htons(port);
}

/* The upper byte of an identity says who gave it out; those of this node's own making never leave it. */
#define AX_SCOPE_OF(identity) ((identity) >> 24)
#define AX_SCOPE_CIDR 1
#define AX_SCOPE_NODE 2 /* another node, told apart by its labels */
#define AX_SCOPE_CLASS 3 /* pods, by labels that other nodes may not tell apart yet */

/* Another node, API servers on nodes among them */
AX_INLINE bool identity_is_remote_node(__u32 identity)
{
	return identity == AX_ID_REMOTE_NODE || AX_SCOPE_OF(identity) == AX_SCOPE_NODE;
}

/* Not the API server alone: it may stand outside of the nodes, where nobody knows the way to a pod. */
AX_INLINE bool identity_is_node(__u32 identity)
{
	return identity == AX_ID_HOST || identity_is_remote_node(identity);
}

AX_INLINE void party_from_endpoint(struct ax_party *party, const struct ax_endpoint *ep, const struct ax_config *cfg)
{
	party->identity = ep->identity;
	party->ep_id = ep->id;
	party->ep_flags = ep->flags;
	if (ep->flags & AX_EP_HOST) {
		party->policy_id = cfg->host_policy_id;
		party->path = AX_PATH_STACK;
		return;
	}
	party->policy_id = ep->policy_id;
	party->ifindex = ep->ifindex;
	party->path = AX_PATH_PEER;
	party->local = 1;
	party->in_cluster = 1;
}

/* A node that hosts the address is the way to it: through the tunnel, or over the shared link. */
AX_INLINE void party_from_ipcache(struct ax_party *party, const struct ax_ipcache_entry *entry,
				  const struct ax_config *cfg)
{
	party->identity = entry->identity;
	if (addr_is_zero(&entry->node_ip))
		return;
	party->in_cluster = 1;
	if (cfg->flags & AX_CFG_TUNNEL) {
		party->path = AX_PATH_TUNNEL;
		party->ifindex = cfg->tunnel_ifindex;
	} else if (entry->flags & AX_IPC_DIRECT) {
		party->path = AX_PATH_DIRECT;
		party->ifindex = cfg->device_ifindex;
	}
	party->nexthop = entry->node_ip;
}

AX_GLOBAL int resolve(struct ax_work *w, struct ax_addr *addr, struct ax_party *party)
{
	struct ax_config *cfg = config();
	struct ax_ipcache_entry *entry;
	struct ax_endpoint *ep;

	if (!w || !addr || !party || !cfg)
		return AX_DROP_NO_CONFIG;
	__builtin_memset(party, 0, sizeof(*party));
	ep = bpf_map_lookup_elem(&ax_endpoints, addr);
	if (ep) {
		party_from_endpoint(party, ep, cfg);
		return 0;
	}
	w->lpm.prefixlen = 128;
	w->lpm.addr = *addr;
	entry = bpf_map_lookup_elem(&ax_ipcache, &w->lpm);
	if (entry)
		party_from_ipcache(party, entry, cfg);
	if (!party->identity)
		party->identity = world_identity(cfg, addr);
	return 0;
}

#endif
