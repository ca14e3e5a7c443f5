/* SPDX-License-Identifier: Apache-2.0 */
/* Maps: create, one entry at a time, walk. Sizes are checked by the caller. */
#include "kernel.h"
#include "module.h"
#include "value.h"

/* mapCreate(type, keySize, valueSize, maxEntries, flags, name, innerMapFd): fd */
napi_value ax_map_create(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };

	attr.uapi.map_type = ax_u32(&a, 0);
	attr.uapi.key_size = ax_u32(&a, 1);
	attr.uapi.value_size = ax_u32(&a, 2);
	attr.uapi.max_entries = ax_u32(&a, 3);
	attr.uapi.map_flags = ax_u32(&a, 4);
	ax_text(&a, 5, attr.uapi.map_name, BPF_OBJ_NAME_LEN);
	attr.uapi.inner_map_fd = ax_u32(&a, 6);
	return ax_number(env, ax_bpf(BPF_MAP_CREATE, &attr));
}

static napi_value element(napi_env env, napi_callback_info info, int cmd)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	size_t len;

	attr.uapi.map_fd = ax_u32(&a, 0);
	attr.uapi.key = ax_ptr(ax_bytes(&a, 1, &len));
	attr.uapi.value = ax_ptr(ax_bytes(&a, 2, &len));
	attr.uapi.flags = ax_u64(&a, 3);
	return ax_number(env, ax_bpf(cmd, &attr));
}

/* mapLookup(fd, key, valueOut, flags) */
napi_value ax_map_lookup(napi_env env, napi_callback_info info)
{
	return element(env, info, BPF_MAP_LOOKUP_ELEM);
}

/* mapUpdate(fd, key, value, flags) */
napi_value ax_map_update(napi_env env, napi_callback_info info)
{
	return element(env, info, BPF_MAP_UPDATE_ELEM);
}

/* mapDelete(fd, key) */
napi_value ax_map_delete(napi_env env, napi_callback_info info)
{
	return element(env, info, BPF_MAP_DELETE_ELEM);
}

/* mapTake(fd, key, valueOut, flags): look up and delete in one step */
napi_value ax_map_take(napi_env env, napi_callback_info info)
{
	return element(env, info, BPF_MAP_LOOKUP_AND_DELETE_ELEM);
}

/* mapNextKey(fd, key or null, nextOut) */
napi_value ax_map_next_key(napi_env env, napi_callback_info info)
{
	return element(env, info, BPF_MAP_GET_NEXT_KEY);
}

/* mapFreeze(fd): user space may not write any more */
napi_value ax_map_freeze(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };

	attr.uapi.map_fd = ax_u32(&a, 0);
	return ax_number(env, ax_bpf(BPF_MAP_FREEZE, &attr));
}
