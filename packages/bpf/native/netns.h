/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AXON_BPF_NETNS_H
#define AXON_BPF_NETNS_H

/*
 * Enters a network namespace for the few instructions until ax_netns_leave().
 * `fd` < 0 means stay; then `*home` is -1. Returns 0 or -errno.
 */
int ax_netns_enter(int fd, int *home);
/* Returns home; a thread that cannot return must not run JavaScript: aborts. */
void ax_netns_leave(int home);

#endif
