/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer side of a BPF ring buffer (Documentation/bpf/ringbuf.rst): one
 * writable page with the consumer position, one read-only page with the
 * producer position, then the data mapped twice in a row, so that a record
 * never wraps. A record is an 8-byte header (length with BUSY and DISCARD
 * bits, page offset) and the sample, padded to 8 bytes.
 *
 * Waiting: one uv_poll, armed for one wake-up. It is stopped as it fires, so a
 * reader that does not drain at once costs no CPU; arming again fires at once
 * when data is there, so no wake-up is lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

#include "kernel.h"
#include "module.h"
#include "value.h"

struct ring {
	uv_poll_t poll; /* first: uv hands back a pointer to it */
	napi_env env;
	napi_ref wake;
	napi_async_context context;
	napi_async_cleanup_hook_handle cleanup;
	unsigned long *consumer;
	unsigned long *producer;
	uint8_t *data;
	size_t page;
	size_t mask;
	int fd;
	bool watching; /* the uv handle is initialised and not closed */
	bool external; /* JavaScript still holds the handle */
};

/* The struct itself lives until uv and JavaScript have let go of it. */
static void unmap(struct ring *r)
{
	if (r->consumer)
		munmap(r->consumer, r->page);
	if (r->producer)
		munmap(r->producer, r->page + 2 * (r->mask + 1));
	r->consumer = NULL;
	r->producer = NULL;
}

static void free_when_unused(struct ring *r)
{
	if (!r->watching && !r->external)
		free(r);
}

static void poll_closed(uv_handle_t *handle)
{
	struct ring *r = (struct ring *)handle;

	r->watching = false;
	if (r->cleanup)
		napi_remove_async_cleanup_hook(r->cleanup);
	r->cleanup = NULL;
	free_when_unused(r);
}

static void ring_close(struct ring *r)
{
	if (r->wake) {
		napi_delete_reference(r->env, r->wake);
		napi_async_destroy(r->env, r->context);
		r->wake = NULL;
	}
	unmap(r);
	if (r->watching && !uv_is_closing((uv_handle_t *)&r->poll)) {
		uv_poll_stop(&r->poll);
		uv_close((uv_handle_t *)&r->poll, poll_closed);
	}
}

/* The environment ends (a worker, mostly): it waits until poll_closed has taken the hook away. */
static void env_ends(napi_async_cleanup_hook_handle handle, void *data)
{
	(void)handle;
	ring_close(data);
}

static void finalize_ring(napi_env env, void *data, void *hint)
{
	struct ring *r = data;

	(void)env;
	(void)hint;
	r->external = false;
	ring_close(r);
	free_when_unused(r);
}

/* ringOpen(fd, bytes): handle or -errno; fd stays the caller's, who closes it after ringClose */
napi_value ax_ring_open(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ring *r = calloc(1, sizeof(*r));
	size_t size = ax_u32(&a, 1);
	napi_value handle = NULL;
	void *p;

	if (!r)
		return ax_number(env, -ENOMEM);
	r->env = env;
	r->fd = ax_i32(&a, 0);
	r->page = (size_t)sysconf(_SC_PAGESIZE);
	r->mask = size - 1;
	p = mmap(NULL, r->page, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (p == MAP_FAILED)
		goto fail;
	r->consumer = p;
	p = mmap(NULL, r->page + 2 * size, PROT_READ, MAP_SHARED, r->fd, (off_t)r->page);
	if (p == MAP_FAILED)
		goto fail;
	r->producer = p;
	r->data = (uint8_t *)p + r->page;
	r->external = true;
	napi_create_external(env, r, finalize_ring, NULL, &handle);
	return handle;
fail:
	{
		int err = errno;

		unmap(r);
		free(r);
		return ax_number(env, -err);
	}
}

struct sink {
	uint8_t *out;
	size_t room;
	uint32_t *spans; /* offset, length pairs; NULL: packed */
	uint32_t max;
	uint32_t stride; /* packed: the only length accepted */
	uint32_t records;
	uint32_t bytes;
	uint32_t skipped; /* packed: records of another length */
};

/* True when the record was taken (or skipped) and the consumer may move on. */
static bool take(struct sink *s, const uint8_t *sample, uint32_t len)
{
	if (s->stride && len != s->stride) {
		s->skipped++;
		return true;
	}
	if (s->records == s->max || len > s->room - s->bytes)
		return false;
	memcpy(s->out + s->bytes, sample, len);
	if (s->spans) {
		s->spans[2 * s->records] = s->bytes;
		s->spans[2 * s->records + 1] = len;
	}
	s->bytes += s->spans ? (len + 7u) & ~7u : len;
	if (s->bytes > s->room)
		s->bytes = (uint32_t)s->room;
	s->records++;
	return true;
}

static void drain(struct ring *r, struct sink *s)
{
	unsigned long at = __atomic_load_n(r->consumer, __ATOMIC_RELAXED);
	unsigned long end = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);

	while (at < end) {
		const uint8_t *record = r->data + (at & r->mask);
		uint32_t header = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
		uint32_t len = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		if (header & BPF_RINGBUF_BUSY_BIT)
			break;
		if (!(header & BPF_RINGBUF_DISCARD_BIT) && !take(s, record + BPF_RINGBUF_HDR_SZ, len))
			break;
		at += (len + BPF_RINGBUF_HDR_SZ + 7ul) & ~7ul;
	}
	/* One store for the batch: producers see the room at once. */
	__atomic_store_n(r->consumer, at, __ATOMIC_RELEASE);
}

/*
 * ringDrain(handle, out, spans or null, max, stride, state): records or -errno
 * state is a Uint32Array(2), out: bytes written, records skipped for their length.
 */
napi_value ax_ring_drain(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ring *r = ax_external(&a, 0);
	struct sink s = { .max = ax_u32(&a, 3), .stride = ax_u32(&a, 4) };
	uint32_t *state;
	size_t len;

	s.out = ax_bytes(&a, 1, &s.room);
	s.spans = ax_bytes(&a, 2, &len);
	if (s.spans && len / 8 < s.max)
		s.max = (uint32_t)(len / 8);
	state = ax_bytes(&a, 5, &len);
	if (!r || !r->consumer)
		return ax_number(env, -EBADF);
	if (!s.out || !state || len < 8)
		return ax_number(env, -EINVAL);
	drain(r, &s);
	state[0] = s.bytes;
	state[1] = s.skipped;
	return ax_number(env, s.records);
}

/* ringPending(handle): bytes between consumer and producer, headers included */
napi_value ax_ring_pending(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ring *r = ax_external(&a, 0);

	if (!r || !r->consumer)
		return ax_number(env, -EBADF);
	return ax_number(env, (double)(__atomic_load_n(r->producer, __ATOMIC_ACQUIRE) -
				       __atomic_load_n(r->consumer, __ATOMIC_RELAXED)));
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct ring *r = (struct ring *)poll;
	napi_handle_scope scope;
	napi_value fn = NULL, self = NULL, arg, result;

	(void)events;
	uv_poll_stop(poll);
	if (napi_open_handle_scope(r->env, &scope) != napi_ok)
		return;
	napi_get_reference_value(r->env, r->wake, &fn);
	napi_get_global(r->env, &self);
	arg = ax_number(r->env, status);
	if (fn && napi_make_callback(r->env, r->context, self, fn, 1, &arg, &result) == napi_pending_exception) {
		napi_value error = NULL;

		napi_get_and_clear_last_exception(r->env, &error);
		napi_fatal_exception(r->env, error);
	}
	napi_close_handle_scope(r->env, scope);
}

/* ringWatch(handle, wake): 0 or -errno; wake(status) is called once per ringArm */
napi_value ax_ring_watch(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ring *r = ax_external(&a, 0);
	uv_loop_t *loop = NULL;
	int ret;

	if (!r || !r->consumer)
		return ax_number(env, -EBADF);
	if (r->watching)
		return ax_number(env, -EBUSY);
	if (napi_get_uv_event_loop(env, &loop) != napi_ok)
		return ax_number(env, -ENOSYS);
	ret = uv_poll_init(loop, &r->poll, r->fd);
	if (ret)
		return ax_number(env, ret);
	r->watching = true;
	napi_create_reference(env, a.v[1], 1, &r->wake);
	napi_async_init(env, NULL, ax_string(env, "axon_ringbuf"), &r->context);
	napi_add_async_cleanup_hook(env, env_ends, r, &r->cleanup);
	return ax_number(env, 0);
}

/* ringArm(handle): 0 or -errno; the next data (or data already there) wakes once */
napi_value ax_ring_arm(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ring *r = ax_external(&a, 0);

	if (!r || !r->watching || !r->wake)
		return ax_number(env, -EBADF);
	return ax_number(env, uv_poll_start(&r->poll, UV_READABLE, on_readable));
}

/* ringRef(handle, keepAlive): whether waiting keeps the process alive */
napi_value ax_ring_ref(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ring *r = ax_external(&a, 0);

	if (!r || !r->watching)
		return ax_number(env, -EBADF);
	if (ax_bool(&a, 1))
		uv_ref((uv_handle_t *)&r->poll);
	else
		uv_unref((uv_handle_t *)&r->poll);
	return ax_number(env, 0);
}

/* ringClose(handle) */
napi_value ax_ring_close(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	struct ring *r = ax_external(&a, 0);

	if (r)
		ring_close(r);
	return ax_number(env, 0);
}
