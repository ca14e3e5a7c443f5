/* SPDX-License-Identifier: Apache-2.0 */
#include "value.h"

#include <stdio.h>
#include <string.h>

struct ax_args ax_args_get(napi_env env, napi_callback_info info)
{
	struct ax_args a = { .env = env, .count = AX_MAX_ARGS };

	/* Arguments that were not passed come back as `undefined`. */
	if (napi_get_cb_info(env, info, &a.count, a.v, NULL, NULL) != napi_ok)
		a.count = 0;
	if (a.count > AX_MAX_ARGS)
		a.count = AX_MAX_ARGS;
	return a;
}

int32_t ax_i32(const struct ax_args *a, size_t i)
{
	int32_t n = 0;

	if (i < a->count)
		napi_get_value_int32(a->env, a->v[i], &n);
	return n;
}

uint32_t ax_u32(const struct ax_args *a, size_t i)
{
	uint32_t n = 0;

	if (i < a->count)
		napi_get_value_uint32(a->env, a->v[i], &n);
	return n;
}

uint64_t ax_u64(const struct ax_args *a, size_t i)
{
	uint64_t big = 0;
	bool lossless;
	double n = 0;

	if (i >= a->count)
		return 0;
	if (napi_get_value_bigint_uint64(a->env, a->v[i], &big, &lossless) == napi_ok)
		return big;
	if (napi_get_value_double(a->env, a->v[i], &n) == napi_ok && n > 0)
		return (uint64_t)n;
	return 0;
}

bool ax_bool(const struct ax_args *a, size_t i)
{
	bool b = false;

	if (i < a->count)
		napi_get_value_bool(a->env, a->v[i], &b);
	return b;
}

const char *ax_text(const struct ax_args *a, size_t i, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	if (i < a->count)
		napi_get_value_string_utf8(a->env, a->v[i], out, size, &len);
	return out;
}

void *ax_bytes(const struct ax_args *a, size_t i, size_t *len)
{
	static const size_t width[] = { 1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8 };
	napi_typedarray_type type;
	void *data = NULL;
	size_t n = 0;

	*len = 0;
	if (i >= a->count ||
	    napi_get_typedarray_info(a->env, a->v[i], &type, &n, &data, NULL, NULL) != napi_ok || !n)
		return NULL;
	*len = n * ((size_t)type < sizeof(width) / sizeof(width[0]) ? width[type] : 1);
	return data;
}

void *ax_external(const struct ax_args *a, size_t i)
{
	void *p = NULL;

	if (i < a->count)
		napi_get_value_external(a->env, a->v[i], &p);
	return p;
}

napi_value ax_number(napi_env env, double n)
{
	napi_value v = NULL;

	napi_create_double(env, n, &v);
	return v;
}

napi_value ax_string(napi_env env, const char *s)
{
	napi_value v = NULL;

	napi_create_string_utf8(env, s ? s : "", NAPI_AUTO_LENGTH, &v);
	return v;
}

napi_value ax_buffer(napi_env env, const void *bytes, size_t len)
{
	napi_value ab = NULL, v = NULL;
	void *data = NULL;

	napi_create_arraybuffer(env, len, &data, &ab);
	if (len && data)
		memcpy(data, bytes, len);
	napi_create_typedarray(env, napi_uint8_array, len, ab, 0, &v);
	return v;
}

napi_value ax_object(napi_env env)
{
	napi_value v = NULL;

	napi_create_object(env, &v);
	return v;
}

napi_value ax_list(napi_env env)
{
	napi_value v = NULL;

	napi_create_array(env, &v);
	return v;
}

void ax_push(napi_env env, napi_value list, uint32_t i, napi_value v)
{
	napi_set_element(env, list, i, v);
}

void ax_set(napi_env env, napi_value obj, const char *key, napi_value v)
{
	napi_set_named_property(env, obj, key, v);
}

void ax_set_number(napi_env env, napi_value obj, const char *key, double n)
{
	ax_set(env, obj, key, ax_number(env, n));
}

void ax_set_string(napi_env env, napi_value obj, const char *key, const char *s)
{
	ax_set(env, obj, key, ax_string(env, s));
}

void ax_set_bool(napi_env env, napi_value obj, const char *key, bool b)
{
	napi_value v = NULL;

	napi_get_boolean(env, b, &v);
	ax_set(env, obj, key, v);
}

void ax_set_bigint(napi_env env, napi_value obj, const char *key, uint64_t n)
{
	napi_value v = NULL;

	napi_create_bigint_uint64(env, n, &v);
	ax_set(env, obj, key, v);
}

napi_value ax_throw(napi_env env, int err, const char *op, const char *detail)
{
	napi_value error = NULL;
	char message[256];

	snprintf(message, sizeof(message), "%s: %s", op, strerror(err));
	napi_create_error(env, NULL, ax_string(env, message), &error);
	ax_set_number(env, error, "errno", err);
	ax_set_string(env, error, "detail", detail);
	napi_throw(env, error);
	return NULL;
}
