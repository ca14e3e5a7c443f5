/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Iterators: a program that the kernel runs once for each of its objects of a kind, while somebody reads
 * the iterator's file. Reading takes as long as there are objects: it is done on a thread of libuv's pool.
 */
#include <stdlib.h>

#include "kernel.h"
#include "module.h"
#include "netns.h"
#include "value.h"

#define READ_BYTES (64 * 1024)

/* iterLink(progFd, mapFd or -1): fd. Nothing runs until the link's iterator is read. */
napi_value ax_iter_link(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	union ax_bpf_attr attr = { .raw = { 0 } };
	union bpf_iter_link_info target = { 0 };
	int map = ax_i32(&a, 1);

	attr.uapi.link_create.prog_fd = ax_u32(&a, 0);
	attr.uapi.link_create.attach_type = BPF_TRACE_ITER;
	if (map >= 0) {
		target.map.map_fd = (uint32_t)map;
		attr.uapi.link_create.iter_info = ax_ptr(&target);
		attr.uapi.link_create.iter_info_len = sizeof(target);
	}
	return ax_number(env, ax_bpf(BPF_LINK_CREATE, &attr));
}

struct run {
	napi_async_work work;
	napi_deferred deferred;
	int link, netns;
	size_t limit;
	uint8_t *out;
	size_t len, room;
	int error; /* 0 or -errno */
};

/* An iterator of sockets walks those of the namespace it is made in. */
static int open_iterator(const struct run *r)
{
	union ax_bpf_attr attr = { .raw = { 0 } };
	int home, fd = ax_netns_enter(r->netns, &home);

	if (fd)
		return fd;
	attr.uapi.iter_create.link_fd = (uint32_t)r->link;
	fd = ax_bpf(BPF_ITER_CREATE, &attr);
	ax_netns_leave(home);
	return fd;
}

static int make_room(struct run *r)
{
	size_t room = r->room ? r->room * 2 : READ_BYTES;
	uint8_t *out;

	if (r->room - r->len >= READ_BYTES)
		return 0;
	out = realloc(r->out, room);
	if (!out)
		return -ENOMEM;
	r->out = out;
	r->room = room;
	return 0;
}

static int read_all(struct run *r, int fd)
{
	for (;;) {
		int ret = make_room(r);
		ssize_t n;

		if (ret)
			return ret;
		n = read(fd, r->out + r->len, READ_BYTES);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return 0;
		r->len += (size_t)n;
		if (r->len > r->limit)
			return -EFBIG;
	}
}

static void execute(napi_env env, void *data)
{
	struct run *r = data;
	int fd = open_iterator(r);

	(void)env;
	if (fd < 0) {
		r->error = fd;
		return;
	}
	r->error = read_all(r, fd);
	close(fd);
}

static void complete(napi_env env, napi_status status, void *data)
{
	struct run *r = data;
	int error = status == napi_ok ? r->error : -ECANCELED;

	napi_resolve_deferred(env, r->deferred, error ? ax_number(env, error) : ax_buffer(env, r->out, r->len));
	napi_delete_async_work(env, r->work);
	free(r->out);
	free(r);
}

/*
 * iterRun(linkFd, netnsFd or -1, limit): promise of what the program wrote, or of -errno (EFBIG: more than
 * `limit` bytes). Both descriptors must stay open until then.
 */
napi_value ax_iter_run(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct run *r = calloc(1, sizeof(*r));
	napi_value promise = NULL;

	if (!r || napi_create_promise(env, &r->deferred, &promise) != napi_ok) {
		free(r);
		return ax_throw(env, ENOMEM, "run iterator", "");
	}
	r->link = ax_i32(&a, 0);
	r->netns = ax_i32(&a, 1);
	r->limit = ax_u32(&a, 2);
	if (napi_create_async_work(env, NULL, ax_string(env, "axon:iterator"), execute, complete, r, &r->work) !=
		    napi_ok ||
	    napi_queue_async_work(env, r->work) != napi_ok) {
		napi_resolve_deferred(env, r->deferred, ax_number(env, -ENOMEM));
		free(r);
	}
	return promise;
}
