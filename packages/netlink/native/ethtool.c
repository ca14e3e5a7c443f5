// SPDX-License-Identifier: Apache-2.0
/* What a device does instead of the stack (offloads), switched by the ethtool ioctl. */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket of the device's namespace for ioctls, or -errno. */
static int open_control(int ns_fd)
{
	struct axon_ns ns;
	int fd, rc = axon_enter(&ns, ns_fd);

	if (rc != 0)
		return rc;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	rc = fd < 0 ? -errno : fd;
	axon_leave(&ns);
	return rc;
}

static int request_on(int fd, const char *name, void *data)
{
	struct ifreq request = { 0 };

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	request.ifr_data = data;
	return ioctl(fd, SIOCETHTOOL, &request) == 0 ? 0 : -errno;
}

/* One ETHTOOL_G* or ETHTOOL_S* of a single value; returns the value (get), 0 (set) or -errno. */
static int ethtool_value(int ns_fd, const char *name, uint32_t command, uint32_t data)
{
	struct ethtool_value value = { .cmd = command, .data = data };
	int rc, fd = open_control(ns_fd);

	if (fd < 0)
		return fd;
	rc = request_on(fd, name, &value);
	close(fd);
	return rc != 0 ? rc : (int)value.data;
}

/* ethtool(nsFd, name, command, data): the value, or -errno. The socket's namespace is the device's. */
static napi_value ethtool(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	char *name;
	int rc;

	if (!axon_args(env, info, 4, args))
		return NULL;
	name = axon_string(env, args[1]);
	if (name == NULL)
		return NULL;
	rc = ethtool_value(axon_int(env, args[0]), name, (uint32_t)axon_int(env, args[2]),
			   (uint32_t)axon_int(env, args[3]));
	free(name);
	return axon_number(env, rc);
}

/* The driver's own counters: their names and, in the same order, their values. */
struct counters {
	struct ethtool_gstrings *names;
	struct ethtool_stats *values;
};

static void free_counters(struct counters *c)
{
	free(c->names);
	free(c->values);
}

static int count_counters(int fd, const char *name, uint32_t *count)
{
	struct {
		struct ethtool_sset_info info;
		uint32_t length;
	} sset = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ULL << ETH_SS_STATS } };
	int rc = request_on(fd, name, &sset);

	*count = sset.info.sset_mask != 0 ? sset.length : 0;
	return rc;
}

static int read_counters(int fd, const char *name, struct counters *c)
{
	uint32_t count;
	int rc = count_counters(fd, name, &count);

	if (rc != 0)
		return rc;
	c->names = calloc(1, sizeof(*c->names) + (size_t)count * ETH_GSTRING_LEN);
	c->values = calloc(1, sizeof(*c->values) + (size_t)count * sizeof(uint64_t));
	if (c->names == NULL || c->values == NULL)
		return -ENOMEM;
	c->names->cmd = ETHTOOL_GSTRINGS;
	c->names->string_set = ETH_SS_STATS;
	c->names->len = c->values->n_stats = count;
	c->values->cmd = ETHTOOL_GSTATS;
	rc = request_on(fd, name, c->names);
	return rc != 0 ? rc : request_on(fd, name, c->values);
}

static napi_value counters_object(napi_env env, const struct counters *c)
{
	napi_value object, value;
	char text[ETH_GSTRING_LEN + 1];

	if (napi_create_object(env, &object) != napi_ok)
		return NULL;
	for (uint32_t i = 0; i < c->names->len && i < c->values->n_stats; i++) {
		memcpy(text, c->names->data + (size_t)i * ETH_GSTRING_LEN, ETH_GSTRING_LEN);
		text[ETH_GSTRING_LEN] = '\0';
		if (napi_create_double(env, (double)c->values->data[i], &value) == napi_ok)
			napi_set_named_property(env, object, text, value);
	}
	return object;
}

/* driverCounters(nsFd, name): an object of numbers, or -errno */
static napi_value driver_counters(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS], result;
	struct counters c = { 0 };
	char *name;
	int fd, rc;

	if (!axon_args(env, info, 2, args))
		return NULL;
	name = axon_string(env, args[1]);
	if (name == NULL)
		return NULL;
	fd = open_control(axon_int(env, args[0]));
	rc = fd < 0 ? fd : read_counters(fd, name, &c);
	if (fd >= 0)
		close(fd);
	free(name);
	result = rc != 0 ? axon_number(env, rc) : counters_object(env, &c);
	free_counters(&c);
	return result;
}

void axon_init_ethtool(napi_env env, napi_value exports)
{
	axon_export(env, exports, "ethtool", ethtool);
	axon_export(env, exports, "driverCounters", driver_counters);
}
