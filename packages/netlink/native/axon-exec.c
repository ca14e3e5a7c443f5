// SPDX-License-Identifier: Apache-2.0
/*
 * axon-exec: enters namespaces and a cgroup, then becomes a command. The lab starts agents and pods with it.
 * Static, so that it also starts where the root filesystem is a pod's own. Failures before the command are one
 * line on stderr and exit 126 (could not prepare, or not executable) or 127 (command not found).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_BINDS 64
#define MAX_CGROUPS 8

static const char usage[] =
	"usage: axon-exec [options] -- command [argument ...]\n"
	"  --netns PATH        enter this network namespace\n"
	"  --cgroup DIR        join this cgroup (repeatable)\n"
	"  --root DIR          a mount namespace with DIR as root, /proc, /sys and /dev in it\n"
	"  --bind SRC:DST[:ro] mount SRC over DST, seen by the command only (repeatable)\n"
	"  --tmpfs DST         mount an empty tmpfs on DST, seen by the command only (repeatable)\n"
	"  --pidns             a process namespace with the command as process 1\n"
	"  --hostname NAME     a UTS namespace with this host name (also --uts-hostname)\n"
	"  --cwd DIR           working directory, inside the root\n"
	"  --uid N --gid N     become this user and group, without other groups\n"
	"  --setsid            start a session\n"
	"  --pdeathsig SIG     get this signal (number, TERM, KILL ...) when the parent dies\n"
	"  --pidfile FILE      write the command's process id here\n";

struct bind {
	const char *source; /* NULL: tmpfs */
	const char *target;
	bool read_only;
};

struct options {
	const char *netns, *root, *hostname, *cwd, *pidfile;
	const char *cgroups[MAX_CGROUPS];
	struct bind binds[MAX_BINDS];
	int cgroup_count, bind_count;
	long uid, gid;
	int death_signal;
	bool pidns, setsid;
};

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	int error = errno;
	va_list args;

	fputs("axon-exec: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, error ? ": %s\n" : "\n", strerror(error));
	exit(126);
}

static void __attribute__((noreturn)) misuse(const char *what, const char *value)
{
	errno = 0;
	fail("%s \"%s\"; see axon-exec --help", what, value);
}

static long parse_number(const char *text, const char *what)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno || *end || end == text || number < 0 || number > UINT_MAX)
		misuse(what, text);
	return number;
}

static int parse_signal(const char *text)
{
	const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;

	for (int signal = 1; signal < NSIG; signal++) {
		const char *known = sigabbrev_np(signal);

		if (known && strcmp(known, name) == 0)
			return signal;
	}
	return (int)parse_number(text, "bad signal");
}

static void add_bind(struct options *o, char *text)
{
	struct bind *bind = &o->binds[o->bind_count++];
	char *colon;

	if (o->bind_count > MAX_BINDS - 1)
		misuse("too many mounts at", text);
	colon = strchr(text, ':');
	if (colon == NULL || colon == text || colon[1] != '/')
		misuse("--bind wants SRC:/DST, not", text);
	*colon = '\0';
	bind->source = text;
	bind->target = colon + 1;
	colon = strchr(bind->target, ':');
	if (colon == NULL)
		return;
	if (strcmp(colon, ":ro") != 0)
		misuse("unknown mount option", colon);
	*colon = '\0';
	bind->read_only = true;
}

static void add_tmpfs(struct options *o, const char *target)
{
	if (o->bind_count == MAX_BINDS - 1 || target[0] != '/')
		misuse("--tmpfs wants an absolute path, not", target);
	o->binds[o->bind_count++].target = target;
}

enum { NETNS = 1, CGROUP, ROOT, BIND, TMPFS, PIDNS, HOSTNAME, CWD, UID, GID, SETSID, PDEATHSIG, PIDFILE, HELP };

static const struct option names[] = {
	{ "netns", required_argument, NULL, NETNS },
	{ "cgroup", required_argument, NULL, CGROUP },
	{ "root", required_argument, NULL, ROOT },
	{ "bind", required_argument, NULL, BIND },
	{ "tmpfs", required_argument, NULL, TMPFS },
	{ "pidns", no_argument, NULL, PIDNS },
	{ "hostname", required_argument, NULL, HOSTNAME },
	{ "uts-hostname", required_argument, NULL, HOSTNAME },
	{ "cwd", required_argument, NULL, CWD },
	{ "uid", required_argument, NULL, UID },
	{ "gid", required_argument, NULL, GID },
	{ "setsid", no_argument, NULL, SETSID },
	{ "pdeathsig", required_argument, NULL, PDEATHSIG },
	{ "pidfile", required_argument, NULL, PIDFILE },
	{ "help", no_argument, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};

static void take_option(struct options *o, int option)
{
	switch (option) {
	case NETNS: o->netns = optarg; break;
	case CGROUP:
		if (o->cgroup_count == MAX_CGROUPS)
			misuse("too many cgroups at", optarg);
		o->cgroups[o->cgroup_count++] = optarg;
		break;
	case ROOT: o->root = optarg; break;
	case BIND: add_bind(o, optarg); break;
	case TMPFS: add_tmpfs(o, optarg); break;
	case PIDNS: o->pidns = true; break;
	case HOSTNAME: o->hostname = optarg; break;
	case CWD: o->cwd = optarg; break;
	case UID: o->uid = parse_number(optarg, "bad --uid"); break;
	case GID: o->gid = parse_number(optarg, "bad --gid"); break;
	case SETSID: o->setsid = true; break;
	case PDEATHSIG: o->death_signal = parse_signal(optarg); break;
	case PIDFILE: o->pidfile = optarg; break;
	case HELP: fputs(usage, stdout); exit(0);
	default: fputs("axon-exec: see axon-exec --help\n", stderr); exit(126);
	}
}

static void write_number(const char *file, int flags, int number)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%d\n", number);
	int fd = open(file, O_WRONLY | O_CLOEXEC | flags, 0644);

	if (fd < 0 || write(fd, text, (size_t)length) != length)
		fail("cannot write %s", file);
	close(fd);
}

static void join_cgroups(const struct options *o)
{
	for (int i = 0; i < o->cgroup_count; i++) {
		char file[PATH_MAX];

		snprintf(file, sizeof(file), "%s/cgroup.procs", o->cgroups[i]);
		write_number(file, 0, 0);
	}
}

static void enter_netns(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fail("cannot open network namespace %s", path);
	if (setns(fd, CLONE_NEWNET) != 0)
		fail("cannot enter network namespace %s", path);
	close(fd);
}

/* Opens a path below `root` as a process inside it would see it: links never lead out. */
static int open_inside(int root, const char *path, int flags)
{
	struct open_how how = { .flags = (unsigned int)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT };

	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

/* Makes what is missing of `path` in the pod's root; the last part is a file if `is_file`. */
static void make_target(int root, const char *path, bool is_file)
{
	char part[PATH_MAX];
	size_t length = strlen(path);

	if (length >= sizeof(part))
		misuse("path too long:", path);
	for (size_t end = 1; end <= length; end++) {
		char *slash;
		int parent, fd;

		if (path[end] != '/' && path[end] != '\0')
			continue;
		memcpy(part, path, end);
		part[end] = '\0';
		fd = open_inside(root, part, O_PATH);
		if (fd >= 0) {
			close(fd);
			continue;
		}
		slash = strrchr(part, '/');
		*slash = '\0';
		parent = open_inside(root, *part ? part : "/", O_PATH | O_DIRECTORY);
		if (parent < 0)
			fail("cannot open %s in the root", part);
		if (is_file && end == length) {
			fd = openat(parent, slash + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
			if (fd >= 0)
				close(fd);
		} else {
			fd = mkdirat(parent, slash + 1, 0755);
		}
		if (fd < 0)
			fail("cannot make %s in the root", path);
		close(parent);
	}
}

static void mount_on(int target, const char *name, const struct bind *bind)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", target);
	if (bind->source == NULL) {
		if (mount("tmpfs", link, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") != 0)
			fail("cannot mount a tmpfs on %s", name);
		return;
	}
	if (mount(bind->source, link, NULL, MS_BIND | MS_REC, NULL) != 0)
		fail("cannot mount %s on %s", bind->source, name);
}

/* A bind becomes read-only in a second step, on the mount that now covers the place. */
static void make_read_only(int root, const struct bind *bind)
{
	char link[64];
	int fd = root < 0 ? open(bind->target, O_PATH | O_CLOEXEC) : open_inside(root, bind->target, O_PATH);

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (fd < 0 || mount(NULL, link, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) != 0)
		fail("cannot make %s read-only", bind->target);
	close(fd);
}

static void do_binds(const struct options *o, int root)
{
	for (int i = 0; i < o->bind_count; i++) {
		const struct bind *bind = &o->binds[i];
		struct stat status = { .st_mode = S_IFDIR };
		int fd;

		if (bind->source && stat(bind->source, &status) != 0)
			fail("cannot mount %s", bind->source);
		if (root >= 0)
			make_target(root, bind->target, !S_ISDIR(status.st_mode));
		fd = root < 0 ? open(bind->target, O_PATH | O_CLOEXEC) : open_inside(root, bind->target, O_PATH);
		if (fd < 0)
			fail("cannot mount on %s", bind->target);
		mount_on(fd, bind->target, bind);
		close(fd);
		if (bind->read_only)
			make_read_only(root, bind);
	}
}

/* The filesystems every process expects; those of the kernel show the namespaces entered before. */
static void mount_basics(int root)
{
	static const struct bind dev = { "/dev", "/dev", false };
	struct stat status;
	int fd;

	make_target(root, "/proc", false);
	make_target(root, "/sys", false);
	make_target(root, "/dev", false);
	fd = open_inside(root, "/dev/null", O_PATH);
	if (fd < 0 || fstat(fd, &status) != 0 || !S_ISCHR(status.st_mode)) {
		int target = open_inside(root, "/dev", O_PATH);

		mount_on(target, "/dev", &dev);
		close(target);
	}
	if (fd >= 0)
		close(fd);
}

static void mount_kernel(int root, const char *type, const char *place, unsigned long flags)
{
	char link[64];
	int fd = open_inside(root, place, O_PATH);

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (fd < 0 || mount(type, link, type, MS_NOSUID | MS_NODEV | MS_NOEXEC | flags, NULL) != 0)
		fail("cannot mount %s on %s", type, place);
	close(fd);
}

static void enter_root(const struct options *o)
{
	int root;

	if (mount(o->root, o->root, NULL, MS_BIND | MS_REC, NULL) != 0)
		fail("cannot use root %s", o->root);
	root = open(o->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		fail("cannot open root %s", o->root);
	mount_basics(root);
	do_binds(o, root);
	mount_kernel(root, "sysfs", "/sys", MS_RDONLY);
	mount_kernel(root, "proc", "/proc", 0);
	if (fchdir(root) != 0 || syscall(SYS_pivot_root, ".", ".") != 0)
		fail("cannot make %s the root", o->root);
	if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
		fail("cannot leave the old root");
	close(root);
}

/* Runs in the process that becomes the command (with --pidns: process 1 of the namespace, so /proc fits it). */
static void set_up_mounts(const struct options *o)
{
	if (o->root == NULL && o->bind_count == 0 && !o->pidns)
		return;
	if (unshare(CLONE_NEWNS) != 0)
		fail("cannot make a mount namespace");
	/* Slave: unmounts outside still reach us, so that we pin no namespace of others; ours stay ours. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
		fail("cannot separate the mounts");
	if (o->root != NULL) {
		enter_root(o);
		return;
	}
	do_binds(o, -1);
	if (o->pidns && mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
		fail("cannot mount /proc");
}

static void set_up_hostname(const char *name)
{
	if (name == NULL)
		return;
	if (unshare(CLONE_NEWUTS) != 0 || sethostname(name, strlen(name)) != 0)
		fail("cannot set the host name %s", name);
}

static void become_user(const struct options *o)
{
	if (o->uid < 0 && o->gid < 0)
		return;
	if (setgroups(0, NULL) != 0)
		fail("cannot drop the groups");
	if (o->gid >= 0 && setresgid((gid_t)o->gid, (gid_t)o->gid, (gid_t)o->gid) != 0)
		fail("cannot become group %ld", o->gid);
	if (o->uid >= 0 && setresuid((uid_t)o->uid, (uid_t)o->uid, (uid_t)o->uid) != 0)
		fail("cannot become user %ld", o->uid);
}

/* After the change of user, which clears it. The parent may have died before: then it is too late to be told. */
static void tie_to_parent(int signal, pid_t parent)
{
	if (signal == 0)
		return;
	if (prctl(PR_SET_PDEATHSIG, signal) != 0)
		fail("cannot ask for signal %d", signal);
	/* In a new process namespace the parent's number is 0, which cannot be compared. */
	if (getppid() != parent && getppid() != 0) {
		errno = 0;
		fail("the parent has died");
	}
}

static void __attribute__((noreturn)) become(const struct options *o, char **command, pid_t parent)
{
	int error;

	set_up_mounts(o);
	set_up_hostname(o->hostname);
	if (o->cwd != NULL && chdir(o->cwd) != 0)
		fail("cannot change to %s", o->cwd);
	become_user(o);
	tie_to_parent(o->pidns ? SIGKILL : o->death_signal, parent);
	execvp(command[0], command);
	error = errno;
	fprintf(stderr, "axon-exec: cannot run %s: %s\n", command[0], strerror(error));
	exit(error == ENOENT ? 127 : 126);
}

static pid_t child;

static void forward(int signal)
{
	if (child > 0)
		kill(child, signal);
}

/* The process outside a process namespace stands for the one inside: signals go in, the exit comes out. */
static void __attribute__((noreturn)) stand_for(pid_t pid)
{
	static const int forwarded[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };
	int status;

	child = pid;
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
		signal(forwarded[i], forward);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			fail("cannot wait for the command");
	}
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		kill(getpid(), WTERMSIG(status));
		exit(128 + WTERMSIG(status));
	}
	exit(WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	struct options o = { .uid = -1, .gid = -1 };
	pid_t parent = getppid(), pid;
	int option;

	while ((option = getopt_long(argc, argv, "+", names, NULL)) != -1)
		take_option(&o, option);
	if (optind >= argc) {
		fputs(usage, stderr);
		return 126;
	}
	errno = 0;
	join_cgroups(&o);
	if (o.setsid && setsid() < 0 && errno != EPERM)
		fail("cannot start a session");
	if (o.netns != NULL)
		enter_netns(o.netns);
	if (o.pidfile != NULL && !o.pidns)
		write_number(o.pidfile, O_CREAT | O_TRUNC, getpid());
	if (!o.pidns)
		become(&o, argv + optind, parent);

	if (unshare(CLONE_NEWPID) != 0)
		fail("cannot make a process namespace");
	tie_to_parent(o.death_signal, parent);
	pid = fork();
	if (pid < 0)
		fail("cannot fork");
	if (pid == 0)
		become(&o, argv + optind, 0);
	if (o.pidfile != NULL)
		write_number(o.pidfile, O_CREAT | O_TRUNC, pid);
	stand_for(pid);
}
