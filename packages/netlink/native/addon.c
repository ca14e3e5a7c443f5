// SPDX-License-Identifier: Apache-2.0
/* Module entry, argument readers, jobs and namespace entry. No policy here: TypeScript decides and words errors. */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool axon_args(napi_env env, napi_callback_info info, size_t want, napi_value *args)
{
	size_t count = AXON_MAX_ARGS;

	if (napi_get_cb_info(env, info, &count, args, NULL, NULL) == napi_ok && count >= want)
		return true;
	napi_throw_type_error(env, NULL, "too few arguments for a native netlink call");
	return false;
}

int32_t axon_int(napi_env env, napi_value value)
{
	int32_t number = -1;

	if (napi_get_value_int32(env, value, &number) != napi_ok)
		napi_throw_type_error(env, NULL, "a native netlink call wants a number here");
	return number;
}

char *axon_string(napi_env env, napi_value value)
{
	size_t length = 0;
	char *text;

	if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) {
		napi_throw_type_error(env, NULL, "a native netlink call wants a string here");
		return NULL;
	}
	text = malloc(length + 1);
	if (text == NULL || napi_get_value_string_utf8(env, value, text, length + 1, &length) != napi_ok) {
		free(text);
		napi_throw_error(env, NULL, "out of memory");
		return NULL;
	}
	return text;
}

void *axon_bytes(napi_env env, napi_value value, size_t *length)
{
	napi_typedarray_type type;
	void *data = NULL;

	if (napi_get_typedarray_info(env, value, &type, length, &data, NULL, NULL) == napi_ok &&
	    type == napi_uint8_array)
		return data != NULL ? data : "";
	napi_throw_type_error(env, NULL, "a native netlink call wants a Uint8Array here");
	return NULL;
}

napi_value axon_number(napi_env env, int32_t number)
{
	napi_value value = NULL;

	napi_create_int32(env, number, &value);
	return value;
}

void axon_export(napi_env env, napi_value exports, const char *name, napi_callback function)
{
	napi_value value;

	if (napi_create_function(env, name, NAPI_AUTO_LENGTH, function, NULL, &value) == napi_ok)
		napi_set_named_property(env, exports, name, value);
}

static void job_execute(napi_env env, void *data)
{
	struct axon_job *job = data;

	(void)env;
	job->execute(job);
}

static void job_complete(napi_env env, napi_status status, void *data)
{
	struct axon_job *job = data;
	napi_value value;

	if (status != napi_ok)
		job->rc = -ECANCELED;
	value = job->finish ? job->finish(env, job) : axon_number(env, job->rc);
	if (value == NULL)
		value = axon_number(env, -ENOMEM);
	napi_resolve_deferred(env, job->deferred, value);
	napi_delete_async_work(env, job->work);
	job->release(job);
}

napi_value axon_run(napi_env env, struct axon_job *job, const char *name)
{
	napi_value promise, label;

	if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label) != napi_ok ||
	    napi_create_promise(env, &job->deferred, &promise) != napi_ok ||
	    napi_create_async_work(env, NULL, label, job_execute, job_complete, job, &job->work) != napi_ok ||
	    napi_queue_async_work(env, job->work) != napi_ok) {
		job->release(job);
		napi_throw_error(env, NULL, "cannot queue a native netlink job");
		return NULL;
	}
	return promise;
}

int axon_enter(struct axon_ns *ns, int ns_fd)
{
	int error;

	ns->home = -1;
	if (ns_fd < 0)
		return 0;
	ns->home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (ns->home < 0)
		return -errno;
	if (setns(ns_fd, CLONE_NEWNET) == 0)
		return 0;
	error = -errno;
	close(ns->home);
	ns->home = -1;
	return error;
}

void axon_leave(struct axon_ns *ns)
{
	int error = errno;

	if (ns->home < 0)
		return;
	if (setns(ns->home, CLONE_NEWNET) != 0) {
		perror("axon_netlink: cannot return to the process's own network namespace");
		abort();
	}
	close(ns->home);
	errno = error;
}

struct thread_call {
	void (*body)(void *);
	void *arg;
};

static void *thread_main(void *data)
{
	struct thread_call *call = data;

	call->body(call->arg);
	return NULL;
}

int axon_on_thread(void (*body)(void *), void *arg)
{
	struct thread_call call = { body, arg };
	pthread_attr_t attr;
	pthread_t thread;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	error = pthread_create(&thread, &attr, thread_main, &call);
	pthread_attr_destroy(&attr);
	if (error == 0)
		error = pthread_join(thread, NULL);
	return -error;
}

NAPI_MODULE_INIT()
{
	axon_init_rtnl(env, exports);
	axon_init_netns(env, exports);
	axon_init_socket(env, exports);
	axon_init_frame(env, exports);
	axon_init_poll(env, exports);
	axon_init_ethtool(env, exports);
	axon_init_datagram(env, exports);
	axon_init_handover(env, exports);
	return exports;
}
