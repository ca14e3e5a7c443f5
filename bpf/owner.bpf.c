// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Who owns a socket: at socket(), in the process itself, the socket's storage gets the number of the process, and
 * the process a row when it has none. All that names it is read here and now: it may be gone before anybody asks.
 * Only processes of pods: their first socket is in a network namespace with a row in ax_netns.
 *
 * comm and arguments are what the process says of itself; path, pid, uid and cgroup are the kernel's.
 */
#include "lib/base.h"

/* The kernel's types as far as they are looked at; the loader puts in the offsets of the running kernel. */
#define AX_KERNEL __attribute__((preserve_access_index))

struct qstr {
	const unsigned char *name;
} AX_KERNEL;

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
} AX_KERNEL;

struct vfsmount {
	struct dentry *mnt_root;
} AX_KERNEL;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} AX_KERNEL;

struct file {
	struct path f_path;
} AX_KERNEL;

struct mm_struct {
	struct file *exe_file;
	unsigned long arg_start;
	unsigned long arg_end;
} AX_KERNEL;

struct kernfs_node {
	const char *name;
} AX_KERNEL;

struct cgroup {
	struct kernfs_node *kn;
} AX_KERNEL;

struct css_set {
	struct cgroup *dfl_cgrp;
} AX_KERNEL;

struct fs_struct {
	struct path root;
} AX_KERNEL;

struct task_struct {
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct css_set *cgroups;
	struct task_struct *group_leader;
	char comm[AX_PROCESS_COMM];
	int tgid;
	__u64 start_boottime;
	__u64 self_exec_id;
} AX_KERNEL;

#define AX_PATH_NAMES 12
#define AX_PATH_NAME 64

/* What a new row begins as: no room for one on the stack */
static const struct ax_process blank;

/* Names from the executable up to the root of its mount; those that find no room are missed. */
AX_INLINE void note_path(struct ax_process *row, struct task_struct *task, struct mm_struct *mm)
{
	struct file *exe = mm->exe_file;
	struct dentry *dentry, *parent;
	__u32 at = 0;
	long len;

	row->flags |= AX_PROC_PATH_CUT;
	if (!exe)
		return;
	if (task->fs && exe->f_path.mnt != task->fs->root.mnt)
		row->flags |= AX_PROC_MOUNTED;
	dentry = exe->f_path.dentry;
	for (int i = 0; i < AX_PATH_NAMES && dentry; i++) {
		parent = dentry->d_parent;
		if (!parent || parent == dentry || dentry == exe->f_path.mnt->mnt_root) {
			row->flags &= ~AX_PROC_PATH_CUT;
			return;
		}
		if (at > AX_PROCESS_PATH - AX_PATH_NAME)
			return;
		len = bpf_probe_read_kernel_str(&row->path[at], AX_PATH_NAME, dentry->d_name.name);
		if (len <= 0 || len > AX_PATH_NAME)
			return;
		at += len;
		row->path_len = at;
		if (len == AX_PATH_NAME)
			return;
		dentry = parent;
	}
}

AX_INLINE void note_arguments(struct ax_process *row, struct mm_struct *mm)
{
	__u64 start = mm->arg_start, len = mm->arg_end - start;

	if (len > AX_PROCESS_ARGS) {
		len = AX_PROCESS_ARGS;
		row->flags |= AX_PROC_ARGS_CUT;
	}
	if (len && !bpf_probe_read_user(row->args, len, (void *)start))
		row->args_len = len;
}

AX_INLINE void note_cgroup(struct ax_process *row, struct task_struct *task)
{
	long len = bpf_probe_read_kernel_str(row->cgroup, AX_PROCESS_CGROUP, task->cgroups->dfl_cgrp->kn->name);

	row->cgroup_len = len > 0 ? len : 0;
}

/* A row for the process that runs, under a number of its own; 0: there is no room */
AX_INLINE __u32 note_process(struct task_struct *task, __u64 start_ns, __u32 pid, __u64 netns)
{
	struct mm_struct *mm = task->mm;
	struct ax_process_seq *counts;
	struct ax_process *row;
	__u32 zero = 0, id;

	counts = bpf_map_lookup_elem(&ax_process_seq, &zero);
	if (!counts)
		return 0;
	id = __sync_fetch_and_add(&counts->last, 1) + 1;
	if (!id || bpf_map_update_elem(&ax_processes, &id, &blank, BPF_ANY)) {
		__sync_fetch_and_add(&counts->unnoted, 1);
		return 0;
	}
	row = bpf_map_lookup_elem(&ax_processes, &id);
	if (!row)
		return 0;
	row->start_ns = start_ns;
	row->netns = netns;
	row->pid = pid;
	row->uid = (__u32)bpf_get_current_uid_gid();
	bpf_probe_read_kernel_str(row->comm, sizeof(row->comm), task->group_leader->comm);
	if (mm) {
		note_path(row, task, mm);
		note_arguments(row, mm);
	}
	note_cgroup(row, task);
	row->noted_ns = bpf_ktime_get_ns();
	return id;
}

/* The number of the process that runs; it gets one with its first socket in a pod. */
AX_INLINE __u32 number_of_current(struct bpf_sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ax_process_id *known, fresh = {};
	__u32 pid = task->tgid;
	__u64 netns;

	fresh.start_ns = task->group_leader->start_boottime;
	fresh.exec_id = task->self_exec_id;
	known = bpf_map_lookup_elem(&ax_process_ids, &pid);
	if (known && known->start_ns == fresh.start_ns && known->exec_id == fresh.exec_id)
		return known->id;
	netns = bpf_get_netns_cookie(sk);
	if (!bpf_map_lookup_elem(&ax_netns, &netns))
		return 0;
	fresh.id = note_process(task, fresh.start_ns, pid, netns);
	if (fresh.id)
		bpf_map_update_elem(&ax_process_ids, &pid, &fresh, BPF_ANY);
	return fresh.id;
}

SEC("cgroup/sock_create")
int sock_owner(struct bpf_sock *sk)
{
	__u32 id = number_of_current(sk);

	if (id)
		bpf_sk_storage_get(&ax_owner, sk, &id, BPF_SK_STORAGE_GET_F_CREATE);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
