/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many entries in one call over flat arrays. Where the map type has no batch
 * operation the same call loops here, so that the caller never sees the
 * difference. `state` is a Uint32Array(2): [0] in: room or entries, out: entries
 * done; [1] out: 1 when the walk reached the end.
 */
#include "kernel.h"
#include "module.h"
#include "value.h"

struct batch {
	int fd;
	uint8_t *keys;
	uint8_t *values;
	size_t key_size;
	size_t value_size;
	uint32_t *state;
	uint64_t flags;
};

static bool is_unsupported(int ret)
{
	return ret == -AX_ENOTSUPP || ret == -EOPNOTSUPP;
}

static int one(int cmd, int fd, const void *key, void *value, uint64_t flags)
{
	union ax_bpf_attr attr = { .raw = { 0 } };

	attr.uapi.map_fd = (uint32_t)fd;
	attr.uapi.key = ax_ptr(key);
	attr.uapi.value = ax_ptr(value);
	attr.uapi.flags = flags;
	return ax_bpf(cmd, &attr);
}

static int many(int cmd, struct batch *b, const void *in, void *out)
{
	union ax_bpf_attr attr = { .raw = { 0 } };
	int ret;

	attr.uapi.batch.in_batch = ax_ptr(in);
	attr.uapi.batch.out_batch = ax_ptr(out);
	attr.uapi.batch.keys = ax_ptr(b->keys);
	attr.uapi.batch.values = ax_ptr(b->values);
	attr.uapi.batch.count = b->state[0];
	attr.uapi.batch.map_fd = (uint32_t)b->fd;
	attr.uapi.batch.elem_flags = b->flags;
	ret = ax_bpf(cmd, &attr);
	/* The kernel writes the count back on success and on a failure past its argument checks. */
	b->state[0] = attr.uapi.batch.count;
	return ret;
}

/*
 * Walks by key. `cursor` is the last key returned; its first use is marked by
 * `first`. A deleted cursor makes the kernel start again at the first key, so
 * taking entries always asks for the first one.
 */
static int walk(struct batch *b, uint8_t *cursor, bool first, bool take)
{
	uint32_t room = b->state[0], n = 0;
	int ret = 0;

	b->state[0] = 0;
	while (n < room) {
		uint8_t *key = b->keys + n * b->key_size;

		ret = one(BPF_MAP_GET_NEXT_KEY, b->fd, first || take ? NULL : cursor, key, 0);
		if (ret)
			break;
		memcpy(cursor, key, b->key_size);
		first = false;
		ret = one(BPF_MAP_LOOKUP_ELEM, b->fd, key, b->values + n * b->value_size, 0);
		if (!ret && take)
			ret = one(BPF_MAP_DELETE_ELEM, b->fd, key, NULL, 0);
		if (ret == -ENOENT) /* gone since the key was read */
			continue;
		if (ret)
			break;
		n++;
	}
	b->state[0] = n;
	b->state[1] = ret == -ENOENT;
	return ret == -ENOENT ? 0 : ret;
}

/* mapLookupBatch(fd, cursor, first, keys, values, state, keySize, valueSize, take): 0 or -errno */
napi_value ax_map_lookup_batch(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	bool first = ax_bool(&a, 2), take = ax_bool(&a, 8);
	int cmd = take ? BPF_MAP_LOOKUP_AND_DELETE_BATCH : BPF_MAP_LOOKUP_BATCH;
	struct batch b = { .fd = ax_i32(&a, 0), .key_size = ax_u32(&a, 6), .value_size = ax_u32(&a, 7) };
	uint8_t next[512];
	uint8_t *cursor;
	size_t cursor_len, len;
	uint32_t room;
	int ret;

	cursor = ax_bytes(&a, 1, &cursor_len);
	b.keys = ax_bytes(&a, 3, &len);
	b.values = ax_bytes(&a, 4, &len);
	b.state = ax_bytes(&a, 5, &len);
	if (!cursor || !b.state || cursor_len > sizeof(next) || cursor_len < b.key_size)
		return ax_number(env, -EINVAL);
	room = b.state[0];
	b.state[1] = 0;
	ret = many(cmd, &b, first ? NULL : cursor, next);
	if (is_unsupported(ret)) {
		b.state[0] = room;
		return ax_number(env, walk(&b, cursor, first, take));
	}
	if (ret == -ENOENT) { /* the end; what was found is valid */
		b.state[1] = 1;
		return ax_number(env, 0);
	}
	if (!ret)
		memcpy(cursor, next, cursor_len);
	return ax_number(env, ret);
}

static int loop(int cmd, struct batch *b)
{
	uint32_t count = b->state[0], i;
	int ret = 0;

	for (i = 0; i < count && !ret; i++) {
		void *value = b->values ? b->values + i * b->value_size : NULL;

		ret = one(cmd, b->fd, b->keys + i * b->key_size, value, b->flags);
	}
	b->state[0] = ret ? i - 1 : count;
	return ret;
}

static napi_value write_batch(napi_env env, napi_callback_info info, int cmd, int single)
{
	struct ax_args a = ax_args_get(env, info);
	struct batch b = { .fd = ax_i32(&a, 0), .key_size = ax_u32(&a, 4), .value_size = ax_u32(&a, 5),
			   .flags = ax_u64(&a, 6) };
	uint32_t count;
	size_t len;
	int ret;

	b.keys = ax_bytes(&a, 1, &len);
	b.values = ax_bytes(&a, 2, &len);
	b.state = ax_bytes(&a, 3, &len);
	if (!b.keys || !b.state)
		return ax_number(env, -EINVAL);
	count = b.state[0];
	ret = many(cmd, &b, NULL, NULL);
	/* Per-entry flags other than BPF_F_LOCK are refused by the batch command, not by the single one. */
	if (is_unsupported(ret) || (ret == -EINVAL && b.flags)) {
		b.state[0] = count;
		ret = loop(single, &b);
	}
	return ax_number(env, ret);
}

/* mapUpdateBatch(fd, keys, values, state, keySize, valueSize, flags): 0 or -errno */
napi_value ax_map_update_batch(napi_env env, napi_callback_info info)
{
	return write_batch(env, info, BPF_MAP_UPDATE_BATCH, BPF_MAP_UPDATE_ELEM);
}

/* mapDeleteBatch(fd, keys, null, state, keySize): 0 or -errno, state[0] = entries before the failure */
napi_value ax_map_delete_batch(napi_env env, napi_callback_info info)
{
	return write_batch(env, info, BPF_MAP_DELETE_BATCH, BPF_MAP_DELETE_ELEM);
}

/* mapBatchProbe(fd): 0 when the kernel has a batch look-up for this map (key 8, value 4 bytes), else -errno */
napi_value ax_map_batch_probe(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	uint8_t key[8], value[8], next[8];
	uint32_t state[2] = { 1, 0 };
	struct batch b = { .fd = ax_i32(&a, 0), .keys = key, .values = value, .state = state };
	int ret = many(BPF_MAP_LOOKUP_BATCH, &b, NULL, next);

	return ax_number(env, ret == -ENOENT ? 0 : ret);
}
