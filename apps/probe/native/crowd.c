/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many TCP connections at once, all of them checked: each has asked its first question when the crowd is complete,
 * and asks again in every round. What a connection lost is counted by the server it had.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { MAX_SERVERS = 64, BATCH = 128 };
enum state { OPENING = 0, IDLE, ASKED, LOST };

struct member {
	int fd;
	unsigned char state;
	signed char server; /* -1: has not answered yet */
	long since;
};

struct server {
	char name[64];
	int alive;
	int lost;
	int changed; /* another server answered in its place: must never be */
};

static struct member members[MAX_FDS];
static struct server servers[MAX_SERVERS];
static int server_count;
static int unanswered_lost;

static int server_of(const char *answer)
{
	size_t length = strcspn(answer, " ");

	if (length >= sizeof(servers[0].name))
		length = sizeof(servers[0].name) - 1;
	for (int i = 0; i < server_count; i++) {
		if (strlen(servers[i].name) == length && strncmp(servers[i].name, answer, length) == 0)
			return i;
	}
	if (server_count == MAX_SERVERS)
		return -1;
	memcpy(servers[server_count].name, answer, length);
	servers[server_count].alive = 0;
	return server_count++;
}

static void lose(struct member *m)
{
	close(m->fd);
	m->state = LOST;
	if (m->server < 0) {
		unanswered_lost++;
		return;
	}
	servers[(int)m->server].lost++;
	servers[(int)m->server].alive--;
}

static void ask_member(struct member *m)
{
	if (send(m->fd, "hello\n", 6, MSG_NOSIGNAL) != 6) {
		lose(m);
		return;
	}
	m->state = ASKED;
	m->since = now_ms();
}

static void hear(struct member *m)
{
	char answer[LINE] = "";
	ssize_t got = read(m->fd, answer, sizeof(answer) - 1);
	int server;

	if (got < 0 && errno == EAGAIN)
		return;
	server = got > 0 ? server_of(answer) : -1;
	if (server < 0) {
		lose(m);
		return;
	}
	if (m->server < 0) {
		m->server = (signed char)server;
		servers[server].alive++;
	} else if (m->server != server) {
		servers[(int)m->server].changed++;
	}
	m->state = IDLE;
}

static void on_event(int epoll, int index, unsigned int events)
{
	struct member *m = &members[index];
	struct epoll_event want = { .events = EPOLLIN, .data.u32 = (unsigned int)index };

	if (m->state == LOST)
		return;
	if (m->state == OPENING) {
		if (events & (EPOLLERR | EPOLLHUP)) {
			lose(m);
			return;
		}
		epoll_ctl(epoll, EPOLL_CTL_MOD, m->fd, &want);
		ask_member(m);
		return;
	}
	hear(m);
}

/* Takes events until the deadline; those that wait longer than the patience for an answer are lost. */
static void listen_until(int epoll, int count, long deadline, const struct options *o)
{
	struct epoll_event events[BATCH];
	long now = now_ms();

	do {
		int got = epoll_wait(epoll, events, BATCH, deadline > now ? (int)(deadline - now) : 0);

		for (int i = 0; i < got; i++)
			on_event(epoll, (int)events[i].data.u32, events[i].events);
		now = now_ms();
	} while (now < deadline && !told_to_end());
	for (int i = 0; i < count; i++) {
		struct member *m = &members[i];

		if ((m->state == ASKED || m->state == OPENING) && now - m->since > o->timeout_ms)
			lose(m);
	}
}

static int pending(int count)
{
	int open = 0;

	for (int i = 0; i < count; i++)
		open += members[i].state == OPENING || members[i].state == ASKED;
	return open;
}

static void settle(int epoll, int count, const struct options *o)
{
	while (pending(count) > 0)
		listen_until(epoll, count, now_ms() + 20, o);
}

static bool gather(int epoll, const struct target *to, const struct options *o)
{
	for (int i = 0; i < o->count; i++) {
		struct epoll_event want = { .events = EPOLLOUT, .data.u32 = (unsigned int)i };
		int fd = begin_client(to, SOCK_STREAM, o);

		if (fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &want) < 0)
			return false;
		members[i] = (struct member){ .fd = fd, .state = OPENING, .server = -1, .since = now_ms() };
		/* Not more SYNs at once than a listener's queue takes. */
		if (i % BATCH == BATCH - 1)
			settle(epoll, i + 1, o);
	}
	settle(epoll, o->count, o);
	return true;
}

/* A round asks everybody who lives, spread over --every. */
static void go_round(int epoll, const struct options *o)
{
	int parts = (o->count + BATCH - 1) / BATCH;

	for (int i = 0; i < o->count && !told_to_end(); i++) {
		if (members[i].state == IDLE)
			ask_member(&members[i]);
		if (i % BATCH == BATCH - 1)
			listen_until(epoll, o->count, now_ms() + o->every_ms / parts, o);
	}
}

static void report(const char *when)
{
	for (int i = 0; i < server_count; i++)
		printf("%s %s alive %d lost %d changed %d\n", when, servers[i].name, servers[i].alive, servers[i].lost,
		       servers[i].changed);
	printf("%s unanswered %d\n", when, unanswered_lost);
	fflush(stdout);
}

int crowd(const struct target *to, const char *host, const struct options *o)
{
	long end;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (o->count >= MAX_FDS || o->count + 16 > raise_fd_limit()) {
		errno = EMFILE;
		return fail("too many connections");
	}
	if (!gather(epoll, to, o))
		return fail(host);
	report("start");
	end_on_term();
	end = now_ms() + o->duration_ms;
	while (now_ms() < end && !told_to_end())
		go_round(epoll, o);
	/* The last round counts: everybody is asked once more and has the whole patience. */
	settle(epoll, o->count, o);
	for (int i = 0; i < o->count; i++) {
		if (members[i].state == IDLE)
			ask_member(&members[i]);
	}
	settle(epoll, o->count, o);
	report("end");
	return EXIT_ANSWERED;
}
