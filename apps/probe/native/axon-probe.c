/* SPDX-License-Identifier: Apache-2.0 */
/* axon-probe: see ../README.md. One process, no allocation, every wait has a deadline. */
#define _GNU_SOURCE
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t term_came;

static void on_term(int number)
{
	(void)number;
	term_came = 1;
}

void end_on_term(void)
{
	signal(SIGTERM, on_term);
}

bool told_to_end(void)
{
	return term_came != 0;
}

long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000L + ts.tv_nsec / 1000000L;
}

int fail(const char *what)
{
	int error = errno;

	fprintf(stderr, "axon-probe: %s: %s\n", what, strerror(error));
	return error == ETIMEDOUT || error == EAGAIN ? EXIT_TIMEOUT : EXIT_REFUSED;
}

int raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur > MAX_FDS ? MAX_FDS : (int)limit.rlim_cur;
}

/* Addresses only: a static program has no resolver. */
bool resolve(const char *host, const char *port, struct target *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&out->addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->addr;

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(atoi(port));
		out->len = sizeof(*v4);
		return true;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(atoi(port));
		out->len = sizeof(*v6);
		return true;
	}
	fprintf(stderr, "axon-probe: \"%s\" is not an IPv4 or IPv6 address\n", host);
	return false;
}

/* ---- command line ---------------------------------------------------------------- */

static int usage(void)
{
	fputs("usage: axon-probe serve PORT[,PORT...] [--name N]\n"
	      "       axon-probe tcp|udp ADDRESS PORT [--timeout MS] [--count N] [--size BYTES]\n"
	      "       axon-probe ping ADDRESS [--timeout MS] [--count N] [--size BYTES]\n"
	      "       axon-probe http ADDRESS PORT [--timeout MS]\n"
	      "       axon-probe hold ADDRESS PORT [--for MS] [--every MS] [--timeout MS]\n"
	      "       axon-probe flow ADDRESS PORT [--for MS] [--every MS] [--timeout MS] [--unconnected yes]\n"
	      "       axon-probe crowd ADDRESS PORT --count N [--for MS] [--every MS] [--timeout MS]\n"
	      "       axon-probe matrix [--timeout MS]    (questions from standard input)\n"
	      "clients of TCP and UDP also take --source ADDRESS and --source-port PORT\n",
	      stderr);
	return EXIT_USAGE;
}

struct flag {
	const char *name;
	const char **text;
	int *number;
	bool *truth;
};

static bool parse(int argc, char **argv, int from, struct options *o)
{
	const struct flag flags[] = {
		{ "--name", .text = &o->name },
		{ "--source", .text = &o->source },
		{ "--timeout", .number = &o->timeout_ms },
		{ "--for", .number = &o->duration_ms },
		{ "--every", .number = &o->every_ms },
		{ "--count", .number = &o->count },
		{ "--source-port", .number = &o->source_port },
		{ "--size", .number = &o->size },
		{ "--unconnected", .truth = &o->unconnected },
	};

	for (int i = from; i < argc; i += 2) {
		const struct flag *flag = NULL;

		for (size_t j = 0; j < sizeof(flags) / sizeof(flags[0]); j++) {
			if (strcmp(argv[i], flags[j].name) == 0)
				flag = &flags[j];
		}
		if (flag == NULL || i + 1 >= argc)
			return false;
		if (flag->text != NULL)
			*flag->text = argv[i + 1];
		else if (flag->number != NULL)
			*flag->number = atoi(argv[i + 1]);
		else
			*flag->truth = strcmp(argv[i + 1], "yes") == 0;
	}
	return o->size >= 0 && o->size <= LARGEST && o->count > 0;
}

static int run_client(const char *command, const char *host, const char *port, const struct options *o)
{
	struct target to = { 0 };

	if (!resolve(host, port, &to))
		return EXIT_USAGE;
	if (strcmp(command, "ping") == 0)
		return ping(&to, host, o);
	if (strcmp(command, "tcp") == 0)
		return question(&to, host, SOCK_STREAM, o);
	if (strcmp(command, "udp") == 0)
		return question(&to, host, SOCK_DGRAM, o);
	if (strcmp(command, "hold") == 0)
		return hold(&to, host, o);
	if (strcmp(command, "http") == 0)
		return http(&to, host, o);
	if (strcmp(command, "flow") == 0)
		return flow(&to, host, o);
	if (strcmp(command, "crowd") == 0)
		return crowd(&to, host, o);
	return usage();
}

int main(int argc, char **argv)
{
	static char host[256];
	struct options o = { .timeout_ms = 1000, .duration_ms = 5000, .every_ms = 5, .count = 1 };
	const char *command = argc > 1 ? argv[1] : "";
	int arguments = strcmp(command, "ping") == 0 || strcmp(command, "serve") == 0 ? 1 : 2;

	gethostname(host, sizeof(host) - 1);
	if (strcmp(command, "matrix") == 0)
		return parse(argc, argv, 2, &o) ? matrix(&o) : usage();
	o.name = getenv("PROBE_NAME") ? getenv("PROBE_NAME") : host;
	if (argc < 2 + arguments || !parse(argc, argv, 2 + arguments, &o))
		return usage();
	if (strcmp(command, "serve") == 0)
		return serve(argv[2], o.name);
	return run_client(command, argv[2], arguments == 2 ? argv[3] : "0", &o);
}
