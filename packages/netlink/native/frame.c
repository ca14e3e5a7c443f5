// SPDX-License-Identifier: Apache-2.0
/* Whole Ethernet frames out of a device: what no protocol socket would send. */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/socket.h>
#include <unistd.h>

static int send_in(int ns_fd, int ifindex, const void *frame, size_t length)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = ifindex };
	struct axon_ns ns;
	ssize_t sent;
	int fd, rc = axon_enter(&ns, ns_fd);

	if (rc != 0)
		return rc;
	/* Protocol 0: the socket receives nothing. */
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 ? -errno : 0;
	axon_leave(&ns);
	if (fd < 0)
		return rc;
	sent = sendto(fd, frame, length, 0, (const struct sockaddr *)&to, sizeof(to));
	rc = sent < 0 ? -errno : (size_t)sent == length ? 0 : -EMSGSIZE;
	close(fd);
	return rc;
}

/* frameSend(nsFd, ifindex, frame): 0 | -errno */
static napi_value frame_send(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	size_t length = 0;
	void *frame;

	if (!axon_args(env, info, 3, args))
		return NULL;
	frame = axon_bytes(env, args[2], &length);
	if (frame == NULL)
		return NULL;
	if (length < ETH_HLEN) {
		napi_throw_type_error(env, NULL, "a frame has at least an Ethernet header");
		return NULL;
	}
	return axon_number(env, send_in(axon_int(env, args[0]), axon_int(env, args[1]), frame, length));
}

void axon_init_frame(napi_env env, napi_value exports)
{
	axon_export(env, exports, "frameSend", frame_send);
}
