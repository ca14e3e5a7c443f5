/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services: which row is meant by what a client dials, and which backend it gets. The same for sockets,
 * tc and XDP. Rows are read under RCU: a list that a row names is complete for as long as a program runs.
 */
#ifndef AXON_LIB_LB_H
#define AXON_LIB_LB_H

#include "addr.h"
#include "clock.h"

/* Rows may be replaced between two look-ups: then look at the service again. */
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

AX_INLINE struct ax_slot *slot_at(__u32 index)
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

/* What a slot of this backend says */
AX_INLINE void choose_row(struct ax_slot *choice, const struct ax_backend *backend, __u32 id)
{
	choice->addr = backend->addr;
	choice->port = backend->port;
	choice->service_id = backend->service_id;
	choice->id = id;
}

/* Of this Service, the backend the client had before; false: none, or it may not have it again. */
AX_INLINE bool choose_affine(const struct ax_svc *svc, const struct ax_addr *client, bool leaving,
			     struct ax_slot *choice)
{
	struct ax_affinity_key key;
	struct ax_affinity *row;
	struct ax_backend *backend;
	__u32 id, now = now_s();

	affinity_key_of(&key, svc, client);
	row = bpf_map_lookup_elem(&ax_affinity, &key);
	/* another program's second may have begun already: a row of the future is fresh */
	if (!row || (__s32)(now - row->last_s) > (__s32)svc->affinity_timeout_s)
		return false;
	id = row->backend_id;
	backend = backend_row(id);
	if (!backend || !backend_fits(svc, backend, leaving))
		return false;
	row->last_s = now;
	choose_row(choice, backend, id);
	return true;
}

AX_INLINE void keep_affinity(const struct ax_svc *svc, const struct ax_addr *client, __u32 id)
{
	struct ax_affinity row = { .backend_id = id, .last_s = now_s() };
	struct ax_affinity_key key;

	affinity_key_of(&key, svc, client);
	bpf_map_update_elem(&ax_affinity, &key, &row, BPF_ANY);
}

AX_INLINE bool is_leaving(__u32 id)
{
	struct ax_backend *backend = backend_row(id);

	return backend && backend->state;
}

/* Which of a Maglev list's backends a client has: the table stands behind them in the range. */
AX_INLINE __u16 *table_entry(const struct ax_svc *svc, __u32 index)
{
	__u16 *table = (__u16 *)slot_at(svc->slots_off + svc->count + index / AX_SLOT_ENTRIES);

	index %= AX_SLOT_ENTRIES;
	barrier_var(index); /* the verifier does not know what a remainder is */
	return table && index < AX_SLOT_ENTRIES ? table + index : NULL;
}

/*
 * A slot for who has no backend yet. A row that is replaced under us may become another Service's: then its range
 * holds backends that are not ours, and the answer is NULL.
 */
AX_INLINE struct ax_slot *select_slot(const struct ax_svc *svc, __u32 service_id, const struct ax_addr *client,
				      __u32 ports, __u8 proto)
{
	__u32 slots = svc->slots, index;
	struct ax_slot *slot;
	__u16 *entry;

	if (!slots)
		return NULL;
	if (svc->algorithm == AX_LB_MAGLEV) {
		entry = table_entry(svc, client_hash(client, ports, proto) % slots);
		if (!entry)
			return NULL;
		index = *entry;
	} else {
		index = bpf_get_prandom_u32() % slots;
	}
	slot = slot_at(svc->slots_off + index);
	return slot && slot->service_id == service_id ? slot : NULL;
}

/*
 * A backend for a new connection. `ports`: the client's and the Service's, in any fixed order. false: the Service's
 * rows are just being replaced, or it has no backend.
 */
AX_GLOBAL bool select_backend(struct ax_svc *svc, struct ax_addr *client, __u32 ports, __u32 proto,
			      struct ax_slot *choice)
{
	struct ax_slot *slot;
	__u32 service_id;
	bool affine;

	if (!svc || !client || !choice)
		return false;
	service_id = READ_ONCE(svc->service_id);
	affine = svc->flags & AX_SVC_AFFINITY;
	if (affine && choose_affine(svc, client, false, choice))
		return true;
	slot = select_slot(svc, service_id, client, affine ? 0 : ports, proto);
	if (!slot)
		return false;
	*choice = *slot;
	if (!affine)
		return true;
	/* none but terminating ones: the one the client had, if it is there still */
	if (is_leaving(choice->id) && choose_affine(svc, client, true, choice))
		return true;
	keep_affinity(svc, client, choice->id);
	return true;
}

#endif
