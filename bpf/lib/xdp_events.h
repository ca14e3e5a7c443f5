/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records made before there is an skb. Drops are all counted, and one a tick is told. */
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

AX_INLINE void xdp_emit(struct xdp_md *ctx, const struct ax_pkt *p, const struct ax_note *n)
{
	void *data = (void *)(long)ctx->data;
	struct ax_event *e;

	if (data + ETH_HLEN > (void *)(long)ctx->data_end)
		return;
	e = event_reserve();
	if (!e)
		return;
	event_fill(e, p, n, bpf_xdp_get_buff_len(ctx), ctx->ingress_ifindex);
	__builtin_memcpy(e->dmac, data, 6);
	__builtin_memcpy(e->smac, data + 6, 6);
	bpf_ringbuf_submit(e, wakeup());
}

AX_INLINE int xdp_drop(struct xdp_md *ctx, const struct ax_pkt *p, __u8 reason)
{
	struct ax_config *cfg = config();
	struct ax_note n = {};

	count((__u32)reason << 2 | AX_M_INGRESS, bpf_xdp_get_buff_len(ctx));
	if (!is_worth_telling() || !cfg)
		return XDP_DROP;
	n.type = AX_EV_DROP;
	n.subtype = reason;
	n.reason = AX_TR_UNKNOWN;
	n.src_identity = world_identity(cfg, &p->saddr);
	xdp_emit(ctx, p, &n);
	return XDP_DROP;
}

#endif
