import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { builtFile, type LaunchOptions, launch, Netns } from "../src/index.ts";

const dir = mkdtempSync(join(tmpdir(), "axon-exec-"));
const netns = join(dir, "ns");
const cgroups = readFileSync("/proc/mounts", "utf8")
  .split("\n")
  .map((line) => line.split(" "))
  .find((fields) => fields[2] === "cgroup2")?.[1];

function run(
  options: LaunchOptions,
  ...command: string[]
): { code: number | null; out: string; err: string } {
  const { file, args } = launch(options, command);
  const { status, stdout, stderr } = spawnSync(file, args, { encoding: "utf8" });
  return { code: status, out: stdout.trim(), err: stderr.trim() };
}

const started: ChildProcess[] = [];

/** Ends with its test at the latest, whatever the test comes to. */
function bounded<T extends ChildProcess>(child: T): T {
  started.push(child);
  return child;
}

/** Gone, or dead and not yet reaped by the machine's process 1. */
function hasEnded(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return true;
  }
}

beforeAll(() => Netns.create(netns));
afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
});
afterAll(async () => {
  await Netns.delete(netns);
  rmSync(dir, { recursive: true });
});

it("runs a command in a network namespace and gives its exit code", () => {
  const { out } = run({ netns }, "stat", "-L", "-c", "%i", "/proc/self/ns/net");
  expect(Number(out)).toBe(statSync(netns).ino);
  expect(run({ netns }, "sh", "-c", "exit 42").code).toBe(42);
});

it("joins a cgroup before the command runs", () => {
  expect(cgroups).toBeDefined();
  const group = join(cgroups ?? "", `axon-exec-test-${process.pid}`);
  mkdirSync(group);
  try {
    expect(run({ cgroups: [group] }, "cat", "/proc/self/cgroup").out).toContain(
      `axon-exec-test-${process.pid}`,
    );
  } finally {
    rmdirSync(group);
  }
});

it("says in a line what failed, with 126 and 127", () => {
  expect(run({}, "/no/such")).toEqual({
    code: 127,
    out: "",
    err: "axon-exec: cannot run /no/such: No such file or directory",
  });
  const plain = join(dir, "plain");
  writeFileSync(plain, "", { mode: 0o644 });
  expect(run({}, plain)).toMatchObject({ code: 126 });
  expect(run({ netns: "/etc/hostname" }, "true")).toMatchObject({
    code: 126,
    err: "axon-exec: cannot enter network namespace /etc/hostname: Invalid argument",
  });
  expect(run({ cwd: "/none" }, "true").err).toMatch(/cannot change to \/none/);
  expect(run({ parentDeathSignal: "NONE" }, "true").err).toMatch(/bad signal "NONE"/);
});

it("mounts files over others for the command only", () => {
  const file = join(dir, "resolv.conf");
  writeFileSync(file, "nameserver 192.0.2.9\n");
  const before = readFileSync("/etc/hostname", "utf8");
  const options: LaunchOptions = {
    binds: [{ source: file, target: "/etc/hostname", readOnly: true }],
    tmpfs: ["/mnt"],
  };
  expect(
    run(options, "sh", "-c", "cat /etc/hostname; echo x > /etc/hostname || echo read-only; touch /mnt/x").out,
  ).toBe("nameserver 192.0.2.9\nread-only");
  expect(readFileSync("/etc/hostname", "utf8")).toBe(before);
  expect(existsSync("/mnt/x")).toBe(false);
});

it("becomes another user with another host name in another folder", () => {
  const options: LaunchOptions = { uid: 65534, gid: 65533, hostname: "pod-a", cwd: "/tmp" };
  const { out } = run(options, "sh", "-c", "id -u; id -g; id -G; hostname; pwd");
  expect(out.split("\n")).toEqual(["65534", "65533", "65533", "pod-a", "/tmp"]);
  expect(hostname()).not.toBe("pod-a");
});

it("gives a root of its own with the kernel's filesystems in it, and no way out", () => {
  const root = join(dir, "root");
  mkdirSync(join(root, "bin"), { recursive: true });
  // A link that would lead out of the root if it were followed outside; inside it means root/<dir>.
  symlinkSync(dir, join(root, "out"));
  mkdirSync(join(root, dir), { recursive: true });
  const self = builtFile("bin/axon-exec");
  const binds = [
    { source: self, target: "/bin/probe", readOnly: true },
    { source: "/etc/hostname", target: "/out/escaped" },
  ];
  const { code, out } = run({ root, binds, netns, pidns: true, cwd: "/bin" }, "/bin/probe", "--help");
  expect({ code, usage: out.split("\n")[0] }).toEqual({
    code: 0,
    usage: "usage: axon-exec [options] -- command [argument ...]",
  });
  expect(existsSync(join(dir, "escaped"))).toBe(false);
  expect(existsSync(join(root, dir, "escaped"))).toBe(true);
  expect(readdirSync(root)).toEqual(expect.arrayContaining(["bin", "dev", "proc", "sys"]));
  expect(readdirSync(join(root, "proc"))).toEqual([]);
  const shell = ["/bin", "/lib", "/lib64", "/usr"]
    .filter(existsSync)
    .map((place) => ({ source: place, target: place }));
  const look = run({ root: join(dir, "root2"), binds: shell }, "true");
  expect(look.err).toMatch(/cannot use root/);
  mkdirSync(join(dir, "root2"));
  const inside = run(
    { root: join(dir, "root2"), binds: shell, netns },
    "/bin/sh",
    "-c",
    "ls / /sys/class/net; cat /proc/self/comm; test -c /dev/null && echo null",
  );
  expect(inside.out).toMatch(/\bproc\b/);
  expect(inside.out).toMatch(/\blo\b/);
  expect(inside.out).toMatch(/\bnull\b/);
  expect(inside.out).not.toMatch(/\bhome\b/);
});

it("is process 1 with --pidns, forwards signals and exit codes", async () => {
  expect(run({ pidns: true }, "sh", "-c", "echo $$; exit 7")).toMatchObject({ code: 7, out: "1" });
  const pidfile = join(dir, "pid");
  const { file, args } = launch({ pidns: true, pidfile }, [
    "sh",
    "-c",
    "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done",
  ]);
  const child = bounded(spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] }));
  await once(child.stdout, "data");
  // The command runs beside the launcher, which tells its number.
  const told = (): boolean => existsSync(pidfile) && readFileSync(pidfile, "utf8").endsWith("\n");
  await waitFor(told, { timeoutMs: 5000, everyMs: 10, what: "the process id of the command" });
  expect(readlinkSync(`/proc/${readFileSync(pidfile, "utf8").trim()}/exe`)).toMatch(/sh$/);
  child.kill("SIGTERM");
  expect((await once(child, "exit"))[0]).toBe(9);
});

it("ends with its parent when asked, also through --pidns", async () => {
  for (const pidns of [false, true]) {
    const pidfile = join(dir, `child-${pidns}`);
    const inner = launch({ parentDeathSignal: "KILL", pidns, pidfile }, ["sleep", "600"]);
    // The shell is the parent: it stays one as long as it waits.
    const parent = bounded(
      spawn("sh", ["-c", '"$0" "$@" & wait', inner.file, ...inner.args], { stdio: "ignore" }),
    );
    const alive = (): boolean => existsSync(pidfile) && readFileSync(pidfile, "utf8").endsWith("\n");
    await waitFor(alive, { timeoutMs: 5000, everyMs: 10, what: "the command" });
    const pid = readFileSync(pidfile, "utf8").trim();
    // Killed only once the command has taken over: before, the launcher itself says that its parent died.
    const taken = (): boolean => readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("sleep");
    await waitFor(taken, { timeoutMs: 5000, everyMs: 10, what: "the command to start" });
    parent.kill("SIGKILL");
    await waitFor(() => hasEnded(pid), {
      timeoutMs: 5000,
      everyMs: 10,
      what: "the end of the command",
    });
  }
});

it("writes the process id of the command and starts a session", () => {
  const pidfile = join(dir, "session");
  const { out } = run({ pidfile, setsid: true }, "sh", "-c", "echo $$; cut -d' ' -f6 /proc/$$/stat");
  const pid = readFileSync(pidfile, "utf8").trim();
  expect(out.split("\n")).toEqual([pid, pid]);
});
