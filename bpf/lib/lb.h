/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services: which row is meant by what a client dials, and which backend it gets. The same for sockets,
 * tc and XDP. Rows are read under RCU: a list that a row names is complete for as long as a program runs.
 */
#ifndef AXON_LIB_LB_H
#define AXON_LIB_LB_H

#include "addr.h"
#include "clock.h"

/* A backend may go between two look-ups: then look at the service again. */
#define AX_LB_TRIES 2

/* Where a client is seen */
enum ax_client_from {
	AX_CLIENT_OUTSIDE = 0,  /* packets that arrive at the node */
	AX_CLIENT_INSIDE = 1,   /* packets of a pod of this node */
	AX_CLIENT_SOCKET = 2,   /* a socket of a pod of this node */
	AX_CLIENT_HOST = 3,     /* a socket of the node itself */
};

AX_INLINE struct ax_svc *service_row(const struct ax_svc_key *key)
{
	__u32 zero = 0;
	void *rows = bpf_map_lookup_elem(&ax_services, &zero);

	return rows ? bpf_map_lookup_elem(rows, key) : NULL;
}

AX_INLINE struct ax_backend *backend_row(__u32 id)
{
	__u32 zero = 0;
	void *rows = bpf_map_lookup_elem(&ax_backends, &zero);

	return rows ? bpf_map_lookup_elem(rows, &id) : NULL;
}

AX_INLINE __u32 *slot_at(__u32 index)
{
	__u32 zero = 0;
	void *slots = bpf_map_lookup_elem(&ax_slots, &zero);

	return slots ? bpf_map_lookup_elem(slots, &index) : NULL;
}

AX_INLINE bool addr_is_loopback(const struct ax_addr *a)
{
	if (addr_is4(a))
		return a->b[12] == 127;
	return !(a->w[0] | a->w[1] | a->w[2]) && a->w[3] == bpf_htonl(1);
}

AX_INLINE bool is_nodeport_address(const struct ax_addr *addr)
{
	struct ax_endpoint *ep = bpf_map_lookup_elem(&ax_endpoints, addr);

	return ep && ep->flags & AX_EP_NODEPORT;
}

/* The row under the very address, else the one that stands for all addresses of the node; key says which. */
AX_INLINE struct ax_svc *frontend_row(struct ax_svc_key *key, __u32 from)
{
	struct ax_svc *svc = service_row(key);
	bool is4 = addr_is4(&key->addr);

	if (svc) /* a pod's 127.0.0.1 is its own */
		return svc->flags & AX_SVC_LOOPBACK_ONLY && from != AX_CLIENT_HOST ? NULL : svc;
	if (!is_nodeport_address(&key->addr) && !(from == AX_CLIENT_HOST && addr_is_loopback(&key->addr)))
		return NULL;
	__builtin_memset(&key->addr, 0, sizeof(key->addr));
	if (is4)
		key->addr.w[2] = AX_V4_WORD2;
	return service_row(key);
}

AX_INLINE bool in_source_ranges(const struct ax_svc *svc, const struct ax_addr *client)
{
	struct ax_src_range_key key;

	key.prefixlen = 32 + 128;
	key.service_id = svc->service_id;
	key.addr = *client;
	return bpf_map_lookup_elem(&ax_src_ranges, &key);
}

AX_INLINE bool is_skipped(const struct ax_svc *svc, const struct ax_addr *client)
{
	struct ax_skip_key key;

	key.client = *client;
	key.service_id = svc->service_id;
	return bpf_map_lookup_elem(&ax_lrp_skip, &key);
}

#define AX_SVC_OUTSIDE (AX_SVC_NODEPORT | AX_SVC_LOADBALANCER | AX_SVC_EXTERNALIP | AX_SVC_HOSTPORT)

/*
 * The Service that a client dials. `key` holds address, port, protocol and scope external, and becomes the key of the
 * row. NULL: none, or not for this client; then *reason is 0, or why the client is refused.
 */
AX_INLINE struct ax_svc *service_for(struct ax_svc_key *key, const struct ax_addr *client, __u32 from, int *reason)
{
	struct ax_svc *svc = frontend_row(key, from);

	*reason = 0;
	if (!svc)
		return NULL;
	if (from == AX_CLIENT_OUTSIDE && !(svc->flags & AX_SVC_OUTSIDE))
		return NULL;
	if (svc->flags & AX_SVC_SOURCE_RANGES && from != AX_CLIENT_HOST && !in_source_ranges(svc, client)) {
		*reason = AX_DROP_NOT_IN_SRC_RANGE;
		return NULL;
	}
	if (svc->flags & AX_SVC_SKIP && is_skipped(svc, client)) {
		key->scope = AX_SCOPE_ORIGINAL;
		return service_row(key);
	}
	if (svc->flags & AX_SVC_TWO_SCOPES && from != AX_CLIENT_OUTSIDE) {
		key->scope = AX_SCOPE_INTERNAL;
		return service_row(key);
	}
	return svc;
}

AX_INLINE __u32 hash_mix(__u32 h, __u32 word)
{
	h ^= word;
	h *= 0x9e3779b1;
	return h ^ h >> 15;
}

/* Who asks, for Maglev: every node of the cluster gives the same answer. Ports 0: by address alone. */
AX_INLINE __u32 client_hash(const struct ax_addr *client, __u32 ports, __u8 proto)
{
	struct ax_config *cfg = config();
	__u32 h = cfg ? cfg->hash_seed : 0;

	h = hash_mix(h, client->w[0]);
	h = hash_mix(h, client->w[1]);
	h = hash_mix(h, client->w[2]);
	h = hash_mix(h, client->w[3]);
	h = hash_mix(h, ports);
	h = hash_mix(h, proto);
	h *= 0x85ebca6b;
	return h ^ h >> 13;
}

AX_INLINE void affinity_key_of(struct ax_affinity_key *key, const struct ax_svc *svc, const struct ax_addr *client)
{
	key->client = *client;
	key->service_id = svc->service_id;
}

/* May a client that had this backend of the Service before have it again? `leaving`: also while it terminates. */
AX_INLINE bool backend_fits(const struct ax_svc *svc, const struct ax_backend *backend, bool leaving)
{
	if ((backend->state && !leaving) || backend->service_id != svc->service_id)
		return false;
	return !(svc->flags & AX_SVC_LOCAL_ONLY) || backend->flags & AX_BE_LOCAL;
}

AX_INLINE struct ax_backend *affine_backend(const struct ax_svc *svc, const struct ax_addr *client, bool leaving,
					    __u32 *id)
{
	struct ax_affinity_key key;
	struct ax_affinity *row;
	struct ax_backend *backend;
	__u32 now = now_s();

	affinity_key_of(&key, svc, client);
	row = bpf_map_lookup_elem(&ax_affinity, &key);
	/* another program's second may have begun already: a row of the future is fresh */
	if (!row || (__s32)(now - row->last_s) > (__s32)svc->affinity_timeout_s)
		return NULL;
	*id = row->backend_id;
	backend = backend_row(*id);
	if (!backend || !backend_fits(svc, backend, leaving))
		return NULL;
	row->last_s = now;
	return backend;
}

AX_INLINE void keep_affinity(const struct ax_svc *svc, const struct ax_addr *client, __u32 id)
{
	struct ax_affinity row = { .backend_id = id, .last_s = now_s() };
	struct ax_affinity_key key;

	affinity_key_of(&key, svc, client);
	bpf_map_update_elem(&ax_affinity, &key, &row, BPF_ANY);
}

/*
 * A backend for a new connection; its id in *id. `ports`: the client's and the Service's, in any fixed order.
 * NULL: the Service's rows are just being replaced, or it has no backend.
 */
AX_INLINE struct ax_backend *select_backend(const struct ax_svc *svc, const struct ax_addr *client, __u32 ports,
					    __u8 proto, __u32 *id)
{
	bool affine = svc->flags & AX_SVC_AFFINITY;
	/* a row that is replaced under us may become another Service's: then its slots name backends that are not ours */
	__u32 service_id = READ_ONCE(svc->service_id);
	struct ax_backend *backend, *kept;
	__u32 index, kept_id, *slot;

	if (affine) {
		backend = affine_backend(svc, client, false, id);
		if (backend)
			return backend;
	}
	if (!svc->slots)
		return NULL;
	if (svc->algorithm == AX_LB_MAGLEV)
		index = client_hash(client, affine ? 0 : ports, proto);
	else
		index = bpf_get_prandom_u32();
	slot = slot_at(svc->slots_off + index % svc->slots);
	if (!slot)
		return NULL;
	*id = *slot;
	backend = backend_row(*id);
	if (!backend || backend->service_id != service_id)
		return NULL;
	if (!affine)
		return backend;
	/* none but terminating ones: the one the client had, if it is there still */
	if (backend->state) {
		kept = affine_backend(svc, client, true, &kept_id);
		if (kept) {
			*id = kept_id;
			return kept;
		}
	}
	keep_affinity(svc, client, *id);
	return backend;
}

#endif
