/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int ax_netns_enter(int fd, int *home)
{
	*home = -1;
	if (fd < 0)
		return 0;
	*home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (*home < 0)
		return -errno;
	if (setns(fd, CLONE_NEWNET)) {
		int err = errno;

		close(*home);
		*home = -1;
		return -err;
	}
	return 0;
}

void ax_netns_leave(int home)
{
	if (home < 0)
		return;
	if (setns(home, CLONE_NEWNET)) {
		perror("axon: cannot return to the home network namespace");
		abort();
	}
	close(home);
}
