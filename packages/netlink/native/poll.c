// SPDX-License-Identifier: Apache-2.0
/* Readiness of a descriptor on Node's own loop. */
#define _GNU_SOURCE
#include "addon.h"

#include <stdlib.h>
#include <uv.h>

struct watcher {
	uv_poll_t handle;
	napi_env env;
	napi_ref callback;
	napi_async_context context;
	napi_async_cleanup_hook_handle cleanup;
	int events;
	bool closing;
};

static void closed(uv_handle_t *handle)
{
	struct watcher *w = handle->data;

	if (w->cleanup != NULL)
		napi_remove_async_cleanup_hook(w->cleanup);
	free(w);
}

static void stop(struct watcher *w)
{
	if (w->closing)
		return;
	w->closing = true;
	uv_poll_stop(&w->handle);
	napi_delete_reference(w->env, w->callback);
	napi_async_destroy(w->env, w->context);
	uv_close((uv_handle_t *)&w->handle, closed);
}

static void environment_ends(napi_async_cleanup_hook_handle handle, void *data)
{
	(void)handle;
	stop(data);
}

static void ready(uv_poll_t *handle, int status, int events)
{
	struct watcher *w = handle->data;
	napi_handle_scope scope;
	napi_value callback, receiver, args[2];

	if (w->closing || napi_open_handle_scope(w->env, &scope) != napi_ok)
		return;
	args[0] = axon_number(w->env, status);
	args[1] = axon_number(w->env, events);
	if (napi_get_reference_value(w->env, w->callback, &callback) == napi_ok &&
	    napi_get_global(w->env, &receiver) == napi_ok &&
	    napi_make_callback(w->env, w->context, receiver, callback, 2, args, NULL) == napi_pending_exception) {
		napi_value error;

		napi_get_and_clear_last_exception(w->env, &error);
		napi_fatal_exception(w->env, error);
	}
	napi_close_handle_scope(w->env, scope);
	/* libuv stops polling on an error; here it is a pending error of the socket, which the callback has read. */
	if (status < 0 && !w->closing)
		uv_poll_start(&w->handle, w->events, ready);
}

/* pollStart(fd, events: 1 readable | 2 writable, callback(status, events)): handle | -errno */
static napi_value poll_start(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS], external, name;
	struct watcher *w;
	uv_loop_t *loop;
	int rc;

	if (!axon_args(env, info, 3, args))
		return NULL;
	w = calloc(1, sizeof(*w));
	if (w == NULL || napi_get_uv_event_loop(env, &loop) != napi_ok) {
		free(w);
		return NULL;
	}
	w->env = env;
	rc = uv_poll_init(loop, &w->handle, axon_int(env, args[0]));
	if (rc != 0) {
		free(w);
		return axon_number(env, rc);
	}
	w->handle.data = w;
	napi_create_reference(env, args[2], 1, &w->callback);
	napi_create_string_utf8(env, "axon:poll", NAPI_AUTO_LENGTH, &name);
	napi_async_init(env, NULL, name, &w->context);
	napi_add_async_cleanup_hook(env, environment_ends, w, &w->cleanup);
	w->events = axon_int(env, args[1]);
	rc = uv_poll_start(&w->handle, w->events, ready);
	if (rc != 0 || napi_create_external(env, w, NULL, NULL, &external) != napi_ok) {
		stop(w);
		return axon_number(env, rc != 0 ? rc : UV_ENOMEM);
	}
	return external;
}

static struct watcher *read_watcher(napi_env env, napi_value value)
{
	void *data = NULL;

	if (napi_get_value_external(env, value, &data) != napi_ok)
		napi_throw_type_error(env, NULL, "not a poll handle");
	return data;
}

/* pollStop(handle): ends it; the handle must not be used again, and the fd may be closed after. */
static napi_value poll_stop(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct watcher *w;

	if (!axon_args(env, info, 1, args))
		return NULL;
	w = read_watcher(env, args[0]);
	if (w != NULL)
		stop(w);
	return NULL;
}

/* pollRef(handle, keepsLoopAlive) */
static napi_value poll_ref(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct watcher *w;
	bool keep = true;

	if (!axon_args(env, info, 2, args))
		return NULL;
	w = read_watcher(env, args[0]);
	if (w == NULL || w->closing)
		return NULL;
	napi_get_value_bool(env, args[1], &keep);
	if (keep)
		uv_ref((uv_handle_t *)&w->handle);
	else
		uv_unref((uv_handle_t *)&w->handle);
	return NULL;
}

void axon_init_poll(napi_env env, napi_value exports)
{
	axon_export(env, exports, "pollStart", poll_start);
	axon_export(env, exports, "pollStop", poll_stop);
	axon_export(env, exports, "pollRef", poll_ref);
}
