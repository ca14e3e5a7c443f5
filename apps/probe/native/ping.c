/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP echo. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

int ping_socket(const struct target *to)
{
	bool v6 = to->addr.ss_family == AF_INET6;
	int fd = socket(to->addr.ss_family, SOCK_RAW | SOCK_CLOEXEC, v6 ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&to->addr, to->len) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

bool ping_send(int fd, bool v6, unsigned short id, unsigned short seq, int extra)
{
	static unsigned short data[DATAGRAM / 2];
	struct icmphdr *request = (struct icmphdr *)data;
	size_t size = sizeof(*request) + (size_t)(extra + 1) / 2 * 2;

	memset(data, '.', size);
	*request = (struct icmphdr){ .type = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO };
	request->un.echo.id = htons(id);
	request->un.echo.sequence = htons(seq);
	if (!v6)
		request->checksum = checksum(data, size);
	return send(fd, data, size, 0) >= 0;
}

int ping_heard(int fd, bool v6, unsigned short id, unsigned short seq)
{
	static unsigned char packet[DATAGRAM];
	ssize_t got = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);

	if (got < 0)
		return errno == EAGAIN ? 0 : -1;
	return is_reply(packet, got, v6, id, seq);
}

static bool ping_once(int fd, bool v6, unsigned short seq, const struct options *o)
{
	unsigned short id = (unsigned short)getpid();
	long deadline = now_ms() + o->timeout_ms;

	if (!ping_send(fd, v6, id, seq, o->size))
		return false;
	while (wait_for(fd, POLLIN, deadline)) {
		int heard = ping_heard(fd, v6, id, seq);

		if (heard)
			return heard > 0;
	}
	return false;
}

int ping(const struct target *to, const char *host, const struct options *o)
{
	bool v6 = to->addr.ss_family == AF_INET6;
	int fd = ping_socket(to);

	if (fd < 0)
		return fail(host);
	for (int i = 0; i < o->count; i++) {
		if (!ping_once(fd, v6, (unsigned short)(i + 1), o))
			return fail(host);
	}
	printf("%s answers\n", host);
	return EXIT_ANSWERED;
}
