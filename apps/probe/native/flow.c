/* SPDX-License-Identifier: Apache-2.0 */
/* One UDP socket that keeps asking, whoever answers: what a client notices when its server goes. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct tally {
	char last[LINE];
	int answers;
	int missing;
	int refused;
};

static ssize_t send_one(int fd, const struct target *to, const struct options *o)
{
	if (!o->unconnected)
		return send(fd, "hello\n", 6, 0);
	return sendto(fd, "hello\n", 6, 0, (const struct sockaddr *)&to->addr, to->len);
}

/* A refusal (ICMP) is an answer of a kind: the socket lives on. False: somebody has closed it. */
static bool ask_once(int fd, const struct target *to, const struct options *o, struct tally *tally)
{
	char answer[LINE] = "";
	ssize_t got = send_one(fd, to, o);

	if (got > 0 && !wait_for(fd, POLLIN, now_ms() + o->timeout_ms)) {
		tally->missing++;
		return true;
	}
	got = got < 0 ? got : read(fd, answer, sizeof(answer) - 1);
	if (got < 0) {
		tally->refused++;
		/* a receive hears that the connection was ended, a send that there is none */
		return errno != ECONNABORTED && errno != EDESTADDRREQ;
	}
	tally->answers++;
	if (strcmp(answer, tally->last) == 0)
		return true;
	strcpy(tally->last, answer);
	fputs(answer, stdout);
	fflush(stdout);
	return true;
}

/*
 * Prints every change of the answer, and at the end the counts. The socket is connected once, or never with
 * --unconnected.
 */
int flow(const struct target *to, const char *host, const struct options *o)
{
	struct tally tally = { .answers = 0 };
	long end = now_ms() + o->duration_ms;
	int fd = o->unconnected ? bound_socket(to, SOCK_DGRAM, o) : open_client(to, SOCK_DGRAM, o);

	if (fd < 0)
		return fail(host);
	end_on_term();
	while (now_ms() < end && !told_to_end()) {
		if (!ask_once(fd, to, o, &tally))
			return fail(host);
		poll(NULL, 0, o->every_ms);
	}
	printf("%d answers, %d missing, %d refused\n", tally.answers, tally.missing, tally.refused);
	return tally.answers > 0 ? EXIT_ANSWERED : EXIT_TIMEOUT;
}
