// SPDX-License-Identifier: Apache-2.0
/* TCP and UDP sockets that live in a given namespace; bind, listen and connect follow the socket, not the thread. */
#define _GNU_SOURCE
#include "addon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t V4_MAPPED[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

/* Fills an address from 16 bytes (IPv4 v4-mapped); returns its length. */
static socklen_t fill_address(struct sockaddr_storage *into, const uint8_t *ip, uint16_t port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)into;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)into;

	memset(into, 0, sizeof(*into));
	if (memcmp(ip, V4_MAPPED, sizeof(V4_MAPPED)) == 0) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, ip + 12, 4);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	memcpy(&v6->sin6_addr, ip, 16);
	return sizeof(*v6);
}

static int open_in(int ns_fd, int family, int type)
{
	struct axon_ns ns;
	int fd, rc = axon_enter(&ns, ns_fd);

	if (rc != 0)
		return rc;
	fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	axon_leave(&ns);
	return fd < 0 ? -errno : fd;
}

struct endpoint {
	int ns_fd;
	int type;
	struct sockaddr_storage address;
	socklen_t length;
};

/* Arguments of both calls: nsFd | -1, "tcp" as 1 or "udp" as 2, ip (16 bytes), port. */
static bool read_endpoint(napi_env env, napi_callback_info info, size_t want, napi_value *args, struct endpoint *e)
{
	size_t length = 0;
	uint8_t *ip;

	if (!axon_args(env, info, want, args))
		return false;
	e->ns_fd = axon_int(env, args[0]);
	e->type = axon_int(env, args[1]) == 2 ? SOCK_DGRAM : SOCK_STREAM;
	ip = axon_bytes(env, args[2], &length);
	if (ip == NULL)
		return false;
	if (length != 16) {
		napi_throw_type_error(env, NULL, "an address has 16 bytes");
		return false;
	}
	e->length = fill_address(&e->address, ip, (uint16_t)axon_int(env, args[3]));
	return true;
}

static int bind_and_listen(int fd, const struct endpoint *e, int backlog)
{
	int one = 1, zero = 0;

	/* Two UDP sockets would share a port, even one of the kernel's choice, and one of them would get nothing. */
	if (e->type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* "::" takes IPv4 as well, as Node's own listen does. */
	if (e->address.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, (const struct sockaddr *)&e->address, e->length) != 0)
		return -errno;
	if (e->type == SOCK_STREAM && listen(fd, backlog) != 0)
		return -errno;
	return 0;
}

/* socketListen(nsFd, type, ip, port, backlog): fd | -errno */
static napi_value socket_listen(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct endpoint e;
	int fd, rc;

	if (!read_endpoint(env, info, 5, args, &e))
		return NULL;
	fd = open_in(e.ns_fd, e.address.ss_family, e.type);
	if (fd < 0)
		return axon_number(env, fd);
	rc = bind_and_listen(fd, &e, axon_int(env, args[4]));
	if (rc == 0)
		return axon_number(env, fd);
	close(fd);
	return axon_number(env, rc);
}

/* socketConnect(nsFd, type, ip, port, mark): fd, connecting | -errno. SO_MARK unless 0. */
static napi_value socket_connect(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct endpoint e;
	uint32_t mark;
	int fd, rc;

	if (!read_endpoint(env, info, 5, args, &e))
		return NULL;
	mark = (uint32_t)axon_int(env, args[4]);
	fd = open_in(e.ns_fd, e.address.ss_family, e.type);
	if (fd < 0)
		return axon_number(env, fd);
	rc = mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0 ? -errno : 0;
	if (rc == 0)
		rc = connect(fd, (const struct sockaddr *)&e.address, e.length) == 0 ? 0 : -errno;
	if (rc == 0 || rc == -EINPROGRESS)
		return axon_number(env, fd);
	close(fd);
	return axon_number(env, rc);
}

/* socketError(fd): the pending error of a connect, as -errno, or 0 */
static napi_value socket_error(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	int error = 0;
	socklen_t length = sizeof(error);

	if (!axon_args(env, info, 1, args))
		return NULL;
	if (getsockopt(axon_int(env, args[0]), SOL_SOCKET, SO_ERROR, &error, &length) != 0)
		error = errno;
	return axon_number(env, -error);
}

void axon_init_socket(napi_env env, napi_value exports)
{
	axon_export(env, exports, "socketListen", socket_listen);
	axon_export(env, exports, "socketConnect", socket_connect);
	axon_export(env, exports, "socketError", socket_error);
}
