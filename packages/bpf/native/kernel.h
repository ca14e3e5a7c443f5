/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpf(2) with the parts of the UAPI that are newer than the headers of the
 * build machine (Debian 12: Linux 6.1). Numbers and layouts: include/uapi/linux/bpf.h
 * of Linux 6.6, which never change.
 */
#ifndef AXON_BPF_KERNEL_H
#define AXON_BPF_KERNEL_H

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AX_BPF_TCX_INGRESS 46
#define AX_BPF_TCX_EGRESS 47
#define AX_BPF_LINK_TYPE_TCX 11
/* Kernel-internal number that bpf(2) lets through for "this map type has no such operation". */
#define AX_ENOTSUPP 524

union ax_bpf_attr {
	union bpf_attr uapi;
	struct {
		uint32_t prog_fd;
		uint32_t target_ifindex;
		uint32_t attach_type;
		uint32_t flags;
		uint32_t relative_fd_or_id;
		uint32_t pad;
		uint64_t expected_revision;
	} link_create_tcx;
	struct {
		uint32_t target_ifindex;
		uint32_t attach_type;
		uint32_t query_flags;
		uint32_t attach_flags;
		uint64_t prog_ids;
		uint32_t count;
		uint32_t pad;
		uint64_t prog_attach_flags;
		uint64_t link_ids;
		uint64_t link_attach_flags;
		uint64_t revision;
	} query_multi;
	/* The kernel accepts more bytes than it knows as long as they are zero. */
	uint8_t raw[192];
};

/* Returns the syscall's result, or -errno. */
static inline int ax_bpf(int cmd, union ax_bpf_attr *attr)
{
	long ret = syscall(__NR_bpf, cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : (int)ret;
}

static inline uint64_t ax_ptr(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

#endif
