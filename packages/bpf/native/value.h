/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversions between JavaScript values and C. Every exported function returns
 * a number >= 0 (a descriptor, a count) or -errno; TypeScript turns that into
 * an error that names the object. Only what cannot be said by a number throws.
 */
#ifndef AXON_BPF_VALUE_H
#define AXON_BPF_VALUE_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AX_MAX_ARGS 12

struct ax_args {
	napi_env env;
	size_t count;
	napi_value v[AX_MAX_ARGS];
};

struct ax_args ax_args_get(napi_env env, napi_callback_info info);
int32_t ax_i32(const struct ax_args *a, size_t i);
uint32_t ax_u32(const struct ax_args *a, size_t i);
uint64_t ax_u64(const struct ax_args *a, size_t i);
bool ax_bool(const struct ax_args *a, size_t i);
/* Copies a string argument, cut to size - 1 bytes; "" when it is not a string. */
const char *ax_text(const struct ax_args *a, size_t i, char *out, size_t size);
/* Bytes of a Uint8Array (or any view); NULL and 0 for undefined, null or an empty one. */
void *ax_bytes(const struct ax_args *a, size_t i, size_t *len);
void *ax_external(const struct ax_args *a, size_t i);

napi_value ax_number(napi_env env, double n);
napi_value ax_string(napi_env env, const char *s);
napi_value ax_buffer(napi_env env, const void *bytes, size_t len);
napi_value ax_object(napi_env env);
napi_value ax_list(napi_env env);
void ax_push(napi_env env, napi_value list, uint32_t i, napi_value v);
void ax_set(napi_env env, napi_value obj, const char *key, napi_value v);
void ax_set_number(napi_env env, napi_value obj, const char *key, double n);
void ax_set_string(napi_env env, napi_value obj, const char *key, const char *s);
void ax_set_bool(napi_env env, napi_value obj, const char *key, bool b);
void ax_set_bigint(napi_env env, napi_value obj, const char *key, uint64_t n);
/* Throws an Error with `errno` (positive) and `detail` set; returns NULL for the caller to return. */
napi_value ax_throw(napi_env env, int err, const char *op, const char *detail);

#endif
