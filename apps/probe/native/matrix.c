/* SPDX-License-Identifier: Apache-2.0 */
/* Many questions at once, each on a socket of its own: which of them are answered before the deadline. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 4096 };

struct cell {
	bool tcp;
	bool ping;
	bool v6;
	bool asked;
	bool answered;
};

static struct cell cells[MOST];
static struct pollfd fds[MOST];

static bool open_cell(char *line, int i, const struct options *given)
{
	char kind[8], address[64], port[16], source[64] = "";
	struct target to = { 0 };
	struct options o = *given;
	struct cell *c = &cells[i];

	if (sscanf(line, "%7s %63s %15s %63s", kind, address, port, source) < 3 || !resolve(address, port, &to))
		return false;
	*c = (struct cell){ .tcp = strcmp(kind, "tcp") == 0, .ping = strcmp(kind, "ping") == 0,
			    .v6 = to.addr.ss_family == AF_INET6 };
	o.source = source[0] ? source : NULL;
	fds[i].fd = c->ping ? ping_socket(&to) : begin_client(&to, c->tcp ? SOCK_STREAM : SOCK_DGRAM, &o);
	fds[i].events = c->tcp ? POLLOUT : POLLIN;
	if (fds[i].fd < 0 || c->tcp)
		return true;
	c->asked = true;
	if (c->ping)
		(void)ping_send(fds[i].fd, c->v6, (unsigned short)(getpid() + i), 1, 0);
	else
		(void)send(fds[i].fd, "hello\n", 6, MSG_NOSIGNAL);
	return true;
}

static void close_cell(int i)
{
	close(fds[i].fd);
	fds[i].fd = -1;
}

/* Something happened on its socket. */
static void turn(int i)
{
	struct cell *c = &cells[i];
	char answer[LINE];
	int error = 0;
	socklen_t size = sizeof(error);

	if (c->ping) {
		int heard = ping_heard(fds[i].fd, c->v6, (unsigned short)(getpid() + i), 1);

		c->answered = heard > 0;
		if (heard)
			close_cell(i);
		return;
	}
	if (!c->asked) {
		(void)getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error || send(fds[i].fd, "hello\n", 6, MSG_NOSIGNAL) != 6) {
			close_cell(i);
			return;
		}
		c->asked = true;
		fds[i].events = POLLIN;
		return;
	}
	c->answered = read(fds[i].fd, answer, sizeof(answer)) > 0;
	close_cell(i);
}

int matrix(const struct options *o)
{
	long deadline;
	char line[LINE];
	int count = 0, open = 0;

	raise_fd_limit();
	while (count < MOST && fgets(line, sizeof(line), stdin)) {
		if (!open_cell(line, count, o))
			return EXIT_USAGE;
		open += fds[count++].fd >= 0;
	}
	deadline = now_ms() + o->timeout_ms;
	while (open > 0 && now_ms() < deadline) {
		if (poll(fds, (nfds_t)count, (int)(deadline - now_ms())) <= 0)
			continue;
		open = 0;
		for (int i = 0; i < count; i++) {
			if (fds[i].fd >= 0 && fds[i].revents)
				turn(i);
			open += fds[i].fd >= 0;
		}
	}
	for (int i = 0; i < count; i++)
		putchar(cells[i].answered ? '1' : '0');
	putchar('\n');
	return EXIT_ANSWERED;
}
