// SPDX-License-Identifier: Apache-2.0
/*
 * rtnetlink sockets. A request socket does whole transactions (send many, collect every answer) on a pool thread,
 * because the kernel runs requests inside send(2) and may wait there for its rtnl lock; a watch socket is read
 * on the loop when poll says so.
 */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

/* One datagram of a dump is at most 32 KiB; single answers are smaller. */
#define ROOM (64 * 1024)
/* The kernel answers inside send(2); waiting at all is rare, this long is a fault. */
#define ANSWER_TIMEOUT_MS 10000

static int set_option(int fd, int option, int value)
{
	return setsockopt(fd, SOL_NETLINK, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

static int configure(int fd, const uint8_t *groups, size_t count, int buffer)
{
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	int rc;

	/* Best effort: better error text, small acks, filtered dumps, a larger queue. Older kernels lack some. */
	set_option(fd, NETLINK_EXT_ACK, 1);
	set_option(fd, NETLINK_CAP_ACK, 1);
	set_option(fd, NETLINK_GET_STRICT_CHK, 1);
	if (buffer > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) != 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	if (bind(fd, (struct sockaddr *)&self, sizeof(self)) != 0)
		return -errno;
	for (size_t i = 0; i < count; i++) {
		rc = set_option(fd, NETLINK_ADD_MEMBERSHIP, groups[i]);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* rtnlOpen(nsFd | -1, groups: Uint8Array, receiveBuffer): fd | -errno */
static napi_value rtnl_open(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct axon_ns ns;
	uint8_t *groups;
	size_t count;
	int fd, rc, ns_fd, buffer;

	if (!axon_args(env, info, 3, args))
		return NULL;
	ns_fd = axon_int(env, args[0]);
	groups = axon_bytes(env, args[1], &count);
	buffer = axon_int(env, args[2]);
	if (groups == NULL)
		return NULL;
	rc = axon_enter(&ns, ns_fd);
	if (rc != 0)
		return axon_number(env, rc);
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	axon_leave(&ns);
	if (fd < 0)
		return axon_number(env, -errno);
	rc = configure(fd, groups, count, buffer);
	if (rc != 0) {
		close(fd);
		return axon_number(env, rc);
	}
	return axon_number(env, fd);
}

/* One datagram of the kernel's; others' are skipped. Returns its length, or -errno (-EMSGSIZE: cut short). */
static ssize_t receive(int fd, void *buffer, size_t room)
{
	for (;;) {
		struct sockaddr_nl from = { 0 };
		struct iovec part = { buffer, room };
		struct msghdr message = {
			.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1,
		};
		ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);

		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			return -errno;
		if (from.nl_pid != 0)
			continue;
		if (message.msg_flags & MSG_TRUNC)
			return -EMSGSIZE;
		return length;
	}
}

/* rtnlReceive(fd, into: Uint8Array): length | -errno */
static napi_value rtnl_receive(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	size_t room;
	void *into;

	if (!axon_args(env, info, 2, args))
		return NULL;
	into = axon_bytes(env, args[1], &room);
	if (into == NULL)
		return NULL;
	return axon_number(env, (int32_t)receive(axon_int(env, args[0]), into, room));
}

struct transaction {
	struct axon_job job;
	int fd;
	uint32_t first;	 /* sequence number of the first request */
	uint32_t count;	 /* requests, numbered on from it */
	uint8_t *request;
	size_t request_length;
	uint8_t *answer;
	size_t length;
	size_t room;
};

/* How many requests the datagram at `data` ends: an error, an ack, or the end of a dump. */
static uint32_t endings(const struct transaction *t, const uint8_t *data, size_t length)
{
	uint32_t ended = 0;

	while (length >= NLMSG_HDRLEN) {
		struct nlmsghdr header;
		size_t step;

		memcpy(&header, data, sizeof(header));
		step = NLMSG_ALIGN((size_t)header.nlmsg_len);
		if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > length)
			break;
		if ((header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) &&
		    header.nlmsg_seq - t->first < t->count)
			ended++;
		if (step >= length)
			break;
		data += step;
		length -= step;
	}
	return ended;
}

static int wait_readable(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	int ready;

	do {
		ready = poll(&poller, 1, ANSWER_TIMEOUT_MS);
	} while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return -errno;
	return ready == 0 ? -ETIMEDOUT : 0;
}

static int make_room(struct transaction *t)
{
	size_t room = t->room == 0 ? ROOM : t->room * 2;
	uint8_t *grown;

	if (t->room - t->length >= ROOM)
		return 0;
	grown = realloc(t->answer, room + ROOM);
	if (grown == NULL)
		return -ENOMEM;
	t->answer = grown;
	t->room = room + ROOM;
	return 0;
}

static int transact(struct transaction *t)
{
	uint32_t ended = 0;
	ssize_t length;
	int rc;

	do {
		length = send(t->fd, t->request, t->request_length, 0);
	} while (length < 0 && errno == EINTR);
	if (length < 0)
		return -errno;
	while (ended < t->count) {
		rc = make_room(t);
		if (rc != 0)
			return rc;
		length = receive(t->fd, t->answer + t->length, t->room - t->length);
		if (length == -EAGAIN) {
			rc = wait_readable(t->fd);
			if (rc != 0)
				return rc;
			continue;
		}
		if (length < 0)
			return (int)length;
		ended += endings(t, t->answer + t->length, (size_t)length);
		t->length = NLMSG_ALIGN(t->length + (size_t)length);
	}
	return 0;
}

static void transaction_execute(struct axon_job *job)
{
	job->rc = transact((struct transaction *)job);
}

/* Gives [rc, answers]: what came before a failure is given as well. */
static napi_value transaction_finish(napi_env env, struct axon_job *job)
{
	struct transaction *t = (struct transaction *)job;
	napi_value pair, bytes;

	if (napi_create_array_with_length(env, 2, &pair) != napi_ok ||
	    napi_create_buffer_copy(env, t->length, t->length ? (void *)t->answer : "", NULL, &bytes) != napi_ok)
		return NULL;
	napi_set_element(env, pair, 0, axon_number(env, job->rc));
	napi_set_element(env, pair, 1, bytes);
	return pair;
}

static void transaction_release(struct axon_job *job)
{
	struct transaction *t = (struct transaction *)job;

	free(t->request);
	free(t->answer);
	free(t);
}

/* rtnlTransact(fd, requests: Uint8Array, firstSequence, count): Promise<[rc, answers: Buffer]> */
static napi_value rtnl_transact(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct transaction *t;
	size_t length;
	void *request;

	if (!axon_args(env, info, 4, args))
		return NULL;
	request = axon_bytes(env, args[1], &length);
	if (request == NULL)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (t != NULL)
		t->request = malloc(length + 1);
	if (t == NULL || t->request == NULL) {
		free(t);
		napi_throw_error(env, NULL, "out of memory");
		return NULL;
	}
	memcpy(t->request, request, length);
	t->request_length = length;
	t->fd = axon_int(env, args[0]);
	napi_get_value_uint32(env, args[2], &t->first);
	napi_get_value_uint32(env, args[3], &t->count);
	t->job.execute = transaction_execute;
	t->job.finish = transaction_finish;
	t->job.release = transaction_release;
	return axon_run(env, &t->job, "axon:rtnetlink");
}

/* netnsOf(socketFd): a new fd of the namespace the socket lives in | -errno */
static napi_value netns_of(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	int fd;

	if (!axon_args(env, info, 1, args))
		return NULL;
	fd = ioctl(axon_int(env, args[0]), SIOCGSKNS);
	return axon_number(env, fd < 0 ? -errno : fd);
}

void axon_init_rtnl(napi_env env, napi_value exports)
{
	axon_export(env, exports, "rtnlOpen", rtnl_open);
	axon_export(env, exports, "rtnlReceive", rtnl_receive);
	axon_export(env, exports, "rtnlTransact", rtnl_transact);
	axon_export(env, exports, "netnsOf", netns_of);
}
