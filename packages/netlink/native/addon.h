/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the netlink addon share: argument readers, jobs off the loop, namespace entry. */
#ifndef AXON_NETLINK_ADDON_H
#define AXON_NETLINK_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AXON_MAX_ARGS 8

/* Reads the arguments of a call; returns false with a pending TypeError if fewer than `want` came. */
bool axon_args(napi_env env, napi_callback_info info, size_t want, napi_value *args);
int32_t axon_int(napi_env env, napi_value value);
/* A NUL-terminated copy on the heap (caller frees), or NULL with a pending exception. */
char *axon_string(napi_env env, napi_value value);
/* The bytes of a Uint8Array, or NULL with a pending exception. */
void *axon_bytes(napi_env env, napi_value value, size_t *length);
napi_value axon_number(napi_env env, int32_t number);
void axon_export(napi_env env, napi_value exports, const char *name, napi_callback function);

/*
 * Work done on a thread of libuv's pool; `finish` runs on the loop and gives the promise's value.
 * A job never rejects: numbers below zero are -errno, and TypeScript words the error.
 */
struct axon_job {
	void (*execute)(struct axon_job *job);
	napi_value (*finish)(napi_env env, struct axon_job *job);
	void (*release)(struct axon_job *job);
	int32_t rc;
	napi_async_work work;
	napi_deferred deferred;
};
/* Queues the job and returns its promise; `release` frees the job in every case. */
napi_value axon_run(napi_env env, struct axon_job *job, const char *name);

/*
 * Enters the namespace of `ns_fd` (-1: stay). `axon_leave` goes back, or ends the process: code of this
 * thread must never run in a foreign namespace.
 */
struct axon_ns {
	int home;
};
int axon_enter(struct axon_ns *ns, int ns_fd);
void axon_leave(struct axon_ns *ns);

/* Runs `body` on a thread of its own and waits; the thread may change its namespace as it likes. */
int axon_on_thread(void (*body)(void *), void *arg);

void axon_init_rtnl(napi_env env, napi_value exports);
void axon_init_netns(napi_env env, napi_value exports);
void axon_init_socket(napi_env env, napi_value exports);
void axon_init_frame(napi_env env, napi_value exports);
void axon_init_poll(napi_env env, napi_value exports);
void axon_init_ethtool(napi_env env, napi_value exports);
void axon_init_datagram(napi_env env, napi_value exports);
void axon_init_handover(napi_env env, napi_value exports);

#endif
