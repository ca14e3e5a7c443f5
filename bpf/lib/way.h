/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The next hop's MAC address, kept in the rows of a flow that XDP forwards for the rest of the second it was looked up
 * in: the kernel's look-up is a third of what a packet costs. One word, so that it is never half written: the address
 * in the lower 48 bits as it lies in a frame, above it the low bits of the second. 0: none.
 */
#ifndef AXON_LIB_WAY_H
#define AXON_LIB_WAY_H

#include "base.h"

AX_INLINE __u64 way_make(const __u8 *mac, __u32 now_s)
{
	__u64 way = 0;

	__builtin_memcpy(&way, mac, 6);
	return way | (__u64)now_s << 48;
}

/* A row that sleeps is over long before the second's low bits come round: after 18 hours. */
AX_INLINE bool way_is_fresh(__u64 way, __u32 now_s)
{
	return way && way >> 48 == (now_s & 0xffff);
}

#endif
