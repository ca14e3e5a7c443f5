// SPDX-License-Identifier: Apache-2.0
/* Descriptors from one process to another, over a UNIX stream socket (unix(7), SCM_RIGHTS). */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define AXON_MAX_FDS 64

static int unix_address(napi_env env, napi_value value, struct sockaddr_un *address)
{
	char *path = axon_string(env, value);
	int rc = 0;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (path == NULL || strlen(path) >= sizeof(address->sun_path))
		rc = -ENAMETOOLONG;
	else
		strcpy(address->sun_path, path);
	free(path);
	return rc;
}

/* unixListen(path): descriptor | -errno; the file is for its owner only */
static napi_value unix_listen(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct sockaddr_un address;
	mode_t mask;
	int fd, rc;

	if (!axon_args(env, info, 1, args))
		return NULL;
	rc = unix_address(env, args[0], &address);
	if (rc != 0)
		return axon_number(env, rc);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return axon_number(env, -errno);
	mask = umask(0177);
	rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (rc == 0 && listen(fd, 4) == 0)
		return axon_number(env, fd);
	rc = -errno;
	close(fd);
	return axon_number(env, rc);
}

/* unixAccept(fd): descriptor of a connection | -errno */
static napi_value unix_accept(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	int fd;

	if (!axon_args(env, info, 1, args))
		return NULL;
	fd = accept4(axon_int(env, args[0]), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return axon_number(env, fd < 0 ? -errno : fd);
}

/* unixConnect(path): descriptor | -errno */
static napi_value unix_connect(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct sockaddr_un address;
	int fd, rc;

	if (!axon_args(env, info, 1, args))
		return NULL;
	rc = unix_address(env, args[0], &address);
	if (rc != 0)
		return axon_number(env, rc);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return axon_number(env, -errno);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return axon_number(env, fd);
	rc = -errno;
	close(fd);
	return axon_number(env, rc);
}

/* fdsSend(socket, byte, fds): 0 | -errno. The receiver has descriptors of its own for the same open files. */
static napi_value fds_send(napi_env env, napi_callback_info info)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * AXON_MAX_FDS)];
	} control = { .room = { 0 } };
	napi_value args[AXON_MAX_ARGS];
	struct iovec vector;
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.room };
	struct cmsghdr *header;
	uint32_t count = 0;
	uint8_t byte;

	if (!axon_args(env, info, 3, args))
		return NULL;
	byte = (uint8_t)axon_int(env, args[1]);
	vector = (struct iovec){ &byte, 1 };
	if (napi_get_array_length(env, args[2], &count) != napi_ok || count == 0 || count > AXON_MAX_FDS) {
		napi_throw_type_error(env, NULL, "a list of 1 to 64 descriptors is wanted");
		return NULL;
	}
	message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int) * count);
	for (uint32_t i = 0; i < count; i++) {
		napi_value item;
		int fd;

		napi_get_element(env, args[2], i, &item);
		fd = axon_int(env, item);
		memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(fd));
	}
	if (sendmsg(axon_int(env, args[0]), &message, MSG_NOSIGNAL) != 1)
		return axon_number(env, -errno);
	return axon_number(env, 0);
}

/* fdsReceive(socket): descriptors, close-on-exec | -errno (-EAGAIN: not yet, -ECONNRESET: the other side has gone) */
static napi_value fds_receive(napi_env env, napi_callback_info info)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * AXON_MAX_FDS)];
	} control;
	napi_value args[AXON_MAX_ARGS], list;
	struct iovec vector;
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.room,
				  .msg_controllen = sizeof(control.room) };
	struct cmsghdr *header;
	uint32_t count = 0;
	uint8_t byte;
	ssize_t got;

	if (!axon_args(env, info, 1, args))
		return NULL;
	vector = (struct iovec){ &byte, 1 };
	got = recvmsg(axon_int(env, args[0]), &message, MSG_CMSG_CLOEXEC);
	if (got <= 0)
		return axon_number(env, got < 0 ? -errno : -ECONNRESET);
	if (napi_create_array(env, &list) != napi_ok)
		return NULL;
	header = CMSG_FIRSTHDR(&message);
	if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		count = (uint32_t)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	for (uint32_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
		napi_set_element(env, list, i, axon_number(env, fd));
	}
	return list;
}

void axon_init_handover(napi_env env, napi_value exports)
{
	axon_export(env, exports, "unixListen", unix_listen);
	axon_export(env, exports, "unixAccept", unix_accept);
	axon_export(env, exports, "unixConnect", unix_connect);
	axon_export(env, exports, "fdsSend", fds_send);
	axon_export(env, exports, "fdsReceive", fds_receive);
}
