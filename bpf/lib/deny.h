/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sources that are dropped at the node's edge, before anything is known of them but their address. */
#ifndef AXON_LIB_DENY_H
#define AXON_LIB_DENY_H

#include "addr.h"

AX_INLINE bool is_denied(const struct ax_addr *source)
{
	struct ax_ipcache_key key;

	key.prefixlen = 128;
	key.addr = *source;
	return bpf_map_lookup_elem(&ax_deny, &key);
}

#endif
