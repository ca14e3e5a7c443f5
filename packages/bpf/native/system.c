/* SPDX-License-Identifier: Apache-2.0 */
/* The bpffs, limits, and what the running kernel has. */
#define _GNU_SOURCE
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "module.h"
#include "object.h"
#include "value.h"

static int is_bpffs(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs))
		return -errno;
	return (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* isBpffs(path): 1, 0 or -errno */
napi_value ax_is_bpffs(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	char path[PATH_MAX];

	return ax_number(env, is_bpffs(ax_text(&a, 0, path, sizeof(path))));
}

/*
 * mountBpffs(path): 1 mounted now, 0 was there, -errno. Two processes that both
 * find nothing would mount twice and hide each other's pins: the directory is
 * locked meanwhile, and looked at again under the lock.
 */
napi_value ax_mount_bpffs(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	char path[PATH_MAX];
	int ret, dir;

	ax_text(&a, 0, path, sizeof(path));
	ret = is_bpffs(path);
	if (ret)
		return ax_number(env, ret < 0 ? ret : 0);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return ax_number(env, -errno);
	if (flock(dir, LOCK_EX)) {
		ret = -errno;
	} else {
		ret = is_bpffs(path);
		if (ret > 0)
			ret = 0;
		else if (!ret)
			ret = mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") ? -errno : 1;
	}
	close(dir);
	return ax_number(env, ret);
}

/* unmount(path): 0 or -errno; lazily, so that open pins do not hinder */
napi_value ax_unmount(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	char path[PATH_MAX];

	return ax_number(env, umount2(ax_text(&a, 0, path, sizeof(path)), MNT_DETACH | UMOUNT_NOFOLLOW) ? -errno : 0);
}

/* mountTracefs(path): 0 or -errno; mounted meanwhile by someone else is success */
napi_value ax_mount_tracefs(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	char path[PATH_MAX];
	int ret = mount("tracefs", ax_text(&a, 0, path, sizeof(path)), "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);

	return ax_number(env, ret && errno != EBUSY ? -errno : 0);
}

/* raiseMemlock(): 0 or -errno. Kernels before 5.11 count maps against this limit. */
napi_value ax_raise_memlock(napi_env env, napi_callback_info info)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	(void)info;
	return ax_number(env, setrlimit(RLIMIT_MEMLOCK, &all) ? -errno : 0);
}

/* possibleCpus(): how many values a per-CPU map has for each key */
napi_value ax_possible_cpus(napi_env env, napi_callback_info info)
{
	(void)info;
	return ax_number(env, libbpf_num_possible_cpus());
}

/* kernelFunction(name): 1 the kernel's BTF has the function (a kfunc, a hook), 0 not, -errno unknown */
napi_value ax_kernel_function(napi_env env, napi_callback_info info)
{
	struct ax_args a = ax_args_get(env, info);
	char name[128];
	struct btf *btf;
	int id;

	ax_libbpf_begin();
	btf = btf__load_vmlinux_btf();
	if (!btf)
		return ax_number(env, -errno);
	id = btf__find_by_name_kind(btf, ax_text(&a, 0, name, sizeof(name)), BTF_KIND_FUNC);
	btf__free(btf);
	return ax_number(env, id > 0 ? 1 : id == -ENOENT ? 0 : id);
}
