// SPDX-License-Identifier: Apache-2.0
/* DELs that no agent took. */
#define _GNU_SOURCE
#include "plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What may stand in a file's name; the agent checks the request itself. */
static bool is_plain(const char *text, size_t most)
{
	size_t length = text ? strlen(text) : 0;

	return length > 0 && length <= most && text[0] != '.' && strchr(text, '/') == NULL;
}

static bool write_file(const char *path, const struct bytes *content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t done = 0;

	if (fd < 0)
		return false;
	while (done < content->length) {
		ssize_t count = write(fd, content->data + done, content->length - done);

		if (count < 0 && errno != EINTR)
			break;
		done += count > 0 ? (size_t)count : 0;
	}
	return close(fd) == 0 && done == content->length;
}

/* Under a name that the agent does not take, then under one that it does: it never reads half a request. */
static bool write_whole(const char *path, const struct bytes *content)
{
	char temporary[4096];
	int length = snprintf(temporary, sizeof(temporary), "%s.%d.tmp", path, getpid());

	if (length < 0 || (size_t)length >= sizeof(temporary))
		return false;
	if (write_file(temporary, content) && rename(temporary, path) == 0)
		return true;
	unlink(temporary);
	return false;
}

enum kept keep_for_later(const char *socket_path, const struct bytes *request, char *path, size_t room)
{
	const char *id = getenv("CNI_CONTAINERID"), *ifname = getenv("CNI_IFNAME");
	const char *slash = strrchr(socket_path, '/');
	int base = slash ? (int)(slash - socket_path) : 0;
	int dir = snprintf(path, room, "%.*s/deletes", base, socket_path);
	int length;

	if (slash == NULL || !is_plain(id, 128) || !is_plain(ifname, 15))
		return NOT_KEPT;
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return errno == ENOENT ? NOTHING_TO_KEEP : NOT_KEPT;
	length = snprintf(path + dir, room - (size_t)dir, "/%s_%s", id, ifname);
	if (length < 0 || (size_t)length >= room - (size_t)dir)
		return NOT_KEPT;
	return write_whole(path, request) ? KEPT : NOT_KEPT;
}
