/* SPDX-License-Identifier: Apache-2.0 */
/* Programs: raw load (for probes), test run, and what the kernel says about any BPF descriptor. */
#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"
#include "module.h"
#include "netns.h"
#include "value.h"

/* progLoad(type, expectedAttachType, insns, name, flags): fd. The licence is GPL. */
napi_value ax_prog_load(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	size_t len;

	attr.uapi.prog_type = ax_u32(&a, 0);
	attr.uapi.expected_attach_type = ax_u32(&a, 1);
	attr.uapi.insns = ax_ptr(ax_bytes(&a, 2, &len));
	attr.uapi.insn_cnt = (uint32_t)(len / sizeof(struct bpf_insn));
	attr.uapi.license = ax_ptr("GPL");
	ax_text(&a, 3, attr.uapi.prog_name, BPF_OBJ_NAME_LEN);
	attr.uapi.prog_flags = ax_u32(&a, 4);
	return ax_number(env, ax_bpf(BPF_PROG_LOAD, &attr));
}

/*
 * progTestRun(fd, data, dataOut, ctx, ctxOut, repeat, flags, cpu, batch, result, netnsFd): 0 or -errno
 * result is a Uint32Array(4): retval, duration ns, bytes of dataOut, bytes of ctxOut. The context's
 * interface is one of the namespace netnsFd (-1: this one).
 */
napi_value ax_prog_test_run(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	uint32_t *result;
	size_t len;
	int home, ret;

	attr.uapi.test.prog_fd = ax_u32(&a, 0);
	attr.uapi.test.data_in = ax_ptr(ax_bytes(&a, 1, &len));
	attr.uapi.test.data_size_in = (uint32_t)len;
	attr.uapi.test.data_out = ax_ptr(ax_bytes(&a, 2, &len));
	attr.uapi.test.data_size_out = (uint32_t)len;
	attr.uapi.test.ctx_in = ax_ptr(ax_bytes(&a, 3, &len));
	attr.uapi.test.ctx_size_in = (uint32_t)len;
	attr.uapi.test.ctx_out = ax_ptr(ax_bytes(&a, 4, &len));
	attr.uapi.test.ctx_size_out = (uint32_t)len;
	attr.uapi.test.repeat = ax_u32(&a, 5);
	attr.uapi.test.flags = ax_u32(&a, 6);
	attr.uapi.test.cpu = ax_u32(&a, 7);
	attr.uapi.test.batch_size = ax_u32(&a, 8);
	result = ax_bytes(&a, 9, &len);
	if (!result || len < 4 * sizeof(*result))
		return ax_number(env, -EINVAL);
	ret = ax_netns_enter(ax_i32(&a, 10), &home);
	if (ret)
		return ax_number(env, ret);
	ret = ax_bpf(BPF_PROG_TEST_RUN, &attr);
	ax_netns_leave(home);
	result[0] = attr.uapi.test.retval;
	result[1] = attr.uapi.test.duration;
	result[2] = attr.uapi.test.data_size_out;
	result[3] = attr.uapi.test.ctx_size_out;
	return ax_number(env, ret);
}

/* The kernel fills whatever structure the descriptor has: asked for another, it would be misread. */
static bool is_kind(int fd, const char *kind)
{
	char path[64], target[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return false;
	target[len] = '\0';
	/* A link is named bpf_link when it was created and bpf-link when it was opened again. */
	for (char *c = target; *c; c++)
		if (*c == '_' && c > target + sizeof("anon_inode"))
			*c = '-';
	return !strcmp(target, kind);
}

static int info_by_fd(int fd, const char *kind, void *out, size_t size)
{
	union ax_bpf_attr attr = { .raw = { 0 } };

	if (!is_kind(fd, kind))
		return -EINVAL;

	attr.uapi.info.bpf_fd = (uint32_t)fd;
	attr.uapi.info.info_len = (uint32_t)size;
	attr.uapi.info.info = ax_ptr(out);
	return ax_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

/* progInfo(fd): object or -errno */
napi_value ax_prog_info(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct bpf_prog_info p = { 0 };
	napi_value o;
	char tag[2 * BPF_TAG_SIZE + 1];
	int ret = info_by_fd(ax_i32(&a, 0), "anon_inode:bpf-prog", &p, sizeof(p));

	if (ret)
		return ax_number(env, ret);
	for (int i = 0; i < BPF_TAG_SIZE; i++) {
		tag[2 * i] = "0123456789abcdef"[p.tag[i] >> 4];
		tag[2 * i + 1] = "0123456789abcdef"[p.tag[i] & 15];
	}
	tag[2 * BPF_TAG_SIZE] = '\0';
	o = ax_object(env);
	ax_set_number(env, o, "type", p.type);
	ax_set_number(env, o, "id", p.id);
	ax_set_string(env, o, "name", p.name);
	ax_set_string(env, o, "tag", tag);
	ax_set_number(env, o, "jitedBytes", p.jited_prog_len);
	ax_set_number(env, o, "xlatedBytes", p.xlated_prog_len);
	ax_set_number(env, o, "verifiedInsns", p.verified_insns);
	ax_set_bigint(env, o, "runTimeNs", p.run_time_ns);
	ax_set_bigint(env, o, "runCount", p.run_cnt);
	ax_set_bigint(env, o, "recursionMisses", p.recursion_misses);
	ax_set_number(env, o, "btfId", p.btf_id);
	return o;
}

/* mapInfo(fd): object or -errno */
napi_value ax_map_info(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct bpf_map_info m = { 0 };
	napi_value o;
	int ret = info_by_fd(ax_i32(&a, 0), "anon_inode:bpf-map", &m, sizeof(m));

	if (ret)
		return ax_number(env, ret);
	o = ax_object(env);
	ax_set_number(env, o, "type", m.type);
	ax_set_number(env, o, "id", m.id);
	ax_set_number(env, o, "keySize", m.key_size);
	ax_set_number(env, o, "valueSize", m.value_size);
	ax_set_number(env, o, "maxEntries", m.max_entries);
	ax_set_number(env, o, "flags", m.map_flags);
	ax_set_string(env, o, "name", m.name);
	ax_set_number(env, o, "btfId", m.btf_id);
	ax_set_number(env, o, "btfKeyType", m.btf_key_type_id);
	ax_set_number(env, o, "btfValueType", m.btf_value_type_id);
	return o;
}

/* btfBytes(id): the type information of maps and programs loaded together, or -errno */
napi_value ax_btf_bytes(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	struct bpf_btf_info b = { 0 };
	napi_value bytes;
	void *room;
	int fd, ret;

	attr.uapi.btf_id = ax_u32(&a, 0);
	fd = ax_bpf(BPF_BTF_GET_FD_BY_ID, &attr);
	if (fd < 0)
		return ax_number(env, fd);
	memset(&attr, 0, sizeof(attr));
	attr.uapi.info.bpf_fd = fd;
	attr.uapi.info.info_len = sizeof(b);
	attr.uapi.info.info = ax_ptr(&b);
	ret = ax_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr); /* asks for the size */
	room = ret ? NULL : malloc(b.btf_size);
	if (room) {
		b.btf = ax_ptr(room);
		ret = ax_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
	} else if (!ret) {
		ret = -ENOMEM;
	}
	bytes = ret ? ax_number(env, ret) : ax_buffer(env, room, b.btf_size);
	free(room);
	close(fd);
	return bytes;
}

/* linkInfo(fd): object or -errno. Fields a link type lacks are 0. */
napi_value ax_link_info(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union {
		struct bpf_link_info uapi;
		uint8_t raw[128];
	} l = { .raw = { 0 } };
	uint32_t ifindex = 0, attach_type = 0;
	uint64_t cgroup_id = 0;
	napi_value o;
	int ret = info_by_fd(ax_i32(&a, 0), "anon_inode:bpf-link", &l, sizeof(l));

	if (ret)
		return ax_number(env, ret);
	if (l.uapi.type == AX_BPF_LINK_TYPE_TCX) { /* struct { __u32 ifindex; __u32 attach_type; } tcx */
		ifindex = l.uapi.netns.netns_ino;
		attach_type = l.uapi.netns.attach_type;
	} else if (l.uapi.type == BPF_LINK_TYPE_CGROUP) {
		cgroup_id = l.uapi.cgroup.cgroup_id;
		attach_type = l.uapi.cgroup.attach_type;
	} else if (l.uapi.type == BPF_LINK_TYPE_XDP) {
		ifindex = l.uapi.xdp.ifindex;
	} else if (l.uapi.type == BPF_LINK_TYPE_TRACING) {
		attach_type = l.uapi.tracing.attach_type;
	}
	o = ax_object(env);
	ax_set_number(env, o, "type", l.uapi.type);
	ax_set_number(env, o, "id", l.uapi.id);
	ax_set_number(env, o, "progId", l.uapi.prog_id);
	ax_set_number(env, o, "ifindex", ifindex);
	ax_set_number(env, o, "attachType", attach_type);
	ax_set_bigint(env, o, "cgroupId", cgroup_id);
	return o;
}

/* fdById(kind, id): fd; kind 0 program, 1 map, 2 link */
napi_value ax_fd_by_id(napi_env env, napi_callback_info info)
{
	static const int cmd[] = { BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_LINK_GET_FD_BY_ID };
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	uint32_t kind = ax_u32(&a, 0);

	if (kind > 2)
		return ax_number(env, -EINVAL);
	attr.uapi.prog_id = ax_u32(&a, 1);
	return ax_number(env, ax_bpf(cmd[kind], &attr));
}
