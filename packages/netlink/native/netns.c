// SPDX-License-Identifier: Apache-2.0
/*
 * Namespaces as bind-mounted files, and sysctls inside them. Everything that changes a thread's namespace for
 * longer than one system call runs on a thread of its own.
 */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

struct netns_job {
	struct axon_job job;
	char *path;
	char **settings; /* file, value, file, value ... */
	size_t count;
	int ns_fd;
	bool loopback;
	int32_t failed; /* index of the setting that failed, or -1 */
};

static void release(struct axon_job *job)
{
	struct netns_job *n = (struct netns_job *)job;

	for (size_t i = 0; i < n->count; i++)
		free(n->settings[i]);
	free(n->settings);
	free(n->path);
	free(n);
}

static int raise_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = 0;

	if (fd < 0)
		return -errno;
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request) != 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int write_file(const char *path, const char *value)
{
	size_t length = strlen(value);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, length) != (ssize_t)length)
		rc = errno ? -errno : -EIO;
	close(fd);
	return rc;
}

/* /proc/sys/net shows the namespace of the thread that opens it. */
static int write_settings(struct netns_job *n)
{
	for (size_t i = 0; i + 1 < n->count; i += 2) {
		int rc = write_file(n->settings[i], n->settings[i + 1]);

		if (rc != 0) {
			n->failed = (int32_t)(i / 2);
			return rc;
		}
	}
	return 0;
}

static int pin_own_namespace(const char *path)
{
	int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	int rc;

	if (fd < 0)
		return -errno;
	close(fd);
	if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) == 0)
		return 0;
	rc = -errno;
	unlink(path);
	return rc;
}

static void create_body(void *data)
{
	struct netns_job *n = data;
	int rc = 0;

	if (unshare(CLONE_NEWNET) != 0)
		rc = -errno;
	if (rc == 0 && n->loopback)
		rc = raise_loopback();
	if (rc == 0)
		rc = write_settings(n);
	if (rc == 0)
		rc = pin_own_namespace(n->path);
	n->job.rc = rc;
}

static void sysctl_body(void *data)
{
	struct netns_job *n = data;

	n->job.rc = n->ns_fd >= 0 && setns(n->ns_fd, CLONE_NEWNET) != 0 ? -errno : write_settings(n);
}

static void create_execute(struct axon_job *job)
{
	int rc = axon_on_thread(create_body, job);

	if (rc != 0)
		job->rc = rc;
}

static void sysctl_execute(struct axon_job *job)
{
	int rc = axon_on_thread(sysctl_body, job);

	if (rc != 0)
		job->rc = rc;
}

/* The lazy unmount also serves a namespace that is in use; the unlink detaches copies in other mount namespaces. */
static void delete_execute(struct axon_job *job)
{
	struct netns_job *n = (struct netns_job *)job;

	if (umount2(n->path, MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL)
		job->rc = -errno;
	else if (unlink(n->path) != 0)
		job->rc = -errno;
}

/* Gives [rc, index of the setting that failed | -1]. */
static napi_value finish_settings(napi_env env, struct axon_job *job)
{
	napi_value pair;

	if (napi_create_array_with_length(env, 2, &pair) != napi_ok)
		return NULL;
	napi_set_element(env, pair, 0, axon_number(env, job->rc));
	napi_set_element(env, pair, 1, axon_number(env, ((struct netns_job *)job)->failed));
	return pair;
}

static bool read_settings(napi_env env, napi_value list, struct netns_job *n)
{
	uint32_t count = 0;

	if (napi_get_array_length(env, list, &count) != napi_ok || count % 2 != 0) {
		napi_throw_type_error(env, NULL, "settings are a flat list of file and value");
		return false;
	}
	n->settings = calloc((size_t)count + 1, sizeof(char *));
	if (n->settings == NULL)
		return false;
	for (; n->count < count; n->count++) {
		napi_value item;

		if (napi_get_element(env, list, (uint32_t)n->count, &item) != napi_ok)
			return false;
		n->settings[n->count] = axon_string(env, item);
		if (n->settings[n->count] == NULL)
			return false;
	}
	return true;
}

static struct netns_job *new_job(void (*execute)(struct axon_job *))
{
	struct netns_job *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->job.execute = execute;
	n->job.release = release;
	n->ns_fd = -1;
	n->failed = -1;
	return n;
}

/* netnsCreate(path, loopback, settings: string[]): Promise<[rc, failed]> */
static napi_value netns_create(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct netns_job *n;

	if (!axon_args(env, info, 3, args))
		return NULL;
	n = new_job(create_execute);
	if (n == NULL)
		return NULL;
	n->job.finish = finish_settings;
	n->path = axon_string(env, args[0]);
	napi_get_value_bool(env, args[1], &n->loopback);
	if (n->path == NULL || !read_settings(env, args[2], n)) {
		release(&n->job);
		return NULL;
	}
	return axon_run(env, &n->job, "axon:netns-create");
}

/* netnsDelete(path): Promise<rc> */
static napi_value netns_delete(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct netns_job *n;

	if (!axon_args(env, info, 1, args))
		return NULL;
	n = new_job(delete_execute);
	if (n == NULL)
		return NULL;
	n->path = axon_string(env, args[0]);
	if (n->path == NULL) {
		release(&n->job);
		return NULL;
	}
	return axon_run(env, &n->job, "axon:netns-delete");
}

/* sysctlWrite(nsFd | -1, settings: string[]): Promise<[rc, failed]>; the caller keeps nsFd open meanwhile. */
static napi_value sysctl_write(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS];
	struct netns_job *n;

	if (!axon_args(env, info, 2, args))
		return NULL;
	n = new_job(sysctl_execute);
	if (n == NULL)
		return NULL;
	n->job.finish = finish_settings;
	n->ns_fd = axon_int(env, args[0]);
	if (!read_settings(env, args[1], n)) {
		release(&n->job);
		return NULL;
	}
	return axon_run(env, &n->job, "axon:sysctl");
}

/* sysctlRead(nsFd | -1, file): string | -errno */
static napi_value sysctl_read(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS], text = NULL;
	char buffer[4096];
	struct axon_ns ns;
	ssize_t length = 0;
	char *file;
	int fd, rc;

	if (!axon_args(env, info, 2, args))
		return NULL;
	file = axon_string(env, args[1]);
	if (file == NULL)
		return NULL;
	rc = axon_enter(&ns, axon_int(env, args[0]));
	if (rc == 0) {
		fd = open(file, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			rc = -errno;
		axon_leave(&ns);
		if (fd >= 0) {
			length = read(fd, buffer, sizeof(buffer));
			if (length < 0)
				rc = -errno;
			close(fd);
		}
	}
	free(file);
	if (rc != 0)
		return axon_number(env, rc);
	napi_create_string_utf8(env, buffer, (size_t)length, &text);
	return text;
}

/* Linux 5.14; the headers of the build machine may be older. */
#define AXON_SO_NETNS_COOKIE 71

/* netnsCookie(nsFd | -1): the number by which eBPF programs know the namespace, bigint | -errno */
static napi_value netns_cookie(napi_env env, napi_callback_info info)
{
	napi_value args[AXON_MAX_ARGS], value = NULL;
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);
	struct axon_ns ns;
	int fd, rc;

	if (!axon_args(env, info, 1, args))
		return NULL;
	rc = axon_enter(&ns, axon_int(env, args[0]));
	if (rc != 0)
		return axon_number(env, rc);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		rc = -errno;
	axon_leave(&ns);
	if (rc != 0)
		return axon_number(env, rc);
	if (getsockopt(fd, SOL_SOCKET, AXON_SO_NETNS_COOKIE, &cookie, &length) != 0)
		rc = -errno;
	close(fd);
	if (rc != 0)
		return axon_number(env, rc);
	napi_create_bigint_uint64(env, cookie, &value);
	return value;
}

void axon_init_netns(napi_env env, napi_value exports)
{
	axon_export(env, exports, "netnsCreate", netns_create);
	axon_export(env, exports, "netnsDelete", netns_delete);
	axon_export(env, exports, "netnsCookie", netns_cookie);
	axon_export(env, exports, "sysctlWrite", sysctl_write);
	axon_export(env, exports, "sysctlRead", sysctl_read);
}
