/* SPDX-License-Identifier: Apache-2.0 */
/* Loading an opened object, with one verifier log per program. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kernel.h"
#include "module.h"
#include "object.h"

struct logs {
	char *memory; /* mapped: pages that stay unwritten cost nothing */
	size_t each;
	size_t count;
};

static int logs_open(struct logs *l, struct bpf_object *obj, size_t each)
{
	struct bpf_program *prog;

	l->each = each;
	l->count = 0;
	bpf_object__for_each_program(prog, obj)
		l->count++;
	if (!l->count)
		return 0;
	l->memory = mmap(NULL, l->count * each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			 -1, 0);
	return l->memory == MAP_FAILED ? -errno : 0;
}

static void logs_close(struct logs *l)
{
	if (l->count)
		munmap(l->memory, l->count * l->each);
}

static void give_logs(struct logs *l, struct bpf_object *obj, uint32_t level)
{
	struct bpf_program *prog;
	size_t i = 0;

	bpf_object__for_each_program(prog, obj) {
		bpf_program__set_log_buf(prog, l->memory + i++ * l->each, l->each);
		bpf_program__set_log_level(prog, level);
	}
}

static napi_value logs_object(napi_env env, struct logs *l, struct bpf_object *obj)
{
	napi_value o = ax_object(env);
	struct bpf_program *prog;
	size_t i = 0;

	bpf_object__for_each_program(prog, obj) {
		const char *log = l->memory + i++ * l->each;

		if (*log)
			ax_set_string(env, o, bpf_program__name(prog), log);
	}
	return o;
}

/* A descriptor of the caller's own, or -1 where there is none. */
static int own_fd(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static napi_value program_fds(napi_env env, struct bpf_object *obj)
{
	napi_value o = ax_object(env);
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, obj) {
		int fd = own_fd(bpf_program__fd(prog));

		if (fd >= 0)
			ax_set_number(env, o, bpf_program__name(prog), fd);
	}
	return o;
}

static napi_value map_fds(napi_env env, struct bpf_object *obj)
{
	napi_value o = ax_object(env);
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj) {
		int fd = own_fd(bpf_map__fd(map));

		if (fd >= 0)
			ax_set_number(env, o, ax_map_name(map), fd);
	}
	return o;
}

/*
 * objLoad(handle, logLevel, logBytes): { error: errno or 0, warnings, logs, programs: name -> fd, maps: name -> fd }
 * Pinning is the caller's: libbpf would only warn about a pinned map that differs.
 */
napi_value ax_obj_load(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ax_obj *o = ax_external(&a, 0);
	struct logs logs = { 0 };
	struct bpf_map *map;
	napi_value result;
	int ret;

	if (!o || !o->obj)
		return ax_throw(env, EINVAL, "load object", "closed");
	ax_libbpf_begin();
	ret = logs_open(&logs, o->obj, ax_u32(&a, 2));
	if (ret)
		return ax_throw(env, -ret, "load object", "no memory for verifier logs");
	bpf_object__for_each_map(map, o->obj)
		bpf_map__set_pin_path(map, NULL);
	give_logs(&logs, o->obj, ax_u32(&a, 1));
	ret = bpf_object__load(o->obj);
	result = ax_object(env);
	ax_set_number(env, result, "error", -ret);
	ax_set_string(env, result, "warnings", ax_libbpf_warnings());
	ax_set(env, result, "logs", logs_object(env, &logs, o->obj));
	if (!ret) {
		ax_set(env, result, "programs", program_fds(env, o->obj));
		ax_set(env, result, "maps", map_fds(env, o->obj));
	}
	logs_close(&logs);
	return result;
}
