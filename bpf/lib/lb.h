/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Services: which backend, for sockets and for packets the socket layer did not translate. */
#ifndef AXON_LIB_LB_H
#define AXON_LIB_LB_H

#include "base.h"

/* A slot may be replaced between two look-ups: then look at the service again. */
#define AX_LB_TRIES 2

AX_INLINE struct ax_backend *select_backend(const struct ax_svc *svc, __u32 *id)
{
	struct ax_slot_key slot = { .slots_id = svc->slots_id };
	__u32 *chosen;

	slot.slot = bpf_get_prandom_u32() % svc->count;
	chosen = bpf_map_lookup_elem(&ax_svc_slots, &slot);
	if (!chosen)
		return NULL;
	*id = *chosen;
	return bpf_map_lookup_elem(&ax_backends, id);
}

#endif
