/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Seconds of CLOCK_MONOTONIC, once a tick: the helper call and the division are
 * paid when jiffies moved, other packets read one word.
 */
#ifndef AXON_LIB_CLOCK_H
#define AXON_LIB_CLOCK_H

#include "base.h"

static __u64 ax_tick; /* low half of jiffies << 32 | seconds */

AX_INLINE __u32 now_s(void)
{
	__u64 jiffies = bpf_jiffies64() << 32;
	__u64 tick = READ_ONCE(ax_tick);

	if (unlikely((tick ^ jiffies) >> 32 || !tick)) {
		tick = jiffies | (__u32)(bpf_ktime_get_ns() / 1000000000ULL);
		WRITE_ONCE(ax_tick, tick);
	}
	return (__u32)tick;
}

#endif
