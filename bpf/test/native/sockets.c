// SPDX-License-Identifier: Apache-2.0
/*
 * Sockets by hand, for the tests of the socket layer: one command a line on standard input, one line of answer.
 * Sockets have numbers of the caller's choice. An answer is "ok", data, or the symbol of an errno.
 *
 *   open N tcp4|tcp6|udp4|udp6      bind N ADDRESS PORT        connect N ADDRESS PORT
 *   disconnect N                    send N                     sendto N ADDRESS PORT
 *   receive N                       peer N                     error N         close N
 *
 * receive answers with the sender (of a datagram) and what it said; peer with getpeername's; error waits for one.
 * Waits end after a second with ETIMEDOUT.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOCKETS = 4096, LINE = 512, WAIT_MS = 1000 };

static int sockets[SOCKETS];
static bool is6[SOCKETS];

static void say_error(int error)
{
	puts(error ? strerrorname_np(error) : "ok");
}

static void say(int rc)
{
	say_error(rc < 0 ? errno : 0);
}

/* An IPv4 address given to an IPv6 socket in its mapped form is written so by the caller. */
static socklen_t address_of(const char *text, int port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	inet_pton(AF_INET6, text, &v6->sin6_addr);
	return sizeof(*v6);
}

static void show(const struct sockaddr_storage *from, const char *what)
{
	char text[INET6_ADDRSTRLEN] = "-";
	int port = 0;

	if (from->ss_family == AF_INET) {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)from)->sin_addr, text, sizeof(text));
		port = ntohs(((const struct sockaddr_in *)from)->sin_port);
	} else if (from->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)from)->sin6_addr, text, sizeof(text));
		port = ntohs(((const struct sockaddr_in6 *)from)->sin6_port);
	}
	printf("%s %d%s%s\n", text, port, *what ? " " : "", what);
}

static bool wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, WAIT_MS) > 0;
}

static void do_open(int n, const char *kind)
{
	int type = kind[0] == 't' ? SOCK_STREAM : SOCK_DGRAM;

	is6[n] = kind[3] == '6';
	sockets[n] = socket(is6[n] ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
	say(sockets[n]);
}

static void do_receive(int fd)
{
	struct sockaddr_storage from = { 0 };
	socklen_t length = sizeof(from);
	char data[LINE];
	ssize_t got;

	if (!wait_for(fd, POLLIN)) {
		say_error(ETIMEDOUT);
		return;
	}
	got = recvfrom(fd, data, sizeof(data) - 1, 0, (struct sockaddr *)&from, &length);
	if (got < 0) {
		say(-1);
		return;
	}
	data[got] = '\0';
	data[strcspn(data, "\n")] = '\0';
	show(&from, data);
}

static void do_peer(int fd)
{
	struct sockaddr_storage peer = { 0 };
	socklen_t length = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0)
		say(-1);
	else
		show(&peer, "");
}

static void do_error(int fd)
{
	socklen_t length = sizeof(int);
	int error = ETIMEDOUT;

	if (wait_for(fd, POLLPRI))
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	say_error(error);
}

static void obey(const char *command, int n, const char *where, int port)
{
	struct sockaddr_storage to;
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	socklen_t length = address_of(where, port, &to);
	int fd = sockets[n];

	if (!strcmp(command, "open"))
		do_open(n, where);
	else if (!strcmp(command, "bind"))
		say(bind(fd, (struct sockaddr *)&to, length));
	else if (!strcmp(command, "connect"))
		say(connect(fd, (struct sockaddr *)&to, length));
	else if (!strcmp(command, "disconnect"))
		say(connect(fd, &nowhere, sizeof(nowhere)));
	else if (!strcmp(command, "send"))
		say((int)send(fd, "x\n", 2, MSG_NOSIGNAL));
	else if (!strcmp(command, "sendto"))
		say((int)sendto(fd, "x\n", 2, MSG_NOSIGNAL, (struct sockaddr *)&to, length));
	else if (!strcmp(command, "receive"))
		do_receive(fd);
	else if (!strcmp(command, "peer"))
		do_peer(fd);
	else if (!strcmp(command, "error"))
		do_error(fd);
	else if (!strcmp(command, "close"))
		say(close(fd));
	else
		puts("EINVAL");
}

int main(void)
{
	char line[LINE], command[16], where[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		int n = 0, port = 0;

		where[0] = '\0';
		if (sscanf(line, "%15s %d %63s %d", command, &n, where, &port) < 2 || n < 0 || n >= SOCKETS)
			puts("EINVAL");
		else
			obey(command, n, where, port);
	}
	return 0;
}
