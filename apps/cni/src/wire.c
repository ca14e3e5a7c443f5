// SPDX-License-Identifier: Apache-2.0
/* The exchange with the agent. */
#define _GNU_SOURCE
#include "plugin.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_ANSWER (4u << 20)

char *bytes_extend(struct bytes *bytes, size_t more)
{
	size_t need = bytes->length + more;

	if (need < more || need > bytes->limit)
		return NULL;
	if (need > bytes->room || bytes->data == NULL) {
		size_t room = need < 4096 ? 4096 : need * 2;
		char *grown = realloc(bytes->data, room);

		if (grown == NULL)
			return NULL;
		bytes->data = grown;
		bytes->room = room;
	}
	return bytes->data + bytes->length;
}

bool bytes_add(struct bytes *bytes, const void *data, size_t length)
{
	char *into = bytes_extend(bytes, length);

	if (into == NULL)
		return false;
	memcpy(into, data, length);
	bytes->length += length;
	return true;
}

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool build_request(struct bytes *request, char **environment, const struct bytes *input)
{
	unsigned char size[4] = { 0 };
	bool fits = bytes_add(request, size, sizeof(size));

	for (char **variable = environment; fits && *variable; variable++) {
		if (strncmp(*variable, "CNI_", 4) == 0)
			fits = bytes_add(request, *variable, strlen(*variable) + 1);
	}
	fits = fits && bytes_add(request, "", 1) && bytes_add(request, input->length ? input->data : "", input->length);
	if (!fits)
		return false;
	for (int i = 0; i < 4; i++)
		request->data[i] = (char)((request->length - 4) >> (8 * i));
	return true;
}

/* Waits for `events`; false once the deadline has passed. */
static bool wait_for(int fd, short events, int64_t deadline)
{
	for (;;) {
		struct pollfd poller = { .fd = fd, .events = events };
		int64_t left = deadline - now_ms();

		if (left <= 0)
			return false;
		if (poll(&poller, 1, left > 3600000 ? 3600000 : (int)left) > 0)
			return true;
	}
}

/* A connected socket, or -1: then nobody listens, or the queue of those who wait is full. */
static int dial(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path) - 1));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

void pause_before_retry(void)
{
	struct timespec pause = { .tv_nsec = RETRY_MS * 1000000L };

	nanosleep(&pause, NULL);
}

static int dial_until(const char *path, int64_t deadline)
{
	for (;;) {
		int fd = dial(path);

		if (fd >= 0)
			return fd;
		if (now_ms() + RETRY_MS > deadline)
			return -1;
		pause_before_retry();
	}
}

static enum outcome send_all(int fd, const struct bytes *request, int64_t deadline)
{
	size_t sent = 0;

	while (sent < request->length) {
		ssize_t count = send(fd, request->data + sent, request->length - sent, MSG_NOSIGNAL);

		if (count > 0)
			sent += (size_t)count;
		else if (errno == EAGAIN && !wait_for(fd, POLLOUT, deadline))
			return AGENT_SLOW;
		else if (errno != EAGAIN && errno != EINTR)
			return AGENT_DIED;
	}
	return ANSWERED;
}

static enum outcome receive_exactly(int fd, char *into, size_t length, int64_t deadline)
{
	size_t got = 0;

	while (got < length) {
		ssize_t count = recv(fd, into + got, length - got, 0);

		if (count > 0)
			got += (size_t)count;
		else if (count == 0)
			return AGENT_DIED;
		else if (errno == EAGAIN && !wait_for(fd, POLLIN, deadline))
			return AGENT_SLOW;
		else if (errno != EAGAIN && errno != EINTR)
			return AGENT_DIED;
	}
	return ANSWERED;
}

static uint32_t read_u32(const unsigned char *from)
{
	return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static enum outcome receive_answer(int fd, int64_t deadline, struct bytes *answer, uint32_t *exit_code)
{
	unsigned char head[8];
	enum outcome outcome = receive_exactly(fd, (char *)head, sizeof(head), deadline);
	uint32_t length;
	char *into;

	if (outcome != ANSWERED)
		return outcome;
	*exit_code = read_u32(head);
	length = read_u32(head + 4);
	answer->limit = MAX_ANSWER;
	into = bytes_extend(answer, length);
	if (into == NULL)
		return ANSWER_BAD;
	outcome = receive_exactly(fd, into, length, deadline);
	if (outcome == ANSWERED)
		answer->length = length;
	return outcome;
}

enum outcome exchange(const char *socket_path, const struct bytes *request, struct patience until,
		      struct bytes *answer, uint32_t *exit_code)
{
	int fd = dial_until(socket_path, until.dial);
	enum outcome outcome;

	if (fd < 0)
		return AGENT_AWAY;
	outcome = send_all(fd, request, until.answer);
	if (outcome == ANSWERED)
		outcome = receive_answer(fd, until.answer, answer, exit_code);
	close(fd);
	return outcome;
}
