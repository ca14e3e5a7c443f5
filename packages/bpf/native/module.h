/* SPDX-License-Identifier: Apache-2.0 */
/* Every function the addon exports; the table that names them is in module.c. */
#ifndef AXON_BPF_MODULE_H
#define AXON_BPF_MODULE_H

#include "value.h"

#define AX_EXPORTS(X)                       \
	X("objOpen", ax_obj_open)           \
	X("objSpec", ax_obj_spec)           \
	X("objSetData", ax_obj_set_data)    \
	X("objSetMax", ax_obj_set_max)      \
	X("objReuseMap", ax_obj_reuse_map)  \
	X("objOnly", ax_obj_only)           \
	X("objLoad", ax_obj_load)           \
	X("objClose", ax_obj_close)         \
	X("mapCreate", ax_map_create)       \
	X("mapLookup", ax_map_lookup)       \
	X("mapUpdate", ax_map_update)       \
	X("mapDelete", ax_map_delete)       \
	X("mapTake", ax_map_take)           \
	X("mapNextKey", ax_map_next_key)    \
	X("mapFreeze", ax_map_freeze)       \
	X("mapLookupBatch", ax_map_lookup_batch) \
	X("mapUpdateBatch", ax_map_update_batch) \
	X("mapDeleteBatch", ax_map_delete_batch) \
	X("mapBatchProbe", ax_map_batch_probe) \
	X("mapInfo", ax_map_info)           \
	X("btfBytes", ax_btf_bytes)         \
	X("progLoad", ax_prog_load)         \
	X("progTestRun", ax_prog_test_run)  \
	X("progInfo", ax_prog_info)         \
	X("linkInfo", ax_link_info)         \
	X("fdById", ax_fd_by_id)            \
	X("pin", ax_pin)                    \
	X("openPin", ax_open_pin)           \
	X("close", ax_close)                \
	X("linkCreate", ax_link_create)     \
	X("linkUpdate", ax_link_update)     \
	X("linkDetach", ax_link_detach)     \
	X("rawTracepointOpen", ax_raw_tracepoint_open) \
	X("tracepointLink", ax_tracepoint_link) \
	X("progQuery", ax_prog_query)       \
	X("iterLink", ax_iter_link)         \
	X("iterRun", ax_iter_run)           \
	X("tcAttach", ax_tc_attach)         \
	X("tcDetach", ax_tc_detach)         \
	X("tcQuery", ax_tc_query)           \
	X("tcWarnings", ax_tc_warnings)     \
	X("ringOpen", ax_ring_open)         \
	X("ringDrain", ax_ring_drain)       \
	X("ringPending", ax_ring_pending)   \
	X("ringWatch", ax_ring_watch)       \
	X("ringArm", ax_ring_arm)           \
	X("ringRef", ax_ring_ref)           \
	X("ringClose", ax_ring_close)       \
	X("mountBpffs", ax_mount_bpffs)     \
	X("mountTracefs", ax_mount_tracefs) \
	X("isBpffs", ax_is_bpffs)           \
	X("unmount", ax_unmount)            \
	X("raiseMemlock", ax_raise_memlock) \
	X("possibleCpus", ax_possible_cpus) \
	X("kernelFunction", ax_kernel_function)

#define AX_DECLARE(name, fn) napi_value fn(napi_env env, napi_callback_info info);
AX_EXPORTS(AX_DECLARE)
#undef AX_DECLARE

#endif
