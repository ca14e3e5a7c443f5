/* SPDX-License-Identifier: Apache-2.0 */
/* Pins in a bpffs, and closing what the addon opened. */
#include <limits.h>

#include "kernel.h"
#include "module.h"
#include "value.h"

/* pin(fd, path): 0 or -errno */
napi_value ax_pin(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	char path[PATH_MAX];

	attr.uapi.bpf_fd = ax_u32(&a, 0);
	attr.uapi.pathname = ax_ptr(ax_text(&a, 1, path, sizeof(path)));
	return ax_number(env, ax_bpf(BPF_OBJ_PIN, &attr));
}

/* openPin(path, fileFlags): fd */
napi_value ax_open_pin(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	char path[PATH_MAX];

	attr.uapi.pathname = ax_ptr(ax_text(&a, 0, path, sizeof(path)));
	attr.uapi.file_flags = ax_u32(&a, 1);
	return ax_number(env, ax_bpf(BPF_OBJ_GET, &attr));
}

/* close(fd): 0 or -errno */
napi_value ax_close(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);

	return ax_number(env, close(ax_i32(&a, 0)) ? -errno : 0);
}
