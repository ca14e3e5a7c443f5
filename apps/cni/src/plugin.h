/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AXON_CNI_PLUGIN_H
#define AXON_CNI_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that grow up to a limit. */
struct bytes {
	char *data;
	size_t length;
	size_t room;
	size_t limit;
};

/* Makes room for `more` and returns where they go, or NULL beyond the limit or without memory. */
char *bytes_extend(struct bytes *bytes, size_t more);
bool bytes_add(struct bytes *bytes, const void *data, size_t length);

enum finding { ABSENT, FOUND, UNUSABLE };

/*
 * The text value of a top-level key of the JSON object in `json`. Unusable is what is not text, or has escapes or
 * control characters, or does not fit `room`. Never reads beyond `length`, whatever the bytes are.
 */
enum finding config_text(const char *json, size_t length, const char *key, char *into, size_t room);

/* A point in time on the monotonic clock, in milliseconds. */
int64_t now_ms(void);

#define RETRY_MS 20
void pause_before_retry(void);

enum outcome {
	ANSWERED,
	AGENT_AWAY,	/* nothing was sent: no socket, nobody listens */
	AGENT_DIED,	/* the connection ended before the answer was whole */
	AGENT_SLOW,	/* the deadline passed */
	ANSWER_BAD,	/* an answer larger than any can be */
};

/*
 * One exchange over the agent's socket. Request: u32 length of the rest, "KEY=VALUE\0" for each CNI_* variable,
 * "\0", stdin. Answer: u32 exit code, u32 length, stdout. All little-endian.
 */
struct patience {
	int64_t dial;	/* until when an agent that is away is tried */
	int64_t answer;	/* until when one that is there may take */
};

enum outcome exchange(const char *socket_path, const struct bytes *request, struct patience until,
		      struct bytes *answer, uint32_t *exit_code);
bool build_request(struct bytes *request, char **environment, const struct bytes *input);

enum kept {
	KEPT,
	NOTHING_TO_KEEP,	/* no agent has worked here since the node started: it holds nothing to take away */
	NOT_KEPT,		/* errno says why */
};

/*
 * Writes a DEL down beside the agent's socket, in `deletes`, for the agent that starts next. `path` is the file.
 * The caller has to try the agent once more: one that began to listen before the file was there has not seen it.
 */
enum kept keep_for_later(const char *socket_path, const struct bytes *request, char *path, size_t room);

bool write_out(const char *data, size_t length);

/* The whole of the `loopback` plugin, which runtimes call for every pod; the exit code. */
int loopback(const char *command, const char *version);

#endif
