import type { Process } from "@axoneme/abi";
import { ProcessFlags } from "@axoneme/abi";
import type { HealthReporter } from "@axoneme/app";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { bootWallNs, isRunning } from "../src/processes/proc.ts";
import { type OwnersKernel, Processes, type ProcessesMode } from "../src/processes/processes.ts";
import { argumentsOf, containerOf, flowProcess, pathOf } from "../src/processes/row.ts";

const bytes = (size: number, words: readonly string[]): [Uint8Array, number] => {
  const text = words.map((word) => `${word}\0`).join("");
  const all = new Uint8Array(size);
  return [all, new TextEncoder().encodeInto(text, all).written];
};

interface Words {
  path?: readonly string[];
  args?: readonly string[];
  cgroup?: string;
}

function row(words: Words = {}, more: Partial<Process> = {}): Process {
  const [path, pathLen] = bytes(160, words.path ?? ["curl", "bin", "usr"]);
  const [args, argsLen] = bytes(256, words.args ?? ["curl", "-s", "http://a"]);
  const [cgroup, cgroupLen] = bytes(96, [words.cgroup ?? "main"]);
  const [comm] = bytes(16, ["curl"]);
  const filled = { path, pathLen, args, argsLen, cgroup, cgroupLen, comm };
  return { notedNs: 1n, startNs: 0n, netns: 1n, pid: 0x3f_ffff, uid: 0, flags: 0, ...filled, ...more };
}

const id64 = "0123456789abcdef".repeat(4);

describe("a row of the kernel", () => {
  it("has the path the other way round; what is missing shows", () => {
    expect(pathOf(row())).toBe("/usr/bin/curl");
    expect(pathOf(row({}, { flags: ProcessFlags.PATH_CUT }))).toBe(".../usr/bin/curl");
    expect(pathOf(row({ path: [] }))).toBeUndefined();
  });

  it("names the container by its id, whatever the runtime puts around it", () => {
    expect(containerOf(row({ cgroup: `cri-containerd-${id64}.scope` }))).toBe(id64);
    expect(containerOf(row({ cgroup: id64 }))).toBe(id64);
    expect(containerOf(row({ cgroup: "web" }))).toBe("web");
  });

  it("has arguments on one line, cut where they were, without what would move a terminal's cursor", () => {
    expect(argumentsOf(row())).toBe("-s http://a");
    expect(argumentsOf(row({ args: ["x", "a\nb", "\u001b[2J"] }))).toBe("a?b ?[2J");
    expect(argumentsOf(row({ args: ["x", "y".repeat(20)] }, { flags: ProcessFlags.ARGS_CUT }))).toMatch(
      /y\.\.\.$/,
    );
    expect(argumentsOf(row({ args: ["alone"] }))).toBe("");
  });

  it("shows arguments only when they are wanted", () => {
    const all = { row: row(), startedNs: 0n };
    expect(flowProcess({ ...all, withArguments: false })).toEqual({
      binary: "/usr/bin/curl",
      pid: 0x3f_ffff,
      container: "main",
      start_time: "1970-01-01T00:00:00Z",
    });
    expect(flowProcess({ ...all, withArguments: true })).toHaveProperty("arguments", "-s http://a");
  });
});

/** The kernel's tables in memory. */
class Tables {
  readonly rows = new Map<number, Process>();
  attached = false;
  last = 0;
  readonly kernel: OwnersKernel;

  constructor(room = 32_768, knowsOwners = true) {
    const { rows } = this;
    this.kernel = {
      maps: {
        processes: {
          get: (id: number) => rows.get(id),
          delete: (id: number) => rows.delete(id),
          entries: () => rows.entries(),
          raw: { maxEntries: room },
        },
        processSeq: { get: () => ({ last: this.last, unnoted: 0 }) },
      } as unknown as OwnersKernel["maps"],
      attachments: {
        knowsOwners,
        attachOwners: () => {
          this.attached = true;
        },
        detachOwners: () => {
          this.attached = false;
        },
      },
    };
  }

  add(more: Partial<Process> = {}): number {
    this.rows.set(++this.last, row({}, more));
    return this.last;
  }
}

describe("processes behind numbers", () => {
  const now = () => BigInt(Date.now()) * 1_000_000n;
  const said: string[] = [];
  const health = { ok: (text: string) => said.push(text) } as unknown as HealthReporter;
  const started = (tables: Tables, mode: ProcessesMode = "names") => {
    const processes = new Processes(tables.kernel, mode, "/cgroup");
    processes.start(health);
    return processes;
  };

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    said.length = 0;
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("one that is gone is still named, its row in the kernel is not kept", () => {
    const tables = new Tables();
    const processes = started(tables);
    const id = tables.add();
    expect(processes.get(id, now())).toMatchObject({ binary: "/usr/bin/curl" });
    vi.advanceTimersByTime(1000);
    expect(tables.rows.size).toBe(0);
    expect(processes.counts).toMatchObject({ running: 0, gone: 1 });
    expect(processes.get(id, now())).toMatchObject({ binary: "/usr/bin/curl" });
    processes.stop();
  });

  it("one that runs keeps its row, for the next agent too", () => {
    const tables = new Tables();
    const uptime = BigInt(Math.round(process.uptime() * 1e9));
    const startNs = BigInt(Date.now()) * 1_000_000n - bootWallNs() - uptime;
    let start = 0n;
    for (let ticks = -200n; ticks < 200n && start === 0n; ticks++) {
      const tried = startNs + ticks * 10_000_000n;
      if (isRunning(process.pid, tried)) start = tried;
    }
    expect(start).not.toBe(0n);
    const id = tables.add({ pid: process.pid, startNs: start });
    const first = started(tables);
    vi.advanceTimersByTime(10_000);
    expect(tables.rows.has(id)).toBe(true);
    first.stop();
    expect(started(tables).get(id, now())).toMatchObject({ pid: process.pid });
  });

  it("a number that is older than its process, or of no process, names nobody", () => {
    const tables = new Tables();
    const processes = started(tables);
    const id = tables.add();
    expect(processes.get(id, 1n)).toBeUndefined();
    expect(processes.get(id + 1, now())).toBeUndefined();
  });

  it("neither the kernel's table nor ours fills up", () => {
    const tables = new Tables(64);
    const processes = started(tables);
    for (let i = 0; i < 20_000; i++) {
      tables.add();
      if (i % 16 === 15) vi.advanceTimersByTime(1000);
      expect(tables.rows.size).toBeLessThanOrEqual(64);
    }
    expect(processes.counts.gone).toBeLessThanOrEqual(16_384);
    expect(processes.get(tables.last, now())).toBeDefined();
    expect(processes.get(1, now())).toBeUndefined();
  });

  it("switched off, or on a kernel that cannot, nothing is attached", () => {
    const tables = new Tables();
    expect(started(tables, "off").get(tables.add(), now())).toBeUndefined();
    expect(tables.attached).toBe(false);
    const old = new Tables(64, false);
    started(old);
    expect(old.attached).toBe(false);
    expect(said).toEqual([expect.stringMatching(/^off/), expect.stringMatching(/this kernel/)]);
    started(tables);
    expect(tables.attached).toBe(true);
  });
});
