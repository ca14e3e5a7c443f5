// SPDX-License-Identifier: Apache-2.0
/*
 * A name server that answers every query with one address, and clients that ask it at an even pace and time every
 * answer. Both say nothing but figures, so that they take little of what is measured.
 *
 *   load serve ADDRESS
 *   load ask ADDRESS RATE SECONDS NAMES PREFIX   names are <prefix><n>.good.test, n below NAMES; 0: each is new
 *
 * `ask` prints a line of JSON: sent, answered, wrong, and quantiles of the latency in microseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define SOCKETS 512           /* a resolver asks from a port of its own; as many are in use at a time */
#define MESSAGE 512
#define LAST_ANSWER_NS 1000000000ull

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static struct sockaddr_in address_of(const char *text, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	if (inet_pton(AF_INET, text, &a.sin_addr) != 1)
		die(text);
	return a;
}

/* ---- server ------------------------------------------------------------------------------------------------- */

/* The query with an answer behind it: a pointer to the name, A, IN, 60 s, 192.0.2.1 */
static size_t answer(uint8_t *m, size_t length)
{
	static const uint8_t record[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1 };

	m[2] |= 0x80;
	m[3] = 0x80;
	m[7] = 1;
	m[10] = m[11] = 0;
	memcpy(m + length, record, sizeof(record));
	return length + sizeof(record);
}

static _Noreturn void serve(const char *at)
{
	static uint8_t buffers[BATCH][MESSAGE];
	struct sockaddr_in own = address_of(at, 53), peers[BATCH];
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;

	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof(own)) != 0)
		die("bind");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	puts("serves");
	fflush(stdout);
	for (;;) {
		int count;

		for (int i = 0; i < BATCH; i++) {
			vectors[i] = (struct iovec){ buffers[i], MESSAGE - 16 };
			messages[i].msg_hdr = (struct msghdr){ .msg_name = &peers[i], .msg_namelen = sizeof(peers[i]),
							       .msg_iov = &vectors[i], .msg_iovlen = 1 };
		}
		count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		if (count < 0)
			die("recvmmsg");
		for (int i = 0; i < count; i++)
			vectors[i].iov_len = answer(buffers[i], messages[i].msg_len);
		if (sendmmsg(fd, messages, (unsigned int)count, 0) < 0)
			die("sendmmsg");
	}
}

/* ---- clients ------------------------------------------------------------------------------------------------ */

static uint64_t *sent_at; /* by number of the query */
static uint32_t *latency; /* nanoseconds, of those answered */
static size_t answered, wrong, total;

/* The id of a query is the low half of its number; the socket says which of those in flight it is. */
static size_t query(uint8_t *m, size_t number, size_t names, const char *prefix)
{
	char label[64];
	int length = snprintf(label, sizeof(label), "%s%zu", prefix, names ? number % names : number);
	size_t at = 12;

	memset(m, 0, 12);
	m[0] = (uint8_t)(number >> 8);
	m[1] = (uint8_t)number;
	m[2] = 1;
	m[5] = 1;
	m[at++] = (uint8_t)length;
	memcpy(m + at, label, (size_t)length);
	at += (size_t)length;
	memcpy(m + at, "\4good\4test\0\0\1\0\1", 15);
	return at + 15;
}

static void heard(const uint8_t *m, size_t length, size_t after, uint64_t now)
{
	/* the youngest number with this id that has been sent */
	size_t id = (size_t)m[0] << 8 | m[1], number = (after & ~(size_t)0xffff) | id;

	if (number > after)
		number -= 0x10000;
	if (length < 12 || number >= total || !sent_at[number]) {
		wrong++;
		return;
	}
	if ((m[3] & 15) != 0 || m[7] != 1)
		wrong++;
	latency[answered++] = (uint32_t)(now - sent_at[number]);
	sent_at[number] = 0;
}

static void listen_to(int set, size_t after)
{
	struct epoll_event events[BATCH];
	int ready = epoll_wait(set, events, BATCH, 0);

	for (int i = 0; i < ready; i++) {
		uint8_t m[MESSAGE];
		ssize_t length;

		while ((length = recv(events[i].data.fd, m, sizeof(m), MSG_DONTWAIT)) > 0)
			heard(m, (size_t)length, after, now_ns());
	}
}

/* Until the time, or until something can be read. */
static void rest(int set, uint64_t until)
{
	uint64_t now = now_ns();
	struct pollfd p = { .fd = set, .events = POLLIN };
	struct timespec t;

	if (now >= until)
		return;
	t.tv_sec = (time_t)((until - now) / 1000000000ull);
	t.tv_nsec = (long)((until - now) % 1000000000ull);
	ppoll(&p, 1, &t, NULL);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double quantile(double q)
{
	size_t at = (size_t)(q * (double)answered);

	return answered ? latency[at < answered ? at : answered - 1] / 1000.0 : 0;
}

static int ask(const char *to, double rate, double seconds, size_t names, const char *prefix)
{
	struct sockaddr_in server = address_of(to, 53);
	int fds[SOCKETS], set = epoll_create1(0);
	uint64_t start, end, step = (uint64_t)(1e9 / rate);

	total = (size_t)(rate * seconds);
	sent_at = calloc(total, sizeof(*sent_at));
	latency = calloc(total, sizeof(*latency));
	if (!sent_at || !latency)
		die("calloc");
	for (int i = 0; i < SOCKETS; i++) {
		struct epoll_event event = { .events = EPOLLIN };

		fds[i] = socket(AF_INET, SOCK_DGRAM, 0);
		if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&server, sizeof(server)) != 0)
			die("connect");
		event.data.fd = fds[i];
		epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event);
	}
	start = now_ns();
	for (size_t number = 0; number < total; number++) {
		uint64_t at = start + number * step;
		uint8_t m[MESSAGE];
		size_t length = query(m, number, names, prefix);

		do {
			listen_to(set, number ? number - 1 : 0);
			rest(set, at);
		} while (now_ns() < at);
		sent_at[number] = now_ns();
		if (send(fds[number % SOCKETS], m, length, MSG_DONTWAIT) < 0)
			sent_at[number] = 0;
	}
	end = now_ns() + LAST_ANSWER_NS;
	while (answered < total && now_ns() < end) {
		rest(set, end);
		listen_to(set, total - 1);
	}
	qsort(latency, answered, sizeof(*latency), by_value);
	printf("{\"sent\":%zu,\"answered\":%zu,\"wrong\":%zu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}\n",
	       total, answered, wrong, quantile(0.5), quantile(0.9), quantile(0.99), quantile(0.999), quantile(1));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(argv[2]);
	if (argc == 7 && strcmp(argv[1], "ask") == 0)
		return ask(argv[2], atof(argv[3]), atof(argv[4]), (size_t)atol(argv[5]), argv[6]);
	fprintf(stderr, "usage: load serve ADDRESS | ask ADDRESS RATE SECONDS NAMES PREFIX\n");
	return 2;
}
