// SPDX-License-Identifier: Apache-2.0
/*
 * The `loopback` plugin: runtimes call a program of this name for every pod, and a node may have none. It brings the
 * pod's `lo` up and names its addresses.
 */
#define _GNU_SOURCE
#include "plugin.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Error codes of the specification. */
enum { BAD_ENVIRONMENT = 4, IO_FAILURE = 5 };

static int fail(const char *version, int code, const char *message)
{
	char *text;
	int length = asprintf(&text, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\"}\n", version, code, message);

	if (length > 0)
		write_out(text, (size_t)length);
	return 1;
}

/* Enters the pod's namespace; the process ends in it. */
static bool enter(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool entered = fd >= 0 && setns(fd, CLONE_NEWNET) == 0;

	if (fd >= 0)
		close(fd);
	return entered;
}

/* Whether `lo` is up, after it has been brought up if `change` says so. */
static bool is_up(bool change)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;

	if (up && change) {
		request.ifr_flags |= IFF_UP;
		up = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
	}
	if (fd >= 0)
		close(fd);
	return up && (request.ifr_flags & IFF_UP);
}

/* Before 1.0.0 every address says of which family it is. */
static int answer(const char *version)
{
	bool is_old = version[0] == '0';
	char *text;
	int length = asprintf(&text,
			      "{\"cniVersion\":\"%s\",\"interfaces\":[{\"name\":\"lo\",\"mac\":"
			      "\"00:00:00:00:00:00\",\"sandbox\":\"%s\"}],\"ips\":["
			      "{%s\"interface\":0,\"address\":\"127.0.0.1/8\"},"
			      "{%s\"interface\":0,\"address\":\"::1/128\"}]}\n",
			      version, getenv("CNI_NETNS"), is_old ? "\"version\":\"4\"," : "",
			      is_old ? "\"version\":\"6\"," : "");

	return length > 0 && write_out(text, (size_t)length) ? 0 : 1;
}

int loopback(const char *command, const char *version)
{
	const char *netns = getenv("CNI_NETNS");
	bool is_add = strcmp(command, "ADD") == 0;

	if (!is_add && strcmp(command, "CHECK") != 0)
		return 0;
	if (netns == NULL || *netns == '\0' || strpbrk(netns, "\"\\\n\r\t") != NULL)
		return fail(version, BAD_ENVIRONMENT, "CNI_NETNS is not the path of a namespace");
	if (!enter(netns))
		return fail(version, IO_FAILURE, "the namespace of CNI_NETNS cannot be entered");
	if (!is_up(is_add))
		return fail(version, IO_FAILURE, "lo is not up");
	return is_add ? answer(version) : 0;
}
