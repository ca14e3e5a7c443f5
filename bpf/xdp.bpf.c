// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The native device, in its driver: sources that are denied end here, and packets of Services that another node
 * serves turn round here. All else goes on to node_from, which can do the same.
 */
#define AX_XDP
#include "lib/deny.h"
#include "lib/xdp_lb.h"

SEC("xdp.frags")
int xdp_lb(struct xdp_md *ctx)
{
	struct ax_config *cfg;
	struct ax_frame f;
	struct ax_pkt p;
	int parsed = xdp_parse(ctx, &f, &p);

	if (parsed == AX_XDP_FOREIGN)
		return XDP_PASS;
	if (unlikely(is_denied(&p.saddr)))
		return xdp_drop(ctx, &p, AX_DROP_POLICY_DENY);
	cfg = config();
	if (parsed != AX_XDP_PLAIN || !cfg || is_for_another(cfg, &f))
		return XDP_PASS;
	return balance(ctx, cfg, &f, &p);
}

/* Run on live frames, to see whether what XDP sends out of a device arrives anywhere. */
SEC("xdp.frags")
int xdp_probe(struct xdp_md *ctx)
{
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
