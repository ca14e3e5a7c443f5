/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses: 16 bytes, IPv4 v4-mapped. */
#ifndef AXON_LIB_ADDR_H
#define AXON_LIB_ADDR_H

#include "base.h"

#define AX_V4_WORD2 bpf_htonl(0x0000ffff)

AX_INLINE void addr_set4(struct ax_addr *a, __be32 v4)
{
	a->w[0] = 0;
	a->w[1] = 0;
	a->w[2] = AX_V4_WORD2;
	a->w[3] = v4;
}

AX_INLINE bool addr_is4(const struct ax_addr *a)
{
	return !a->w[0] && !a->w[1] && a->w[2] == AX_V4_WORD2;
}

AX_INLINE bool addr_is_zero(const struct ax_addr *a)
{
	return !(a->w[0] | a->w[1] | a->w[2] | a->w[3]);
}

AX_INLINE bool addr_equal(const struct ax_addr *a, const struct ax_addr *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2] && a->w[3] == b->w[3];
}

/* Byte order comparison, as memcmp: -1, 0, 1 */
AX_INLINE int addr_compare(const struct ax_addr *a, const struct ax_addr *b)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u32 x = bpf_ntohl(a->w[i]), y = bpf_ntohl(b->w[i]);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return 0;
}

AX_INLINE bool addr_is_multicast(const struct ax_addr *a)
{
	if (addr_is4(a))
		return (a->b[12] & 0xf0) == 0xe0 || a->w[3] == 0xffffffff;
	return a->b[0] == 0xff;
}

AX_INLINE bool addr_is_link_local6(const struct ax_addr *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

#endif
