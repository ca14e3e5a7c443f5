/* SPDX-License-Identifier: Apache-2.0 */
/* Links: what holds a program at its place, and the query of what is attached. */
#include <linux/perf_event.h>
#include <sys/ioctl.h>

#include "kernel.h"
#include "module.h"
#include "netns.h"
#include "value.h"

/*
 * linkCreate(progFd, target, attachType, flags, netnsFd, relativeFd): fd
 * target is an ifindex (tcx, XDP) in namespace netnsFd (-1: this one), a cgroup's
 * descriptor, or 0. Flags as in BPF_LINK_CREATE.
 */
napi_value ax_link_create(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	int home, ret;

	attr.link_create_tcx.prog_fd = ax_u32(&a, 0);
	attr.link_create_tcx.target_ifindex = ax_u32(&a, 1);
	attr.link_create_tcx.attach_type = ax_u32(&a, 2);
	attr.link_create_tcx.flags = ax_u32(&a, 3);
	attr.link_create_tcx.relative_fd_or_id = ax_u32(&a, 5);
	ret = ax_netns_enter(ax_i32(&a, 4), &home);
	if (ret)
		return ax_number(env, ret);
	ret = ax_bpf(BPF_LINK_CREATE, &attr);
	ax_netns_leave(home);
	return ax_number(env, ret);
}

/* linkUpdate(linkFd, newProgFd, expectedProgFd or -1): 0 or -errno */
napi_value ax_link_update(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	int old = ax_i32(&a, 2);

	attr.uapi.link_update.link_fd = ax_u32(&a, 0);
	attr.uapi.link_update.new_prog_fd = ax_u32(&a, 1);
	if (old >= 0) {
		attr.uapi.link_update.flags = BPF_F_REPLACE;
		attr.uapi.link_update.old_prog_fd = (uint32_t)old;
	}
	return ax_number(env, ax_bpf(BPF_LINK_UPDATE, &attr));
}

/* linkDetach(linkFd): 0 or -errno */
napi_value ax_link_detach(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };

	attr.uapi.link_detach.link_fd = ax_u32(&a, 0);
	return ax_number(env, ax_bpf(BPF_LINK_DETACH, &attr));
}

/* rawTracepointOpen(progFd, name or ""): fd; no name for programs whose target is in their BTF */
napi_value ax_raw_tracepoint_open(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	char name[128];

	ax_text(&a, 1, name, sizeof(name));
	attr.uapi.raw_tracepoint.name = name[0] ? ax_ptr(name) : 0;
	attr.uapi.raw_tracepoint.prog_fd = ax_u32(&a, 0);
	return ax_number(env, ax_bpf(BPF_RAW_TRACEPOINT_OPEN, &attr));
}

/* tracepointLink(progFd, tracepointId, cookie): fd. The link holds the perf event. */
napi_value ax_tracepoint_link(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	struct perf_event_attr event = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(event),
		.config = ax_u32(&a, 1),
		.sample_period = 1,
		.wakeup_events = 1,
	};
	int ret, perf = (int)syscall(__NR_perf_event_open, &event, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);

	if (perf < 0)
		return ax_number(env, -errno);
	attr.uapi.link_create.prog_fd = ax_u32(&a, 0);
	attr.uapi.link_create.target_fd = (uint32_t)perf;
	attr.uapi.link_create.attach_type = BPF_PERF_EVENT;
	attr.uapi.link_create.perf_event.bpf_cookie = ax_u64(&a, 2);
	ret = ax_bpf(BPF_LINK_CREATE, &attr);
	if (ret >= 0 && ioctl(perf, PERF_EVENT_IOC_ENABLE, 0)) {
		int err = errno;

		close(ret);
		ret = -err;
	}
	close(perf);
	return ax_number(env, ret);
}

/* progQuery(target, attachType, netnsFd, progIds, linkIds): how many, or -errno; fills the Uint32Arrays */
napi_value ax_prog_query(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	size_t progs_len, links_len;
	int home, ret;

	attr.query_multi.target_ifindex = ax_u32(&a, 0);
	attr.query_multi.attach_type = ax_u32(&a, 1);
	attr.query_multi.prog_ids = ax_ptr(ax_bytes(&a, 3, &progs_len));
	attr.query_multi.link_ids = ax_ptr(ax_bytes(&a, 4, &links_len));
	attr.query_multi.count = (uint32_t)(progs_len / sizeof(uint32_t));
	if (links_len && links_len < progs_len)
		return ax_number(env, -EINVAL);
	ret = ax_netns_enter(ax_i32(&a, 2), &home);
	if (ret)
		return ax_number(env, ret);
	ret = ax_bpf(BPF_PROG_QUERY, &attr);
	ax_netns_leave(home);
	return ax_number(env, ret ? ret : (int)attr.query_multi.count);
}
