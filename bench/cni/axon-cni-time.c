// SPDX-License-Identifier: Apache-2.0
/*
 * axon-cni-time: calls a CNI plugin many times as a container runtime does and times each call from its start to
 * its end. In C, because starting a process from Node costs as much as a fast plugin takes.
 *
 * Call i has CNI_CONTAINERID <prefix><i> and CNI_NETNS <netns folder>/<prefix><i>; {i} in --args is the number.
 * Prints one line of JSON. A failed call is counted, its time is not; the first one's output is given.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PARALLEL 256
#define MAX_ENVIRONMENT 64

struct options {
	const char *plugin, *config, *command, *netns_dir, *prefix, *ifname, *args, *path;
	int first, count, parallel;
};

struct slot {
	pid_t pid;
	int output;
	uint64_t start;
};

static struct slot slots[MAX_PARALLEL];
static char first_error[4096];

static void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "axon-cni-time: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static char *text(const char *name, const char *a, const char *b, const char *c)
{
	char *all;

	if (asprintf(&all, "%s=%s%s%s", name, a, b, c) < 0)
		fail("no memory");
	return all;
}

/* `template` with every {i} replaced. */
static char *fill(const char *template, const char *number)
{
	char *filled = strdup("");

	for (const char *mark; (mark = strstr(template, "{i}")) != NULL; template = mark + 3) {
		char *longer;

		if (asprintf(&longer, "%s%.*s%s", filled, (int)(mark - template), template, number) < 0)
			fail("no memory");
		free(filled);
		filled = longer;
	}
	return text("CNI_ARGS", filled, template, "");
}

static void start(const struct options *o, int index, struct slot *slot)
{
	char number[16], *environment[MAX_ENVIRONMENT], *arguments[] = { (char *)o->plugin, NULL };
	posix_spawn_file_actions_t files;
	int count = 0, error;

	snprintf(number, sizeof(number), "%d", index);
	environment[count++] = text("CNI_COMMAND", o->command, "", "");
	environment[count++] = text("CNI_CONTAINERID", o->prefix, number, "");
	environment[count++] = text("CNI_NETNS", o->netns_dir, "/", o->prefix);
	environment[count - 1] = realloc(environment[count - 1], strlen(environment[count - 1]) + sizeof(number));
	strcat(environment[count - 1], number);
	environment[count++] = text("CNI_IFNAME", o->ifname, "", "");
	environment[count++] = text("CNI_PATH", o->path, "", "");
	environment[count++] = fill(o->args, number);
	for (char **own = environ; *own && count < MAX_ENVIRONMENT - 1; own++) {
		if (strncmp(*own, "AXON_", 5) == 0 || strncmp(*own, "PATH=", 5) == 0)
			environment[count++] = strdup(*own);
	}
	environment[count] = NULL;

	slot->output = memfd_create("output", MFD_CLOEXEC);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, o->config, O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, slot->output, 1);
	slot->start = now_ns();
	error = posix_spawn(&slot->pid, o->plugin, &files, NULL, arguments, environment);
	if (error != 0) {
		errno = error;
		fail(o->plugin);
	}
	posix_spawn_file_actions_destroy(&files);
	for (int i = 0; i < count; i++)
		free(environment[i]);
}

static void keep_error(int output)
{
	ssize_t length = pread(output, first_error, sizeof(first_error) - 1, 0);

	first_error[length < 0 ? 0 : length] = '\0';
	if (length <= 0)
		strcpy(first_error, "(no output)");
}

/* Waits for one call; returns its time, or 0 if it failed. */
static uint64_t finish(struct slot **freed)
{
	int status;
	pid_t pid = wait(&status);
	uint64_t end = now_ns();

	if (pid < 0)
		fail("wait");
	for (struct slot *slot = slots; slot < slots + MAX_PARALLEL; slot++) {
		bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;

		if (slot->pid != pid)
			continue;
		if (!good && first_error[0] == '\0')
			keep_error(slot->output);
		close(slot->output);
		slot->pid = 0;
		*freed = slot;
		return good ? end - slot->start : 0;
	}
	fail("an unknown process ended");
}

static int by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static double at(const uint64_t *sorted, int count, double fraction)
{
	return count ? (double)sorted[(int)((double)(count - 1) * fraction + 0.5)] / 1e6 : 0;
}

static void print_text(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < ' ')
			printf("\\u%04x", *text);
		else
			putchar(*text);
	}
	putchar('"');
}

static void print_times(uint64_t *times, int good, int count, uint64_t elapsed)
{
	double sum = 0;

	qsort(times, (size_t)good, sizeof(*times), by_value);
	for (int i = 0; i < good; i++)
		sum += (double)times[i] / 1e6;
	printf("{\"count\":%d,\"failed\":%d,\"seconds\":%.3f,\"perSecond\":%.1f,\"p50Ms\":%.3f,\"p90Ms\":%.3f,"
	       "\"p99Ms\":%.3f,\"maxMs\":%.3f,\"meanMs\":%.3f,\"firstError\":",
	       count, count - good, (double)elapsed / 1e9, (double)good / ((double)elapsed / 1e9), at(times, good, 0.5),
	       at(times, good, 0.9), at(times, good, 0.99), at(times, good, 1), good ? sum / good : 0);
	print_text(first_error);
	puts("}");
}

static void run(const struct options *o)
{
	uint64_t *times = calloc((size_t)o->count + 1, sizeof(*times)), begin = now_ns();
	int started = 0, running = 0, good = 0;

	while (started < o->count || running > 0) {
		struct slot *slot;
		uint64_t time;

		if (started < o->count && running < o->parallel) {
			for (slot = slots; slot->pid != 0; slot++)
				;
			start(o, o->first + started++, slot);
			running++;
			continue;
		}
		time = finish(&slot);
		running--;
		if (time > 0)
			times[good++] = time;
	}
	print_times(times, good, o->count, now_ns() - begin);
	free(times);
}

static const char usage[] =
	"usage: axon-cni-time --plugin FILE --config FILE --command ADD|DEL|CHECK --netns-dir DIR --count N\n"
	"       [--prefix TEXT] [--first N] [--parallel N] [--ifname eth0] [--args TEMPLATE] [--cni-path DIR]\n";

static const struct option names[] = {
	{ "plugin", required_argument, NULL, 'p' },  { "config", required_argument, NULL, 'c' },
	{ "command", required_argument, NULL, 'm' }, { "netns-dir", required_argument, NULL, 'd' },
	{ "count", required_argument, NULL, 'n' },   { "prefix", required_argument, NULL, 'x' },
	{ "first", required_argument, NULL, 'f' },   { "parallel", required_argument, NULL, 'j' },
	{ "ifname", required_argument, NULL, 'i' },  { "args", required_argument, NULL, 'a' },
	{ "cni-path", required_argument, NULL, 'b' }, { NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	struct options o = { .prefix = "bench", .ifname = "eth0", .args = "", .path = "/usr/lib/cni", .parallel = 1 };
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'p': o.plugin = optarg; break;
		case 'c': o.config = optarg; break;
		case 'm': o.command = optarg; break;
		case 'd': o.netns_dir = optarg; break;
		case 'n': o.count = atoi(optarg); break;
		case 'x': o.prefix = optarg; break;
		case 'f': o.first = atoi(optarg); break;
		case 'j': o.parallel = atoi(optarg); break;
		case 'i': o.ifname = optarg; break;
		case 'a': o.args = optarg; break;
		case 'b': o.path = optarg; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (!o.plugin || !o.config || !o.command || !o.netns_dir || o.count < 1 || o.parallel < 1 ||
	    o.parallel > MAX_PARALLEL) {
		fputs(usage, stderr);
		return 2;
	}
	run(&o);
	return 0;
}
