/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Drops before there is an skb: all counted, one a tick told. */
#ifndef AXON_LIB_XDP_EVENTS_H
#define AXON_LIB_XDP_EVENTS_H

#include "events.h"
#include "resolve.h"
#include "xdp_parse.h"

static __u64 ax_xdp_told; /* jiffies of the last record */

/* A flood makes one record a tick, whatever its rate: the counter has them all. */
AX_INLINE bool is_worth_telling(void)
{
	__u64 tick = bpf_jiffies64();

	if (READ_ONCE(ax_xdp_told) == tick)
		return false;
	WRITE_ONCE(ax_xdp_told, tick);
	return true;
}

AX_INLINE int xdp_drop(struct xdp_md *ctx, struct ax_pkt *p, __u8 reason)
{
	__u32 len = bpf_xdp_get_buff_len(ctx);
	struct ax_config *cfg = config();
	void *data = (void *)(long)ctx->data;
	struct ax_note n = {};
	struct ax_event *e;

	count((__u32)reason << 2 | AX_M_INGRESS, len);
	if (!is_worth_telling() || !cfg || data + ETH_HLEN > (void *)(long)ctx->data_end)
		return XDP_DROP;
	e = event_reserve();
	if (!e)
		return XDP_DROP;
	n.type = AX_EV_DROP;
	n.subtype = reason;
	n.reason = AX_TR_UNKNOWN;
	n.src_identity = world_identity(cfg, &p->saddr);
	event_fill(e, p, &n, len, ctx->ingress_ifindex);
	__builtin_memcpy(e->dmac, data, 6);
	__builtin_memcpy(e->smac, data + 6, 6);
	bpf_ringbuf_submit(e, wakeup());
	return XDP_DROP;
}

#endif
