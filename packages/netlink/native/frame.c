// SPDX-License-Identifier: Apache-2.0
/* Whole Ethernet frames out of a device: what no protocol socket would send. */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/socket.h>
#include <unistd.h>

/* Closing such a socket waits for the kernel's other readers (milliseconds): one serves many frames. */
static int open_socket(int ns_fd)
{
	struct axon_ns ns;
	int fd, rc = axon_enter(&ns, ns_fd);

	if (rc != 0)
		return rc;
	/* Protocol 0: the socket receives nothing. */
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 ? -errno : fd;
	axon_leave(&ns);
	return rc;
}

static int send_one(int fd, int ifindex, const void *frame, size_t length)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = ifindex };
	ssize_t sent = sendto(fd, frame, length, 0, (const struct sockaddr *)&to, sizeof(to));

	if (sent < 0)
		return -errno;
	return (size_t)sent == length ? 0 : -EMSGSIZE;
}

/* Reads element `i` of both arrays and sends it; false with a pending exception. */
static bool send_element(napi_env env, int fd, napi_value *args, uint32_t i, int *rc)
{
	napi_value device, bytes;
	size_t length = 0;
	int ifindex;
	void *frame;

	if (napi_get_element(env, args[1], i, &device) != napi_ok || napi_get_element(env, args[2], i, &bytes) != napi_ok)
		return false;
	ifindex = axon_int(env, device);
	frame = axon_bytes(env, bytes, &length);
	if (frame == NULL)
		return false;
	if (length < ETH_HLEN) {
		napi_throw_type_error(env, NULL, "a frame has at least an Ethernet header");
		return false;
	}
	*rc = send_one(fd, ifindex, frame, length);
	return true;
}

/* framesSend(nsFd, ifindexes, frames): [0 | -errno of each], or -errno */
static napi_value frames_send(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS], result;
	uint32_t count = 0, i;
	int fd, rc = 0;

	if (!axon_args(env, info, 3, args) || napi_get_array_length(env, args[2], &count) != napi_ok)
		return NULL;
	fd = open_socket(axon_int(env, args[0]));
	if (fd < 0)
		return axon_number(env, fd);
	if (napi_create_array_with_length(env, count, &result) != napi_ok)
		result = NULL;
	for (i = 0; result != NULL && i < count; i++) {
		if (send_element(env, fd, args, i, &rc))
			napi_set_element(env, result, i, axon_number(env, rc));
		else
			result = NULL;
	}
	close(fd);
	return result;
}

void axon_init_frame(napi_env env, napi_value exports)
{
	axon_export(env, exports, "framesSend", frames_send);
}
