// SPDX-License-Identifier: Apache-2.0
/*
 * axon-first: when does the first connection get through? Reads lines "ADDRESS PORT" from stdin. For each it connects
 * once and says "trying" when that was refused, "early" when it was accepted and there is nothing to wait for. Then it
 * connects again and again until a connection is accepted, and prints
 *
 *     <ns when that connect() began> <ns when it returned> <tries>
 *
 * in CLOCK_MONOTONIC, so that other processes may compare. "late" when that took more than ten seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000ull
/* Between two tries: a loop without a pause would take the CPU from those who bring the change. */
#define PAUSE_NS 50000
#define LIMIT_NS (10 * NS)

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

static bool connects(const struct sockaddr_in *to)
{
	/* Closed by reset: no TIME_WAIT is left of the many tries. */
	struct linger reset = { 1, 0 };
	struct timeval limit = { 0, 100000 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool done;

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	done = connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0;
	close(fd);
	return done;
}

static void wait_for(const struct sockaddr_in *to)
{
	struct timespec pause = { 0, PAUSE_NS };
	uint64_t begin = now_ns(), before;

	for (unsigned long tries = 1;; tries++) {
		before = now_ns();
		if (connects(to)) {
			printf("%llu %llu %lu\n", (unsigned long long)before, (unsigned long long)now_ns(), tries);
			return;
		}
		if (now_ns() - begin > LIMIT_NS) {
			puts("late");
			return;
		}
		nanosleep(&pause, NULL);
	}
}

int main(void)
{
	char line[128], address[64];
	unsigned int port;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		struct sockaddr_in to = { .sin_family = AF_INET };

		if (sscanf(line, "%63s %u", address, &port) != 2 || inet_pton(AF_INET, address, &to.sin_addr) != 1) {
			fprintf(stderr, "axon-first: not an IPv4 address and a port: %s", line);
			return 2;
		}
		to.sin_port = htons((uint16_t)port);
		if (connects(&to)) {
			puts("early");
			continue;
		}
		puts("trying");
		wait_for(&to);
	}
	return 0;
}
