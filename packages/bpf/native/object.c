/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An object file through libbpf: open, describe, set data and sizes, load.
 * After the load the descriptors are duplicated for the caller and the object
 * can be closed: nothing in C outlives it.
 */
#include "object.h"

#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"
#include "module.h"

/* libbpf says why something failed only through its print hook. Each worker thread has its own text. */
static _Thread_local char warnings[32 * 1024];
static _Thread_local size_t warnings_len;

static int collect_warning(enum libbpf_print_level level, const char *format, va_list args)
{
	size_t room = sizeof(warnings) - warnings_len;
	int n;

	if (level != LIBBPF_WARN || room < 2)
		return 0;
	n = vsnprintf(warnings + warnings_len, room, format, args);
	if (n > 0)
		warnings_len += (size_t)n < room ? (size_t)n : room - 1;
	return 0;
}

static void prepare_libbpf(void)
{
	libbpf_set_print(collect_warning);
	/* Section names libbpf 1.1 does not know yet. */
	libbpf_register_prog_handler("tcx/ingress", BPF_PROG_TYPE_SCHED_CLS, AX_BPF_TCX_INGRESS, NULL);
	libbpf_register_prog_handler("tcx/egress", BPF_PROG_TYPE_SCHED_CLS, AX_BPF_TCX_EGRESS, NULL);
}

void ax_libbpf_begin(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	warnings_len = 0;
	warnings[0] = '\0';
	pthread_once(&once, prepare_libbpf);
}

const char *ax_libbpf_warnings(void)
{
	return warnings;
}

static void finalize_object(napi_env env, void *data, void *hint)
{
	struct ax_obj *o = data;

	(void)env;
	(void)hint;
	if (o->obj)
		bpf_object__close(o->obj);
	free(o);
}

/* objOpen(path): handle */
napi_value ax_obj_open(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	napi_value handle = NULL;
	struct ax_obj *o;
	char path[PATH_MAX];

	ax_libbpf_begin();
	o = calloc(1, sizeof(*o));
	if (!o)
		return ax_throw(env, ENOMEM, "open object", "");
	o->obj = bpf_object__open_file(ax_text(&a, 0, path, sizeof(path)), NULL);
	if (!o->obj) {
		int err = errno;

		free(o);
		return ax_throw(env, err, "open object", warnings);
	}
	napi_create_external(env, o, finalize_object, NULL, &handle);
	return handle;
}

/* objClose(handle) */
napi_value ax_obj_close(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ax_obj *o = ax_external(&a, 0);

	if (o && o->obj) {
		bpf_object__close(o->obj);
		o->obj = NULL;
	}
	return ax_number(env, 0);
}

/* libbpf puts a cut object name before ".rodata" and its like; the section alone is enough here. */
const char *ax_map_name(const struct bpf_map *map)
{
	const char *name = bpf_map__name(map), *dot = bpf_map__is_internal(map) ? strchr(name, '.') : NULL;

	return dot ? dot : name;
}

static napi_value describe_map(napi_env env, const struct bpf_map *map)
{
	napi_value m = ax_object(env);

	ax_set_string(env, m, "name", ax_map_name(map));
	ax_set_number(env, m, "type", bpf_map__type(map));
	ax_set_number(env, m, "keySize", bpf_map__key_size(map));
	ax_set_number(env, m, "valueSize", bpf_map__value_size(map));
	ax_set_number(env, m, "maxEntries", bpf_map__max_entries(map));
	ax_set_number(env, m, "flags", bpf_map__map_flags(map));
	ax_set_bool(env, m, "pinned", bpf_map__pin_path(map) != NULL);
	ax_set_bool(env, m, "internal", bpf_map__is_internal(map));
	return m;
}

static napi_value describe_program(napi_env env, const struct bpf_program *prog)
{
	napi_value p = ax_object(env);

	ax_set_string(env, p, "name", bpf_program__name(prog));
	ax_set_string(env, p, "section", bpf_program__section_name(prog));
	ax_set_number(env, p, "type", bpf_program__type(prog));
	ax_set_number(env, p, "expectedAttachType", bpf_program__expected_attach_type(prog));
	ax_set_number(env, p, "instructions", (double)bpf_program__insn_cnt(prog));
	return p;
}

static void describe_section(napi_env env, napi_value list, uint32_t *n, const struct btf *btf,
			     const struct btf_type *section)
{
	const struct btf_var_secinfo *var = btf_var_secinfos(section);

	for (int i = 0; i < btf_vlen(section); i++, var++) {
		const struct btf_type *t = btf__type_by_id(btf, var->type);
		napi_value v = ax_object(env);

		ax_set_string(env, v, "section", btf__name_by_offset(btf, section->name_off));
		ax_set_string(env, v, "name", btf__name_by_offset(btf, t->name_off));
		ax_set_number(env, v, "offset", var->offset);
		ax_set_number(env, v, "size", var->size);
		ax_push(env, list, (*n)++, v);
	}
}

static napi_value describe_variables(napi_env env, const struct bpf_object *obj)
{
	const struct btf *btf = bpf_object__btf(obj);
	napi_value list = ax_list(env);
	const struct bpf_map *map;
	uint32_t n = 0;

	bpf_object__for_each_map(map, obj) {
		int id;

		if (!btf || !bpf_map__is_internal(map))
			continue;
		id = btf__find_by_name_kind(btf, ax_map_name(map), BTF_KIND_DATASEC);
		if (id > 0)
			describe_section(env, list, &n, btf, btf__type_by_id(btf, (uint32_t)id));
	}
	return list;
}

/* objSpec(handle): { maps, programs, variables } */
napi_value ax_obj_spec(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ax_obj *o = ax_external(&a, 0);
	napi_value spec, maps, programs;
	struct bpf_program *prog;
	struct bpf_map *map;
	uint32_t n = 0;

	if (!o || !o->obj)
		return ax_throw(env, EINVAL, "describe object", "closed");
	spec = ax_object(env);
	maps = ax_list(env);
	programs = ax_list(env);
	bpf_object__for_each_map(map, o->obj)
		ax_push(env, maps, n++, describe_map(env, map));
	n = 0;
	bpf_object__for_each_program(prog, o->obj)
		ax_push(env, programs, n++, describe_program(env, prog));
	ax_set(env, spec, "maps", maps);
	ax_set(env, spec, "programs", programs);
	ax_set(env, spec, "variables", describe_variables(env, o->obj));
	return spec;
}

static struct bpf_map *find_map(const struct ax_args *a)
{
	struct ax_obj *o = ax_external(a, 0);
	struct bpf_map *map;
	char name[128];

	if (!o || !o->obj)
		return NULL;
	ax_text(a, 1, name, sizeof(name));
	bpf_object__for_each_map(map, o->obj)
		if (!strcmp(ax_map_name(map), name))
			return map;
	return NULL;
}

/* objSetData(handle, section, offset, bytes): 0 or -errno; writes the initial image of .rodata, .data or .bss */
napi_value ax_obj_set_data(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct bpf_map *map = find_map(&a);
	size_t offset = ax_u32(&a, 2), size = 0, len;
	const void *bytes = ax_bytes(&a, 3, &len);
	uint8_t *image;

	if (!map || !bytes)
		return ax_number(env, -ENOENT);
	image = (uint8_t *)(uintptr_t)bpf_map__initial_value(map, &size);
	if (!image || offset > size || len > size - offset)
		return ax_number(env, -E2BIG);
	memcpy(image + offset, bytes, len);
	return ax_number(env, 0);
}

/* objSetMax(handle, map, entries): 0 or -errno */
napi_value ax_obj_set_max(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct bpf_map *map = find_map(&a);

	return ax_number(env, map ? bpf_map__set_max_entries(map, ax_u32(&a, 2)) : -ENOENT);
}

/* objReuseMap(handle, map, fd): 0 or -errno; fd is duplicated */
napi_value ax_obj_reuse_map(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct bpf_map *map = find_map(&a);

	return ax_number(env, map ? bpf_map__reuse_fd(map, ax_i32(&a, 2)) : -ENOENT);
}

/* objOnly(handle, name): 0 or -errno; called once per wanted program, the first call drops all others */
napi_value ax_obj_only(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ax_obj *o = ax_external(&a, 0);
	struct bpf_program *prog, *wanted = NULL;
	char name[128];

	if (!o || !o->obj)
		return ax_number(env, -EINVAL);
	ax_text(&a, 1, name, sizeof(name));
	bpf_object__for_each_program(prog, o->obj) {
		if (!o->selected)
			bpf_program__set_autoload(prog, false);
		if (!strcmp(bpf_program__name(prog), name))
			wanted = prog;
	}
	o->selected = true;
	return ax_number(env, wanted ? bpf_program__set_autoload(wanted, true) : -ENOENT);
}
