// SPDX-License-Identifier: Apache-2.0
/*
 * axon-perf: a traffic generator for two ends on one machine. Blocking sockets and one thread an end, as an ordinary
 * program would; the figures are what the path costs, so nothing is polled and nothing batched.
 *
 * tcp-rr      one connection, a request and its answer after the other
 * tcp-crr     connect, one request and answer, close: a connection each; connect() is timed on its own as well. With
 *             several hosts each connection goes to one chosen at random
 * udp-rr      as tcp-rr over UDP; a lost packet is counted after 200 ms and the request repeated
 * tcp-stream  one connection, as many bytes as go
 *
 * tcp-crr closes in order (FIN, no reset) and the client first, as HTTP clients without keep-alive do. TIME_WAIT
 * is then the client's; bench/net/perf.ts lets its namespace reuse such ports (tcp_tw_reuse=1), else it would run
 * out of them within two seconds. SO_LINGER is not used: a reset would spare both ends half of the work.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000ull
#define CHUNK (128 * 1024)
#define MAX_ERRORS 1000
#define MAX_TARGETS 1024

enum mode { TCP_RR, TCP_CRR, UDP_RR, TCP_STREAM, MODES };
static const char *const mode_names[MODES] = { "tcp-rr", "tcp-crr", "udp-rr", "tcp-stream" };

struct options {
	enum mode mode;
	bool server, realtime;
	const char *host, *port;
	double seconds, warmup;
	int cpu, size;
};

struct address {
	struct sockaddr_storage bytes;
	socklen_t length;
};

static char buffer[CHUNK];
/* What a client connects to. */
static struct address targets[MAX_TARGETS];
static uint32_t target_count;

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	int error = errno;
	va_list args;

	fputs("axon-perf: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, error ? ": %s\n" : "\n", strerror(error));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

/*
 * Latencies in nanoseconds: exact below 1024, then 512 steps for each power of two, so within 0.2 %.
 */
#define STEPS 512
#define EXACT (2 * STEPS)
#define BUCKETS (EXACT + 55 * STEPS)
static uint64_t histogram[BUCKETS];
/* Of connect() alone. */
static uint64_t connects[BUCKETS];

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int shift;

	if (ns < EXACT)
		return (unsigned int)ns;
	shift = 54 - (unsigned int)__builtin_clzll(ns); /* brings ns to 512..1023 */
	return EXACT + (shift - 1) * STEPS + (unsigned int)(ns >> shift) - STEPS;
}

/* The middle of a bucket. */
static double value_of(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < EXACT)
		return bucket;
	shift = (bucket - EXACT) / STEPS + 1;
	return ((double)((bucket - EXACT) % STEPS) + STEPS + 0.5) * (double)(1ull << shift);
}

static double percentile_us(const uint64_t *counts, uint64_t total, double fraction)
{
	uint64_t wanted = (uint64_t)((double)total * fraction), seen = 0;

	for (unsigned int i = 0; i < BUCKETS; i++) {
		seen += counts[i];
		if (counts[i] && seen > wanted)
			return value_of(i) / 1000;
	}
	return 0;
}

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		fail("cannot run on CPU %d", cpu);
}

static struct address resolve(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found;
	struct address address;

	errno = 0;
	if (getaddrinfo(host, port, &hints, &found) != 0)
		fail("%s port %s is not an address", host, port);
	memcpy(&address.bytes, found->ai_addr, found->ai_addrlen);
	address.length = found->ai_addrlen;
	freeaddrinfo(found);
	return address;
}

/* The hosts of a list that commas separate. */
static void resolve_targets(const struct options *o)
{
	char *list = strdup(o->host), *rest = list;

	if (!list)
		fail("no memory");
	for (char *host = strsep(&rest, ","); host; host = strsep(&rest, ",")) {
		errno = 0;
		if (target_count == MAX_TARGETS)
			fail("more than %d hosts", MAX_TARGETS);
		targets[target_count++] = resolve(host, o->port);
	}
	free(list);
}

/* xorshift: which target is next, at no cost worth a word. */
static const struct address *any_target(void)
{
	static uint32_t state = 2463534242u;

	if (target_count == 1)
		return targets;
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return &targets[state % target_count];
}

static int open_socket(const struct address *address, bool datagram)
{
	int one = 1, fd = socket(address->bytes.ss_family, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("cannot open a socket");
	if (!datagram)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* Exactly `length` bytes; false at the end of the stream or an error. */
static bool receive(int fd, size_t length)
{
	size_t got = 0;

	while (got < length) {
		ssize_t count = recv(fd, buffer + got, length - got, 0);

		if (count <= 0)
			return false;
		got += (size_t)count;
	}
	return true;
}

static bool transmit(int fd, size_t length)
{
	return send(fd, buffer, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* ---- server ---- */

static void serve_connection(int fd, const struct options *o)
{
	if (o->mode == TCP_STREAM) {
		while (recv(fd, buffer, CHUNK, 0) > 0)
			;
		return;
	}
	/* The last receive sees the client's FIN: the server closes second. */
	while (receive(fd, (size_t)o->size) && transmit(fd, (size_t)o->size))
		;
}

static void serve_tcp(int fd, const struct options *o)
{
	int one = 1;

	if (listen(fd, 1024) != 0)
		fail("cannot listen on %s port %s", o->host, o->port);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (peer < 0)
			continue;
		setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		serve_connection(peer, o);
		close(peer);
	}
}

static void serve_udp(int fd)
{
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct address peer = { .length = sizeof(peer.bytes) };
		ssize_t length = recvfrom(fd, buffer, CHUNK, 0, (struct sockaddr *)&peer.bytes, &peer.length);

		if (length >= 0)
			sendto(fd, buffer, (size_t)length, 0, (struct sockaddr *)&peer.bytes, peer.length);
	}
}

static void serve(const struct options *o)
{
	struct address address = resolve(o->host, o->port);
	int one = 1, fd = open_socket(&address, o->mode == UDP_RR);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address.bytes, address.length) != 0)
		fail("cannot bind to %s port %s", o->host, o->port);
	if (o->mode == UDP_RR)
		serve_udp(fd);
	else
		serve_tcp(fd, o);
}

/* ---- client ---- */

struct tally {
	uint64_t operations, bytes, errors, lost, elapsed;
};

static void limit_wait(int fd, int milliseconds)
{
	struct timeval limit = { milliseconds / 1000, milliseconds % 1000 * 1000 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static int dial(const struct options *o, const struct address *address)
{
	int fd = open_socket(address, o->mode == UDP_RR);

	limit_wait(fd, o->mode == UDP_RR ? 200 : 5000);
	if (connect(fd, (const struct sockaddr *)&address->bytes, address->length) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool tcp_rr(int fd, const struct options *o, struct tally *tally)
{
	(void)tally;
	if (transmit(fd, (size_t)o->size) && receive(fd, (size_t)o->size))
		return true;
	fail("the server broke the connection");
}

/* Answers carry the number of their request, so that one that comes late is not taken for the next. */
static bool udp_rr(int fd, const struct options *o, struct tally *tally)
{
	static uint8_t number;

	number++;
	memset(buffer, number, (size_t)o->size);
	if (send(fd, buffer, (size_t)o->size, 0) < 0) {
		tally->errors++;
		return false;
	}
	do {
		if (recv(fd, buffer, CHUNK, 0) < 0) {
			tally->lost++;
			return false;
		}
	} while ((uint8_t)buffer[0] != number);
	return true;
}

static bool tcp_crr(const struct options *o, struct tally *tally)
{
	/* taken first: what the client's own table of targets costs is no part of connect() */
	struct address target = *any_target();
	uint64_t before = now_ns(), connected;
	int fd = dial(o, &target);
	bool done;

	connected = now_ns();
	done = fd >= 0 && transmit(fd, (size_t)o->size) && receive(fd, (size_t)o->size);
	if (done)
		connects[bucket_of(connected - before)]++;
	if (!done && ++tally->errors > MAX_ERRORS)
		fail("%d connections failed", MAX_ERRORS);
	if (fd >= 0)
		close(fd);
	return done;
}

static bool tcp_stream(int fd, struct tally *tally)
{
	ssize_t count = send(fd, buffer, CHUNK, MSG_NOSIGNAL);

	if (count < 0)
		fail("the server broke the connection");
	tally->bytes += (uint64_t)count;
	return true;
}

/* Operations for `seconds`; each is timed on its own. */
static struct tally run_for(const struct options *o, int fd, double seconds)
{
	uint64_t start = now_ns(), end = start + (uint64_t)(seconds * (double)NS), before = start, after;
	struct tally tally = { 0 };

	memset(histogram, 0, sizeof(histogram));
	memset(connects, 0, sizeof(connects));
	do {
		bool done = o->mode == TCP_CRR	  ? tcp_crr(o, &tally) :
			    o->mode == TCP_STREAM ? tcp_stream(fd, &tally) :
			    o->mode == UDP_RR	  ? udp_rr(fd, o, &tally) :
						    tcp_rr(fd, o, &tally);

		after = now_ns();
		if (done) {
			tally.operations++;
			histogram[bucket_of(after - before)]++;
		}
		before = after;
	} while (after < end);
	tally.elapsed = after - start;
	return tally;
}

static void print_latency(const char *name, const uint64_t *counts, uint64_t total)
{
	printf("\"%s\":{\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f}", name,
	       percentile_us(counts, total, 0.5), percentile_us(counts, total, 0.9), percentile_us(counts, total, 0.99),
	       percentile_us(counts, total, 0.999), percentile_us(counts, total, 1.0 - 1e-12));
}

static void print_tally(const struct options *o, const struct tally *tally)
{
	double seconds = (double)tally->elapsed / (double)NS;
	double bits = o->mode == TCP_STREAM ? (double)tally->bytes * 8 :
					      (double)tally->operations * (double)o->size * 16;

	printf("{\"mode\":\"%s\",\"family\":%d,\"seconds\":%.6f,\"operations\":%llu,\"opsPerSecond\":%.1f,"
	       "\"bitsPerSecond\":%.0f,\"errors\":%llu,\"lost\":%llu,",
	       mode_names[o->mode], targets[0].bytes.ss_family == AF_INET ? 4 : 6, seconds,
	       (unsigned long long)tally->operations, (double)tally->operations / seconds, bits / seconds,
	       (unsigned long long)tally->errors, (unsigned long long)tally->lost);
	print_latency("latencyUs", histogram, tally->operations);
	if (o->mode == TCP_CRR) {
		putchar(',');
		print_latency("connectUs", connects, tally->operations);
	}
	puts("}");
}

static void measure(const struct options *o)
{
	struct tally tally;
	int fd = -1;

	resolve_targets(o);
	if (o->mode != TCP_CRR) {
		fd = dial(o, &targets[0]);
		if (fd < 0)
			fail("cannot connect to %s port %s", o->host, o->port);
	}
	if (o->warmup > 0)
		run_for(o, fd, o->warmup);
	tally = run_for(o, fd, o->seconds);
	if (tally.operations == 0) {
		errno = 0;
		fail("nothing came back from %s port %s", o->host, o->port);
	}
	print_tally(o, &tally);
}

/* ---- options ---- */

static const char usage[] =
	"usage: axon-perf server|client --mode tcp-rr|tcp-crr|udp-rr|tcp-stream --host ADDRESS --port PORT\n"
	"  --host A,B,... client, tcp-crr: a connection each to one of them, at random\n"
	"  --size N       bytes of a request and of its answer (1)\n"
	"  --cpu N        run on this CPU only\n"
	"  --realtime     before all other work of the machine\n"
	"  --seconds S    client: measure so long (5)\n"
	"  --warmup S     client: run so long before (0.5)\n"
	"The server prints \"ready\" and serves until it is killed; the client prints one line of JSON.\n";

static const struct option names[] = {
	{ "mode", required_argument, NULL, 'm' },   { "host", required_argument, NULL, 'h' },
	{ "port", required_argument, NULL, 'p' },   { "size", required_argument, NULL, 'z' },
	{ "cpu", required_argument, NULL, 'c' },    { "seconds", required_argument, NULL, 's' },
	{ "warmup", required_argument, NULL, 'w' }, { "realtime", no_argument, NULL, 'r' },
	{ NULL, 0, NULL, 0 },
};

static void __attribute__((noreturn)) misuse(void)
{
	fputs(usage, stderr);
	exit(2);
}

static enum mode parse_mode(const char *text)
{
	for (int mode = 0; mode < MODES; mode++) {
		if (strcmp(mode_names[mode], text) == 0)
			return (enum mode)mode;
	}
	misuse();
}

static struct options parse(int argc, char **argv)
{
	struct options o = { .mode = MODES, .seconds = 5, .warmup = 0.5, .cpu = -1, .size = 1 };
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'm': o.mode = parse_mode(optarg); break;
		case 'h': o.host = optarg; break;
		case 'p': o.port = optarg; break;
		case 'z': o.size = atoi(optarg); break;
		case 'c': o.cpu = atoi(optarg); break;
		case 'r': o.realtime = true; break;
		case 's': o.seconds = atof(optarg); break;
		case 'w': o.warmup = atof(optarg); break;
		default: misuse();
		}
	}
	if (optind != argc - 1 || o.mode == MODES || !o.host || !o.port || o.size < 1 || o.size > 60000)
		misuse();
	o.server = strcmp(argv[optind], "server") == 0;
	if (!o.server && strcmp(argv[optind], "client") != 0)
		misuse();
	return o;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);

	signal(SIGPIPE, SIG_IGN);
	pin(o.cpu);
	if (o.realtime && sched_setscheduler(0, SCHED_RR, &(struct sched_param){ .sched_priority = 1 }) != 0)
		fail("cannot have real-time priority");
	if (o.server)
		serve(&o);
	else
		measure(&o);
	return 0;
}
