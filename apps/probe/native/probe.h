/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of axon-probe share: options, deadlines, exit codes. */
#ifndef AXON_PROBE_H
#define AXON_PROBE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { EXIT_ANSWERED = 0, EXIT_TIMEOUT = 1, EXIT_REFUSED = 2, EXIT_USAGE = 64 };
enum { MAX_FDS = 65536, LINE = 512, LARGEST = 16 << 20, DATAGRAM = 65536 };

struct options {
	const char *name;
	/* Address a client binds itself to; NULL: the kernel's choice. */
	const char *source;
	int timeout_ms;
	int duration_ms;
	int every_ms;
	int count;
	int source_port;
	/* Bytes of a question; the answer has at least as many. 0: a short one. */
	int size;
	/* flow: every datagram names its destination. */
	bool unconnected;
};

struct target {
	struct sockaddr_storage addr;
	socklen_t len;
};

/* Set by SIGTERM once end_on_term() was called. */
bool told_to_end(void);
void end_on_term(void);

long now_ms(void);
/* Says what failed and why (errno), and returns the exit code. */
int fail(const char *what);
bool resolve(const char *host, const char *port, struct target *out);
/* As many descriptors as this process may have; returns how many. */
int raise_fd_limit(void);

/* Waits for events of one descriptor; false with ETIMEDOUT at the deadline. */
bool wait_for(int fd, short events, long deadline);
/* A socket for talking to `to`: non-blocking, bound as the options say. -1 with errno. */
int bound_socket(const struct target *to, int type, const struct options *o);
/* A socket on its way to `to`: non-blocking, bound as the options say. -1 with errno. */
int begin_client(const struct target *to, int type, const struct options *o);
/* The same, connected before the deadline. */
int open_client(const struct target *to, int type, const struct options *o);
/* One question, one answer (a text of less than `size` bytes). -1 with errno. */
ssize_t ask(int fd, char *answer, size_t size, int timeout_ms);

/* Echo requests on a raw socket: -1 with errno. */
int ping_socket(const struct target *to);
bool ping_send(int fd, bool v6, unsigned short id, unsigned short seq, int extra);
/* Reads one packet: 1 when it is the answer, 0 when it is not, -1 on an error. */
int ping_heard(int fd, bool v6, unsigned short id, unsigned short seq);

int serve(const char *ports, const char *name);
int question(const struct target *to, const char *host, int type, const struct options *o);
int hold(const struct target *to, const char *host, const struct options *o);
int http(const struct target *to, const char *host, const struct options *o);
int flow(const struct target *to, const char *host, const struct options *o);
int crowd(const struct target *to, const char *host, const struct options *o);
int matrix(const struct options *o);
int ping(const struct target *to, const char *host, const struct options *o);

#endif
