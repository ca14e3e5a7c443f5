// SPDX-License-Identifier: Apache-2.0
/*
 * UDP by the batch: one call reads what many sockets hold, one call sends what was made of it. A call of Node's own
 * dgram costs more than the kernel's work for the datagram.
 *
 * A message is described by AXON_DG_WORDS 32-bit words: 0 tag of the socket (received) or its descriptor (to be sent),
 * 1 port, 2 offset of the payload in the buffer, 3 its length, 4..7 the peer's address (16 bytes, IPv4 v4-mapped),
 * 8 errno of its sending, 9 SO_MARK it is sent with.
 */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define AXON_DG_WORDS 10
#define BATCH 64
#define FROM_ONE 32 /* datagrams of a socket before the next one has its turn */

static const uint8_t V4_MAPPED[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static uint32_t *words_of(napi_env env, napi_value value, size_t *messages)
{
	napi_typedarray_type type;
	void *data = NULL;
	size_t length = 0;

	if (napi_get_typedarray_info(env, value, &type, &length, &data, NULL, NULL) == napi_ok &&
	    type == napi_uint32_array) {
		*messages = length / AXON_DG_WORDS;
		return data;
	}
	napi_throw_type_error(env, NULL, "a native netlink call wants a Uint32Array here");
	return NULL;
}

static socklen_t to_sockaddr(struct sockaddr_storage *into, const uint32_t *words)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)into;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)into;
	const uint8_t *ip = (const uint8_t *)&words[4];

	if (memcmp(ip, V4_MAPPED, sizeof(V4_MAPPED)) == 0) {
		memset(v4, 0, sizeof(*v4));
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)words[1]);
		memcpy(&v4->sin_addr, ip + 12, 4);
		return sizeof(*v4);
	}
	memset(v6, 0, sizeof(*v6));
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)words[1]);
	memcpy(&v6->sin6_addr, ip, 16);
	return sizeof(*v6);
}

static void from_sockaddr(uint32_t *words, const struct sockaddr_storage *from)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
	uint8_t *ip = (uint8_t *)&words[4];

	if (from->ss_family == AF_INET) {
		memcpy(ip, V4_MAPPED, sizeof(V4_MAPPED));
		memcpy(ip + 12, &v4->sin_addr, 4);
		words[1] = ntohs(v4->sin_port);
	} else {
		memcpy(ip, &v6->sin6_addr, 16);
		words[1] = ntohs(v6->sin6_port);
	}
}

/* datagramSet(): descriptor of an empty set | -errno. pollStart on it tells when any of its sockets can be read. */
static napi_value datagram_set(napi_env env, napi_callback_info info)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	(void)info;
	return axon_number(env, fd < 0 ? -errno : fd);
}

/* datagramSetAdd(set, fd, tag): 0 | -errno. A closed socket leaves by itself, unless another process has it too. */
static napi_value datagram_set_add(napi_env env, napi_callback_info info)
{
	struct epoll_event event = { .events = EPOLLIN };
	napi_value args[AXON_MAX_ARGS];

	if (!axon_args(env, info, 3, args))
		return NULL;
	event.data.u32 = (uint32_t)axon_int(env, args[2]);
	event.data.u64 |= (uint64_t)(uint32_t)axon_int(env, args[1]) << 32;
	if (epoll_ctl(axon_int(env, args[0]), EPOLL_CTL_ADD, axon_int(env, args[1]), &event) != 0)
		return axon_number(env, -errno);
	return axon_number(env, 0);
}

/* datagramSetRemove(set, fd): 0 | -errno */
static napi_value datagram_set_remove(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];

	if (!axon_args(env, info, 2, args))
		return NULL;
	if (epoll_ctl(axon_int(env, args[0]), EPOLL_CTL_DEL, axon_int(env, args[1]), NULL) != 0)
		return axon_number(env, -errno);
	return axon_number(env, 0);
}

/* What one socket holds, up to `room` messages: how many. Errors of the socket (an ICMP message came) are read away. */
static size_t receive_from(int fd, uint32_t tag, uint8_t *buffer, size_t slot, uint32_t *words, size_t first, size_t room)
{
	struct sockaddr_storage peers[FROM_ONE];
	struct mmsghdr messages[FROM_ONE];
	struct iovec vectors[FROM_ONE];
	int count;

	if (room > FROM_ONE)
		room = FROM_ONE;
	for (size_t i = 0; i < room; i++) {
		vectors[i] = (struct iovec){ buffer + (first + i) * slot, slot };
		messages[i].msg_hdr = (struct msghdr){ .msg_name = &peers[i], .msg_namelen = sizeof(peers[i]),
						       .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
	count = recvmmsg(fd, messages, (unsigned int)room, MSG_DONTWAIT, NULL);
	if (count < 0)
		return 0;
	for (int i = 0; i < count; i++) {
		uint32_t *w = words + (first + (size_t)i) * AXON_DG_WORDS;

		w[0] = tag;
		from_sockaddr(w, &peers[i]);
		w[2] = (uint32_t)((first + (size_t)i) * slot);
		w[3] = messages[i].msg_len;
		w[8] = 0;
		w[9] = 0;
	}
	return (size_t)count;
}

/* datagramReceive(set, buffer, words, slot): how many messages, each in a slot of the buffer | -errno */
static napi_value datagram_receive(napi_env env, napi_callback_info info)
{
	size_t length = 0, room = 0, slot, taken = 0;
	struct epoll_event events[BATCH];
	napi_value args[AXON_MAX_ARGS];
	uint32_t *words;
	uint8_t *buffer;
	int ready;

	if (!axon_args(env, info, 4, args))
		return NULL;
	buffer = axon_bytes(env, args[1], &length);
	words = words_of(env, args[2], &room);
	slot = (size_t)axon_int(env, args[3]);
	if (buffer == NULL || words == NULL || slot == 0)
		return NULL;
	if (room > length / slot)
		room = length / slot;
	ready = epoll_wait(axon_int(env, args[0]), events, BATCH, 0);
	if (ready < 0)
		return axon_number(env, errno == EINTR ? 0 : -errno);
	for (int i = 0; i < ready && taken < room; i++) {
		taken += receive_from((int)(events[i].data.u64 >> 32), (uint32_t)events[i].data.u64, buffer, slot, words,
				      taken, room - taken);
	}
	return axon_number(env, (int32_t)taken);
}

/* Room for the one control message that a datagram may have. */
union mark {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(uint32_t))];
};

static void put_mark(struct msghdr *message, union mark *room, uint32_t mark)
{
	struct cmsghdr *header;

	if (mark == 0)
		return;
	memset(room, 0, sizeof(*room));
	message->msg_control = room->bytes;
	message->msg_controllen = sizeof(room->bytes);
	header = CMSG_FIRSTHDR(message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SO_MARK;
	header->cmsg_len = CMSG_LEN(sizeof(mark));
	memcpy(CMSG_DATA(header), &mark, sizeof(mark));
}

/* Messages that go out of one socket, in one call as far as the kernel takes them. */
static void send_run(uint8_t *buffer, uint32_t *words, size_t count)
{
	struct sockaddr_storage peers[BATCH];
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	union mark marks[BATCH];
	size_t done = 0;

	for (size_t i = 0; i < count; i++) {
		uint32_t *w = words + i * AXON_DG_WORDS;

		vectors[i] = (struct iovec){ buffer + w[2], w[3] };
		messages[i].msg_hdr = (struct msghdr){ .msg_name = &peers[i], .msg_namelen = to_sockaddr(&peers[i], w),
						       .msg_iov = &vectors[i], .msg_iovlen = 1 };
		put_mark(&messages[i].msg_hdr, &marks[i], w[9]);
	}
	while (done < count) {
		int sent = sendmmsg((int)words[done * AXON_DG_WORDS], messages + done, (unsigned int)(count - done),
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0) {
			done += (size_t)sent;
			continue;
		}
		words[done * AXON_DG_WORDS + 8] = (uint32_t)errno;
		done++;
	}
}

/* datagramSend(buffer, words, count): how many the kernel refused; word 8 of those is the errno */
static napi_value datagram_send(napi_env env, napi_callback_info info)
{
	size_t length = 0, room = 0, count, failed = 0;
	napi_value args[AXON_MAX_ARGS];
	uint32_t *words;
	uint8_t *buffer;

	if (!axon_args(env, info, 3, args))
		return NULL;
	buffer = axon_bytes(env, args[0], &length);
	words = words_of(env, args[1], &room);
	count = (size_t)axon_int(env, args[2]);
	if (buffer == NULL || words == NULL || count > room)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		uint32_t *w = words + i * AXON_DG_WORDS;

		w[8] = 0;
		if (w[2] > length || w[3] > length - w[2]) {
			napi_throw_range_error(env, NULL, "a datagram outside of its buffer");
			return NULL;
		}
	}
	for (size_t at = 0; at < count;) {
		size_t run = 1;

		while (at + run < count && run < BATCH &&
		       words[(at + run) * AXON_DG_WORDS] == words[at * AXON_DG_WORDS])
			run++;
		send_run(buffer, words + at * AXON_DG_WORDS, run);
		at += run;
	}
	for (size_t i = 0; i < count; i++)
		failed += words[i * AXON_DG_WORDS + 8] != 0;
	return axon_number(env, (int32_t)failed);
}

/* socketBuffer(fd, bytes): the receive buffer, beyond the system's limit where root may. 0 | -errno */
static napi_value socket_buffer(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	int fd, bytes;

	if (!axon_args(env, info, 2, args))
		return NULL;
	fd = axon_int(env, args[0]);
	bytes = axon_int(env, args[1]);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) != 0)
		return axon_number(env, -errno);
	return axon_number(env, 0);
}

/* socketMark(fd, mark): SO_MARK of all it sends. 0 | -errno */
static napi_value socket_mark(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	uint32_t mark;

	if (!axon_args(env, info, 2, args))
		return NULL;
	mark = (uint32_t)axon_int(env, args[1]);
	if (setsockopt(axon_int(env, args[0]), SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0)
		return axon_number(env, -errno);
	return axon_number(env, 0);
}

void axon_init_datagram(napi_env env, napi_value exports)
{
	axon_export(env, exports, "datagramSet", datagram_set);
	axon_export(env, exports, "datagramSetAdd", datagram_set_add);
	axon_export(env, exports, "datagramSetRemove", datagram_set_remove);
	axon_export(env, exports, "datagramReceive", datagram_receive);
	axon_export(env, exports, "datagramSend", datagram_send);
	axon_export(env, exports, "socketBuffer", socket_buffer);
	axon_export(env, exports, "socketMark", socket_mark);
}
