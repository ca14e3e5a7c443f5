/* SPDX-License-Identifier: Apache-2.0 */
/* clsact filters, for kernels without tcx. The filter holds the program; there is no descriptor. */
#include <bpf/libbpf.h>
#include <errno.h>

#include "module.h"
#include "netns.h"
#include "object.h"
#include "value.h"

struct place {
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	int netns;
};

/* Arguments 0..4 of every call: ifindex, egress, handle, priority, netnsFd. */
static struct place place_of(const struct ax_args *a)
{
	struct place p = {
		.hook = { .sz = sizeof(struct bpf_tc_hook),
			  .ifindex = ax_i32(a, 0),
			  .attach_point = ax_bool(a, 1) ? BPF_TC_EGRESS : BPF_TC_INGRESS },
		.opts = { .sz = sizeof(struct bpf_tc_opts), .handle = ax_u32(a, 2), .priority = ax_u32(a, 3) },
		.netns = ax_i32(a, 4),
	};
	return p;
}

static int attach(struct place *p)
{
	struct bpf_tc_hook clsact = p->hook;
	int ret;

	clsact.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	ret = bpf_tc_hook_create(&clsact);
	if (ret && ret != -EEXIST)
		return ret;
	p->opts.flags = BPF_TC_F_REPLACE;
	return bpf_tc_attach(&p->hook, &p->opts);
}

/* tcAttach(ifindex, egress, handle, priority, netnsFd, progFd): 0 or -errno; replaces atomically */
napi_value ax_tc_attach(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct place p = place_of(&a);
	int home, ret;

	p.opts.prog_fd = ax_i32(&a, 5);
	ax_libbpf_begin();
	ret = ax_netns_enter(p.netns, &home);
	if (ret)
		return ax_number(env, ret);
	ret = attach(&p);
	ax_netns_leave(home);
	return ax_number(env, ret);
}

/* tcDetach(ifindex, egress, handle, priority, netnsFd): 0 or -errno */
napi_value ax_tc_detach(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct place p = place_of(&a);
	int home, ret;

	ax_libbpf_begin();
	ret = ax_netns_enter(p.netns, &home);
	if (ret)
		return ax_number(env, ret);
	ret = bpf_tc_detach(&p.hook, &p.opts);
	ax_netns_leave(home);
	return ax_number(env, ret);
}

/* tcQuery(ifindex, egress, handle, priority, netnsFd): program id or -errno */
napi_value ax_tc_query(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct place p = place_of(&a);
	int home, ret;

	ax_libbpf_begin();
	ret = ax_netns_enter(p.netns, &home);
	if (ret)
		return ax_number(env, ret);
	ret = bpf_tc_query(&p.hook, &p.opts);
	ax_netns_leave(home);
	return ax_number(env, ret ? ret : (double)p.opts.prog_id);
}
