/* SPDX-License-Identifier: Apache-2.0 */
/* A server on TCP and UDP that says who it is and whom it sees. */
#define _GNU_SOURCE
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

enum kind { CLOSED = 0, LISTENER, DATAGRAMS, CLIENT };

/* By descriptor: what it is, and the bytes of a client's line that has not ended yet. */
static unsigned char kinds[MAX_FDS];
static size_t asked[MAX_FDS];

static int listen_on(int port, int type)
{
	struct sockaddr_in6 addr = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any };
	int one = 1, zero = 0;
	int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	/* A datagram must be answered from the address it was sent to. */
	if (type == SOCK_DGRAM)
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || (type == SOCK_STREAM && listen(fd, 4096) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int answer_text(char *out, const char *name, const struct sockaddr_in6 *peer)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, &peer->sin6_addr, text, sizeof(text));
	if (IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr))
		memmove(text, text + 7, strlen(text + 7) + 1);
	return snprintf(out, LINE, "%s sees %s\n", name, text);
}

static void answer_datagram(int fd, const char *name)
{
	static char data[DATAGRAM], out[DATAGRAM];
	char control[256];
	struct sockaddr_in6 peer;
	ssize_t got;
	int said;
	struct iovec iov = { data, sizeof(data) };
	struct msghdr msg = { .msg_name = &peer, .msg_namelen = sizeof(peer), .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = control, .msg_controllen = sizeof(control) };

	got = recvmsg(fd, &msg, 0);
	if (got < 0)
		return;
	said = answer_text(out, name, &peer);
	if (got > said)
		memset(out + said, '.', (size_t)(got - said));
	iov.iov_base = out;
	iov.iov_len = (size_t)(got > said ? got : said);
	/* The received packet info, sent back, makes the destination our source. */
	(void)sendmsg(fd, &msg, 0);
}

static bool write_all(int fd, const char *data, size_t left)
{
	while (left > 0) {
		ssize_t count = send(fd, data, left, MSG_NOSIGNAL);

		if (count <= 0)
			return false;
		data += count;
		left -= (size_t)count;
	}
	return true;
}

/* An answer is at least as long as its question: dots go before the text, which ends the line. */
static bool answer_line(int fd, const char *name, const struct sockaddr_in6 *peer, size_t length)
{
	static char dots[DATAGRAM];
	char out[LINE];
	size_t said = (size_t)answer_text(out, name, peer);

	if (dots[0] == '\0')
		memset(dots, '.', sizeof(dots));
	while (length > said) {
		size_t part = length - said < sizeof(dots) ? length - said : sizeof(dots);

		if (!write_all(fd, dots, part))
			return false;
		length -= part;
	}
	return write_all(fd, out, said);
}

static void answer_client(int fd, const char *name)
{
	static char data[DATAGRAM];
	struct sockaddr_in6 peer;
	socklen_t len = sizeof(peer);
	ssize_t got = read(fd, data, sizeof(data));

	if (got <= 0 || getpeername(fd, (struct sockaddr *)&peer, &len) < 0) {
		kinds[fd] = CLOSED;
		close(fd);
		return;
	}
	for (ssize_t i = 0; i < got; i++) {
		asked[fd]++;
		if (data[i] != '\n')
			continue;
		if (!answer_line(fd, name, &peer, asked[fd]))
			break;
		asked[fd] = 0;
	}
}

static bool watch(int epoll, int fd, enum kind kind)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (fd < 0 || fd >= MAX_FDS || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return false;
	kinds[fd] = kind;
	asked[fd] = 0;
	return true;
}

static void accept_client(int epoll, int listener)
{
	/* One client that does not read must not stop the server for ever. */
	struct timeval patience = { .tv_sec = 5 };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (!watch(epoll, fd, CLIENT))
		close(fd);
}

static void turn(int epoll, int fd, const char *name)
{
	switch (kinds[fd]) {
	case LISTENER:
		accept_client(epoll, fd);
		break;
	case DATAGRAMS:
		answer_datagram(fd, name);
		break;
	case CLIENT:
		answer_client(fd, name);
		break;
	}
}

/* `ports`: one or several, separated by commas. */
int serve(const char *ports, const char *name)
{
	struct epoll_event events[256];
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int count;

	signal(SIGPIPE, SIG_IGN);
	raise_fd_limit();
	for (const char *next = ports; next != NULL; next = strchr(next, ',') ? strchr(next, ',') + 1 : NULL) {
		if (!watch(epoll, listen_on(atoi(next), SOCK_STREAM), LISTENER) ||
		    !watch(epoll, listen_on(atoi(next), SOCK_DGRAM), DATAGRAMS))
			return fail("cannot listen");
	}
	printf("%s listens on %s\n", name, ports);
	fflush(stdout);
	while ((count = epoll_wait(epoll, events, 256, -1)) >= 0 || errno == EINTR) {
		for (int i = 0; i < count; i++)
			turn(epoll, events[i].data.fd, name);
	}
	return fail("epoll");
}
