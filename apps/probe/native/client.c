/* SPDX-License-Identifier: Apache-2.0 */
/* Clients of one connection: tcp, udp, hold, http. */
#define _GNU_SOURCE
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool wait_for(int fd, short events, long deadline)
{
	struct pollfd wait = { .fd = fd, .events = events };
	long left = deadline - now_ms();

	while (left > 0) {
		if (poll(&wait, 1, (int)left) > 0)
			return true;
		left = deadline - now_ms();
	}
	errno = ETIMEDOUT;
	return false;
}

static bool bind_source(int fd, const struct target *to, const struct options *o)
{
	struct target from = { .addr.ss_family = to->addr.ss_family, .len = to->len };
	int one = 1;

	if (o->source == NULL && o->source_port == 0)
		return true;
	if (o->source != NULL && !resolve(o->source, "0", &from)) {
		errno = EINVAL;
		return false;
	}
	if (o->source_port > 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	else
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	/* sin_port and sin6_port are at the same place. */
	((struct sockaddr_in *)&from.addr)->sin_port = htons(o->source_port);
	return bind(fd, (struct sockaddr *)&from.addr, from.len) == 0;
}

int bound_socket(const struct target *to, int type, const struct options *o)
{
	int fd = socket(to->addr.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error;

	if (fd < 0 || bind_source(fd, to, o))
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

int begin_client(const struct target *to, int type, const struct options *o)
{
	int fd = bound_socket(to, type, o);
	int error;

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&to->addr, to->len) == 0 || errno == EINPROGRESS)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

int open_client(const struct target *to, int type, const struct options *o)
{
	int fd = begin_client(to, type, o);
	int error = 0;
	socklen_t size = sizeof(error);

	if (fd < 0)
		return -1;
	if (!wait_for(fd, POLLOUT, now_ms() + o->timeout_ms))
		error = errno;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

ssize_t ask(int fd, char *answer, size_t size, int timeout_ms)
{
	ssize_t got;

	if (send(fd, "hello\n", 6, MSG_NOSIGNAL) != 6)
		return -1;
	if (!wait_for(fd, POLLIN, now_ms() + timeout_ms))
		return -1;
	got = read(fd, answer, size - 1);
	if (got == 0)
		errno = ECONNRESET;
	if (got > 0)
		answer[got] = '\0';
	return got > 0 ? got : -1;
}

static bool read_all(int fd, char *into, size_t size, long deadline, size_t *got)
{
	while (*got < size) {
		ssize_t count;

		if (!wait_for(fd, POLLIN, deadline))
			return false;
		count = read(fd, into + *got, size - *got);
		if (count == 0)
			errno = ECONNRESET;
		if (count <= 0 && errno != EAGAIN)
			return false;
		*got += count > 0 ? (size_t)count : 0;
	}
	return true;
}

/* Sends `size` bytes, a line or a datagram, and wants as many back. */
static int ask_large(int fd, int type, const struct options *o)
{
	static char data[LARGEST];
	long deadline = now_ms() + o->timeout_ms;
	size_t size = (size_t)o->size, sent = 0, got = 0;

	memset(data, '.', size);
	data[size - 1] = '\n';
	while (sent < size) {
		ssize_t count = send(fd, data + sent, size - sent, MSG_NOSIGNAL);

		if (count > 0)
			sent += (size_t)count;
		else if (errno != EAGAIN || !wait_for(fd, POLLOUT, deadline))
			return -1;
	}
	memset(data, 0, size);
	if (type == SOCK_DGRAM) {
		ssize_t count = wait_for(fd, POLLIN, deadline) ? read(fd, data, sizeof(data)) : -1;

		if (count < 0)
			return -1;
		got = (size_t)count;
	} else if (!read_all(fd, data, size, deadline, &got)) {
		return -1;
	}
	printf("%zu bytes\n", got);
	return 0;
}

int question(const struct target *to, const char *host, int type, const struct options *o)
{
	char answer[LINE];

	for (int i = 0; i < o->count; i++) {
		int fd = open_client(to, type, o);

		if (o->size > 0) {
			if (fd < 0 || ask_large(fd, type, o) < 0)
				return fail(host);
			close(fd);
			continue;
		}
		if (fd < 0 || ask(fd, answer, sizeof(answer), o->timeout_ms) < 0)
			return fail(host);
		fputs(answer, stdout);
		close(fd);
	}
	return EXIT_ANSWERED;
}

int hold(const struct target *to, const char *host, const struct options *o)
{
	char answer[LINE];
	long end = now_ms() + o->duration_ms;
	int answers = 0;
	int fd = open_client(to, SOCK_STREAM, o);

	if (fd < 0)
		return fail(host);
	end_on_term();
	puts("connected");
	fflush(stdout);
	while (now_ms() < end && !told_to_end()) {
		if (ask(fd, answer, sizeof(answer), o->timeout_ms) < 0) {
			fprintf(stderr, "axon-probe: after %d answers\n", answers);
			return fail(host);
		}
		if (answers++ == 0) {
			fputs(answer, stdout);
			fflush(stdout);
		}
		poll(NULL, 0, o->every_ms);
	}
	printf("%d answers\n", answers);
	return EXIT_ANSWERED;
}

/* GET /: prints the whole answer. */
int http(const struct target *to, const char *host, const struct options *o)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";
	static char answer[DATAGRAM];
	size_t got = 0;
	int fd = open_client(to, SOCK_STREAM, o);

	if (fd < 0 || send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		return fail(host);
	/* The server's end of the connection is the end of the answer. */
	if (!read_all(fd, answer, sizeof(answer) - 1, now_ms() + o->timeout_ms, &got) && got == 0)
		return fail(host);
	fputs(answer, stdout);
	return EXIT_ANSWERED;
}
