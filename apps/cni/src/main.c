// SPDX-License-Identifier: Apache-2.0
/*
 * axoneme-cni: forwards a CNI call to the agent (CNI specification 1.1.0, section 2). Errors go to stdout as the
 * specification wants them, with exit code 1.
 */
#define _GNU_SOURCE
#include "plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_INPUT (1u << 20)
/* The CNI_* variables beside the input; the kernel's own limit is of the same size. */
#define MAX_REQUEST (MAX_INPUT + (256u << 10))
#define DEFAULT_SOCKET "/run/axoneme/cni.sock"
/* A DEL waits this long for an agent that restarts; then it is kept for it, and the runtime goes on. */
#define DEL_PATIENCE_MS 1000

/* Error codes of the specification. */
enum { BAD_ENVIRONMENT = 4, IO_FAILURE = 5, BAD_CONTENT = 6, BAD_CONFIG = 7, TRY_AGAIN = 11, NOT_AVAILABLE = 50 };

extern char **environ;

struct call {
	const char *command;
	char version[32];
	char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct bytes input;
};

bool write_out(const char *data, size_t length)
{
	while (length > 0) {
		ssize_t count = write(STDOUT_FILENO, data, length);

		if (count < 0)
			return false;
		data += count;
		length -= (size_t)count;
	}
	return true;
}

/* The texts are ours or were checked to need no escaping. */
static int report(const struct call *call, int code, const char *message, const char *details)
{
	char *text;
	int length = asprintf(&text, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\",\"details\":\"%s\"}\n",
			      call->version, code, message, details);

	if (length > 0)
		write_out(text, (size_t)length);
	return 1;
}

static bool read_input(struct bytes *input)
{
	input->limit = MAX_INPUT + 4096;
	for (;;) {
		char *into = bytes_extend(input, 4096);
		ssize_t count;

		if (into == NULL)
			return false;
		count = read(STDIN_FILENO, into, 4096);
		if (count < 0)
			return false;
		if (count == 0)
			return input->length <= MAX_INPUT;
		input->length += (size_t)count;
	}
}

static bool is_version(const char *text)
{
	return strspn(text, "0123456789.") == strlen(text);
}

static void read_version(struct call *call)
{
	enum finding found =
		config_text(call->input.data, call->input.length, "cniVersion", call->version, sizeof(call->version));

	if (found != FOUND || !is_version(call->version))
		strcpy(call->version, "1.0.0");
}

/* False if a socket is named in a way that cannot be used. */
static bool find_socket(struct call *call)
{
	const char *variable = getenv("AXON_CNI_SOCKET");
	enum finding found = config_text(call->input.data, call->input.length, "axonSocket", call->socket_path,
					 sizeof(call->socket_path));

	if (found != ABSENT)
		return found == FOUND;
	if (variable == NULL || *variable == '\0')
		variable = DEFAULT_SOCKET;
	if (strlen(variable) >= sizeof(call->socket_path) || strpbrk(variable, "\"\\\n\r\t") != NULL)
		return false;
	strcpy(call->socket_path, variable);
	return true;
}

static int64_t timeout_ms(const struct call *call)
{
	const char *text = getenv("AXON_CNI_TIMEOUT_MS");
	char *end = NULL;
	long long given = text ? strtoll(text, &end, 10) : -1;

	if (text != NULL && end != text && *end == '\0' && given >= 0)
		return given;
	return strcmp(call->command, "STATUS") == 0 ? 2000 : 60000;
}

static int answer_version(void)
{
	static const char text[] = "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":"
				   "[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n";

	return write_out(text, sizeof(text) - 1) ? 0 : 1;
}

static const char *reason(enum outcome outcome)
{
	switch (outcome) {
	case AGENT_AWAY: return "the agent does not answer";
	case AGENT_DIED: return "the agent ended before it answered";
	case AGENT_SLOW: return "the agent did not answer in time";
	default: return "the agent's answer is too large";
	}
}

static int report_outcome(const struct call *call, enum outcome outcome, int64_t waited)
{
	int code = strcmp(call->command, "STATUS") == 0 ? NOT_AVAILABLE : TRY_AGAIN;
	char *details;

	if (asprintf(&details,
		     "socket %s, waited %lld ms: check that the agent of this node runs (its log says why not) and "
		     "that axonSocket in the CNI configuration is its socket",
		     call->socket_path, (long long)waited) < 0)
		return 1;
	return report(call, code, reason(outcome), details);
}

static bool is_del(const struct call *call)
{
	return strcmp(call->command, "DEL") == 0;
}

/*
 * ADD is not repeated once it may have begun: the runtime follows a failed ADD with DEL. The others may be asked
 * twice, so an agent that restarts meanwhile is not an error.
 */
static enum outcome ask(const struct call *call, const struct bytes *request, struct bytes *answer,
			uint32_t *exit_code)
{
	int64_t start = now_ms(), deadline = start + timeout_ms(call);
	struct patience until = { deadline, deadline };
	bool may_repeat = strcmp(call->command, "ADD") != 0;
	enum outcome outcome;

	if (is_del(call) && deadline - start > DEL_PATIENCE_MS)
		until.dial = start + DEL_PATIENCE_MS;
	outcome = exchange(call->socket_path, request, until, answer, exit_code);
	while (outcome == AGENT_DIED && may_repeat && now_ms() + RETRY_MS < deadline) {
		pause_before_retry();
		outcome = exchange(call->socket_path, request, until, answer, exit_code);
	}
	return outcome;
}

/* The outcome of a DEL that found no agent: a pod that goes must not wait for one. */
static enum outcome ask_later(const struct call *call, const struct bytes *request, struct bytes *answer,
			      uint32_t *exit_code)
{
	char path[4096];
	struct patience until = { now_ms(), now_ms() + timeout_ms(call) };
	enum kept kept = keep_for_later(call->socket_path, request, path, sizeof(path));
	enum outcome outcome;

	if (kept == NOT_KEPT)
		return AGENT_AWAY;
	*exit_code = 0;
	if (kept == NOTHING_TO_KEEP)
		return ANSWERED;
	outcome = exchange(call->socket_path, request, until, answer, exit_code);
	if (outcome == ANSWERED)
		unlink(path);
	else
		answer->length = *exit_code = 0;
	return ANSWERED;
}

static int forward(struct call *call)
{
	struct bytes request = { .limit = MAX_REQUEST }, answer = { 0 };
	int64_t start = now_ms();
	uint32_t exit_code = 1;
	enum outcome outcome;

	if (!build_request(&request, environ, &call->input))
		return report(call, BAD_ENVIRONMENT, "the CNI_ variables are too large", "");
	outcome = ask(call, &request, &answer, &exit_code);
	if (outcome == AGENT_AWAY && is_del(call))
		outcome = ask_later(call, &request, &answer, &exit_code);
	if (outcome != ANSWERED)
		return report_outcome(call, outcome, now_ms() - start);
	if (!write_out(answer.data, answer.length))
		return 1;
	return exit_code > 255 ? 255 : (int)exit_code;
}

static bool called_as(const char *program, const char *name)
{
	const char *slash = strrchr(program, '/');

	return strcmp(slash ? slash + 1 : program, name) == 0;
}

int main(int argc, char **argv)
{
	struct call call = { .command = getenv("CNI_COMMAND"), .version = "1.0.0" };

	if (call.command == NULL || *call.command == '\0')
		return report(&call, BAD_ENVIRONMENT, "CNI_COMMAND is not set",
			      "this program is called by a container runtime, see the CNI specification");
	if (!read_input(&call.input))
		return report(&call, BAD_CONTENT, "cannot read the configuration from stdin", "at most 1 MiB is read");
	if (strcmp(call.command, "VERSION") == 0)
		return answer_version();
	read_version(&call);
	if (argc > 0 && called_as(argv[0], "loopback"))
		return loopback(call.command, call.version);
	if (!find_socket(&call))
		return report(&call, BAD_CONFIG, "the agent's socket is not named in a usable way",
			      "axonSocket or AXON_CNI_SOCKET: a path of at most 107 bytes without escapes");
	return forward(&call);
}
