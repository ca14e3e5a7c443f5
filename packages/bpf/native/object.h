/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AXON_BPF_OBJECT_H
#define AXON_BPF_OBJECT_H

#include <bpf/libbpf.h>
#include <stdbool.h>

struct ax_obj {
	struct bpf_object *obj; /* NULL once closed */
	bool selected;          /* only named programs are loaded */
};

/* Forgets earlier warnings and installs the hook that collects them. */
void ax_libbpf_begin(void);
const char *ax_libbpf_warnings(void);
const char *ax_map_name(const struct bpf_map *map);

#endif
