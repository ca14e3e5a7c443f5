/* SPDX-License-Identifier: Apache-2.0 */
/* clsact filters, for kernels without tcx. The filter holds the program; there is no descriptor. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "module.h"
#include "netns.h"
#include "object.h"
#include "value.h"

struct place {
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	int netns;
};

/*
 * Arguments 0..4 of every call: ifindex, egress, handle, priority, netnsFd.
 * libbpf refuses options whose padding is not zero, hence memset.
 */
static void place_of(const struct ax_args *a, struct place *p)
{
	memset(p, 0, sizeof(*p));
	p->hook.sz = sizeof(p->hook);
	p->hook.ifindex = ax_i32(a, 0);
	p->hook.attach_point = ax_bool(a, 1) ? BPF_TC_EGRESS : BPF_TC_INGRESS;
	p->opts.sz = sizeof(p->opts);
	p->opts.handle = ax_u32(a, 2);
	p->opts.priority = ax_u32(a, 3);
	p->netns = ax_i32(a, 4);
}

static int attach(struct place *p)
{
	struct bpf_tc_hook clsact;
	int ret;

	memcpy(&clsact, &p->hook, sizeof(clsact));
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
	struct place p;
	int home, ret;

	place_of(&a, &p);
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
	struct place p;
	int home, ret;

	place_of(&a, &p);
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
	struct place p;
	int home, ret;

	place_of(&a, &p);
	ax_libbpf_begin();
	ret = ax_netns_enter(p.netns, &home);
	if (ret)
		return ax_number(env, ret);
	ret = bpf_tc_query(&p.hook, &p.opts);
	ax_netns_leave(home);
	return ax_number(env, ret ? ret : (double)p.opts.prog_id);
}

/* tcWarnings(): what libbpf said about the last call, the kernel's own words among it */
napi_value ax_tc_warnings(napi_env env, napi_callback_info info)
{
	(void)info;
	return ax_string(env, ax_libbpf_warnings());
}
