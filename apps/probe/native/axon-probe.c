/* SPDX-License-Identifier: Apache-2.0 */
/* axon-probe: see ../README.md. One process, no allocation, every wait has a deadline. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_ANSWERED = 0, EXIT_TIMEOUT = 1, EXIT_REFUSED = 2, EXIT_USAGE = 64 };
enum { MAX_CLIENTS = 1024, LINE = 512, LARGEST = 16 << 20, DATAGRAM = 65536 };

struct options {
	const char *name;
	int timeout_ms;
	int duration_ms;
	int every_ms;
	int count;
	int source_port;
	/* Bytes of a question; the answer has at least as many. 0: a short one. */
	int size;
};

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000L + ts.tv_nsec / 1000000L;
}

static int fail(const char *what)
{
	int error = errno;

	fprintf(stderr, "axon-probe: %s: %s\n", what, strerror(error));
	return error == ETIMEDOUT || error == EAGAIN ? EXIT_TIMEOUT : EXIT_REFUSED;
}

static int usage(void)
{
	fputs("usage: axon-probe serve PORT [--name N]\n"
	      "       axon-probe tcp|udp ADDRESS PORT [--timeout MS] [--count N] [--size BYTES] [--source-port P]\n"
	      "       axon-probe ping ADDRESS [--timeout MS] [--count N] [--size BYTES]\n"
	      "       axon-probe hold ADDRESS PORT [--for MS] [--every MS] [--timeout MS]\n",
	      stderr);
	return EXIT_USAGE;
}

/* Addresses only: a static program has no resolver. */
static bool resolve(const char *host, const char *port, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(atoi(port));
		*len = sizeof(*v4);
		return true;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(atoi(port));
		*len = sizeof(*v6);
		return true;
	}
	fprintf(stderr, "axon-probe: \"%s\" is not an IPv4 or IPv6 address\n", host);
	return false;
}

/* ---- server ---------------------------------------------------------------- */

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
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || (type == SOCK_STREAM && listen(fd, 1024) < 0)) {
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
static bool answer_line(int fd, const char *name, const struct sockaddr_in6 *peer, size_t asked)
{
	static char dots[DATAGRAM];
	char out[LINE];
	size_t said = (size_t)answer_text(out, name, peer);

	memset(dots, '.', sizeof(dots));
	while (asked > said) {
		size_t part = asked - said < sizeof(dots) ? asked - said : sizeof(dots);

		if (!write_all(fd, dots, part))
			return false;
		asked -= part;
	}
	return write_all(fd, out, said);
}

/* `asked` counts the bytes of the line that has not ended yet. */
static void answer_client(struct pollfd *client, const char *name, size_t *asked)
{
	static char data[DATAGRAM];
	struct sockaddr_in6 peer;
	socklen_t len = sizeof(peer);
	ssize_t got = read(client->fd, data, sizeof(data));

	if (got <= 0 || getpeername(client->fd, (struct sockaddr *)&peer, &len) < 0) {
		close(client->fd);
		client->fd = -1;
		return;
	}
	for (ssize_t i = 0; i < got; i++) {
		(*asked)++;
		if (data[i] != '\n')
			continue;
		if (!answer_line(client->fd, name, &peer, *asked))
			break;
		*asked = 0;
	}
}

static void accept_client(int listener, struct pollfd *clients, size_t *asked)
{
	/* One client that does not read must not stop the server for ever. */
	struct timeval patience = { .tv_sec = 5 };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 0; fd >= 0 && i < MAX_CLIENTS; i++) {
		if (clients[i].fd < 0) {
			setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
			clients[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
			asked[i] = 0;
			return;
		}
	}
	if (fd >= 0)
		close(fd);
}

static int serve(int port, const char *name)
{
	static struct pollfd fds[2 + MAX_CLIENTS];
	static size_t asked[MAX_CLIENTS];

	signal(SIGPIPE, SIG_IGN);
	fds[0] = (struct pollfd){ .fd = listen_on(port, SOCK_STREAM), .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = listen_on(port, SOCK_DGRAM), .events = POLLIN };
	if (fds[0].fd < 0 || fds[1].fd < 0)
		return fail("cannot listen");
	for (int i = 2; i < 2 + MAX_CLIENTS; i++)
		fds[i].fd = -1;
	printf("%s listens on %d\n", name, port);
	fflush(stdout);
	while (poll(fds, 2 + MAX_CLIENTS, -1) >= 0 || errno == EINTR) {
		if (fds[0].revents)
			accept_client(fds[0].fd, fds + 2, asked);
		if (fds[1].revents)
			answer_datagram(fds[1].fd, name);
		for (int i = 2; i < 2 + MAX_CLIENTS; i++) {
			if (fds[i].fd >= 0 && fds[i].revents)
				answer_client(&fds[i], name, &asked[i - 2]);
		}
	}
	return fail("poll");
}

/* ---- clients ----------------------------------------------------------------- */

static bool wait_for(int fd, short events, long deadline)
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

static int open_client(const struct sockaddr_storage *to, socklen_t len, int type, const struct options *o)
{
	int error = 0, one = 1;
	socklen_t size = sizeof(error);
	int fd = socket(to->ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	if (o->source_port > 0) {
		struct sockaddr_storage from = { .ss_family = to->ss_family };

		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		/* sin_port and sin6_port are at the same place. */
		((struct sockaddr_in *)&from)->sin_port = htons(o->source_port);
		if (bind(fd, (struct sockaddr *)&from, len) < 0)
			goto failed;
	}
	if (connect(fd, (const struct sockaddr *)to, len) == 0)
		return fd;
	if (errno != EINPROGRESS || !wait_for(fd, POLLOUT, now_ms() + o->timeout_ms))
		goto failed;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0)
		return fd;
	errno = error;
failed:
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static ssize_t ask(int fd, char *answer, size_t size, int timeout_ms)
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

static int question(const char *host, const char *port, int type, const struct options *o)
{
	struct sockaddr_storage to = { 0 };
	socklen_t len;
	char answer[LINE];

	if (!resolve(host, port, &to, &len))
		return EXIT_USAGE;
	for (int i = 0; i < o->count; i++) {
		int fd = open_client(&to, len, type, o);

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

static volatile sig_atomic_t told_to_end;

static void on_term(int number)
{
	(void)number;
	told_to_end = 1;
}

static int hold(const char *host, const char *port, const struct options *o)
{
	struct sockaddr_storage to = { 0 };
	socklen_t len;
	char answer[LINE];
	long end = now_ms() + o->duration_ms;
	int answers = 0;
	int fd;

	if (!resolve(host, port, &to, &len))
		return EXIT_USAGE;
	fd = open_client(&to, len, SOCK_STREAM, o);
	if (fd < 0)
		return fail(host);
	signal(SIGTERM, on_term);
	puts("connected");
	fflush(stdout);
	while (now_ms() < end && !told_to_end) {
		if (ask(fd, answer, sizeof(answer), o->timeout_ms) < 0) {
			fprintf(stderr, "axon-probe: after %d answers\n", answers);
			return fail(host);
		}
		answers++;
		poll(NULL, 0, o->every_ms);
	}
	printf("%d answers\n", answers);
	return EXIT_ANSWERED;
}

/* ---- ping ---------------------------------------------------------------------- */

static unsigned short checksum(const unsigned short *words, size_t bytes)
{
	unsigned long sum = 0;

	for (size_t i = 0; i < bytes / 2; i++)
		sum += words[i];
	sum = (sum >> 16) + (sum & 0xffff);
	return (unsigned short)~(sum + (sum >> 16));
}

static bool is_reply(const unsigned char *packet, ssize_t got, bool v6, unsigned short id, unsigned short seq)
{
	ssize_t skip = v6 ? 0 : (packet[0] & 15) * 4;
	const struct icmphdr *icmp = (const void *)(packet + skip);

	if (got < skip + 8)
		return false;
	return icmp->type == (v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) && icmp->un.echo.id == htons(id) &&
	       icmp->un.echo.sequence == htons(seq);
}

static bool ping_once(int fd, bool v6, unsigned short seq, const struct options *o)
{
	unsigned short id = (unsigned short)getpid();
	static unsigned char packet[DATAGRAM];
	static unsigned short data[DATAGRAM / 2];
	struct icmphdr *request = (struct icmphdr *)data;
	size_t size = sizeof(*request) + (size_t)(o->size + 1) / 2 * 2;
	long deadline = now_ms() + o->timeout_ms;

	memset(data, '.', size);
	*request = (struct icmphdr){ .type = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO };
	request->un.echo.id = htons(id);
	request->un.echo.sequence = htons(seq);
	if (!v6)
		request->checksum = checksum(data, size);
	if (send(fd, data, size, 0) < 0)
		return false;
	while (wait_for(fd, POLLIN, deadline)) {
		ssize_t got = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);

		if (got < 0 && errno != EAGAIN)
			return false;
		if (got >= (ssize_t)size && is_reply(packet, got, v6, id, seq))
			return true;
	}
	return false;
}

static int ping(const char *host, const struct options *o)
{
	struct sockaddr_storage to = { 0 };
	socklen_t len;
	bool v6;
	int fd;

	if (!resolve(host, "0", &to, &len))
		return EXIT_USAGE;
	v6 = to.ss_family == AF_INET6;
	fd = socket(to.ss_family, SOCK_RAW | SOCK_CLOEXEC, v6 ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, len) < 0)
		return fail(host);
	for (int i = 0; i < o->count; i++) {
		if (!ping_once(fd, v6, (unsigned short)(i + 1), o))
			return fail(host);
	}
	printf("%s answers\n", host);
	return EXIT_ANSWERED;
}

/* ---- command line ---------------------------------------------------------------- */

static bool parse(int argc, char **argv, int from, struct options *o)
{
	for (int i = from; i < argc; i += 2) {
		if (i + 1 >= argc)
			return false;
		if (strcmp(argv[i], "--name") == 0)
			o->name = argv[i + 1];
		else if (strcmp(argv[i], "--timeout") == 0)
			o->timeout_ms = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--for") == 0)
			o->duration_ms = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--every") == 0)
			o->every_ms = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--count") == 0)
			o->count = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--source-port") == 0)
			o->source_port = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--size") == 0)
			o->size = atoi(argv[i + 1]);
		else
			return false;
	}
	return o->size >= 0 && o->size <= LARGEST;
}

int main(int argc, char **argv)
{
	static char host[256];
	struct options o = { .timeout_ms = 1000, .duration_ms = 5000, .every_ms = 5, .count = 1 };
	const char *command = argc > 1 ? argv[1] : "";
	int arguments = strcmp(command, "ping") == 0 || strcmp(command, "serve") == 0 ? 1 : 2;

	gethostname(host, sizeof(host) - 1);
	o.name = getenv("PROBE_NAME") ? getenv("PROBE_NAME") : host;
	if (argc < 2 + arguments || !parse(argc, argv, 2 + arguments, &o))
		return usage();
	if (strcmp(command, "serve") == 0)
		return serve(atoi(argv[2]), o.name);
	if (strcmp(command, "ping") == 0)
		return ping(argv[2], &o);
	if (strcmp(command, "tcp") == 0)
		return question(argv[2], argv[3], SOCK_STREAM, &o);
	if (strcmp(command, "udp") == 0)
		return question(argv[2], argv[3], SOCK_DGRAM, &o);
	if (strcmp(command, "hold") == 0)
		return hold(argv[2], argv[3], &o);
	return usage();
}
