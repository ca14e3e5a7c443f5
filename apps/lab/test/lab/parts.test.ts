import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { build } from "esbuild";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lockState } from "../../src/apiserver/storage/lock.ts";
import { checkBuild } from "../../src/lab/build.ts";
import { cgroup2Root } from "../../src/lab/cgroup.ts";
import { freeNumber, type LabConfig, nodeNames, substitute, writeConfig } from "../../src/lab/config.ts";
import { labPins } from "../../src/lab/leftovers.ts";
import { takeLock, waitForLock } from "../../src/lab/lock.ts";
import { labPaths } from "../../src/lab/paths.ts";
import { lastLines } from "../../src/lab/service.ts";
import { mountsBelow } from "../../src/network/mounts.ts";
import { planNetwork, staticPodCidrs } from "../../src/network/plan.ts";

describe("names", () => {
  const roots = { run: "/r", cgroup2: "/c", bpffs: "/b" };

  it("that could leave their directory are refused", () => {
    for (const name of ["", "..", "a/b", "A", "-a", "a-", "a b", "x".repeat(33)]) {
      expect(() => labPaths(name, roots)).toThrow("not usable");
    }
    expect(labPaths("demo", roots).bpffs("node1")).toBe("/b/axon-demo-node1");
  });

  it("of nodes are node1, node2, ... and differ from the wire's", () => {
    expect(nodeNames(2)).toEqual(["node1", "node2"]);
    expect(() => nodeNames(["net"])).toThrow("net");
    expect(() => nodeNames(["a", "a"])).toThrow("differ");
  });
});

describe("the network plan", () => {
  it("follows the contract", () => {
    const plan = planNetwork(7, ["node1", "node2"]);
    expect(plan.nodes.map(({ ips }) => ips)).toEqual([
      ["172.30.7.11", "fd00:172:30:7::11"],
      ["172.30.7.12", "fd00:172:30:7::12"],
    ]);
    expect(plan.bridge.map(({ text }) => text)).toEqual(["172.30.7.1/24", "fd00:172:30:7::1/64"]);
    expect(plan.podCidrs).toEqual(["10.207.0.0/16", "fd10:7::/48"]);
    expect(staticPodCidrs(plan, 2)).toEqual(["10.207.2.0/24", "fd10:7:0:2::/64"]);
  });

  it("writes addresses in their canonical form, and refuses what does not fit", () => {
    expect(planNetwork(0, ["a"]).nodes[0]?.ips[1]).toBe("fd00:172:30::11");
    expect(() => planNetwork(256, ["a"])).toThrow("0..255");
    expect(() => planNetwork(0, [])).toThrow("1 to 200");
  });
});

describe("files", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "axlab-parts-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("a lock is held against others, and taken over from the dead", () => {
    const file = join(dir, "lock");
    const lock = takeLock(file, "first");
    expect(() => takeLock(file, "second")).toThrow(`process ${process.pid} is at work on this lab (first)`);
    lock.release();
    takeLock(file, "third").release();
    // A process id that is ours now, but of a process that started at another time.
    writeFileSync(file, JSON.stringify({ pid: process.pid, start: "1", what: "dead" }));
    takeLock(file, "fourth").release();
    writeFileSync(file, "garbage");
    takeLock(file, "fifth").release();
  });

  it("locks of a killed process that nobody has noticed yet are taken over", async () => {
    // The shell leaves its child unnoticed: it is stopped.
    const script = "sleep 100 & echo $!; kill -STOP $$";
    const parent = spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      const [line] = (await once(parent.stdout, "data")) as [Buffer];
      const pid = Number(line.toString());
      process.kill(pid, "SIGKILL");
      const fields = () => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
      await waitFor(() => fields()[0] === "Z", { what: "the child to be dead and unnoticed" });
      const start = fields()[19];
      const file = join(dir, "lock");
      writeFileSync(file, JSON.stringify({ pid, start, what: "dead" }));
      takeLock(file, "next").release();
      writeFileSync(file, `${pid} ${start}`);
      lockState(dir)();
    } finally {
      parent.kill("SIGKILL");
    }
  });

  it("a lock is one process's, however many reach for it at once", async () => {
    const lock = join(import.meta.dirname, "../../src/lab/lock.ts");
    const program = `
      import { closeSync, openSync, rmSync } from "node:fs";
      import { waitForLock } from ${JSON.stringify(lock)};
      const [file, inside] = process.argv.slice(2);
      for (let round = 0; round < 150; round++) {
        const held = await waitForLock(file, "a round");
        closeSync(openSync(inside, "wx"));
        rmSync(inside);
        held.release();
      }
      process.exit(0);`;
    const outfile = join(dir, "contender.mjs");
    await build({
      stdin: { contents: program, resolveDir: import.meta.dirname },
      bundle: true,
      platform: "node",
      format: "esm",
      outfile,
      logLevel: "silent",
    });
    const ran = await Promise.all(
      [1, 2, 3, 4].map(async () => {
        const child = spawn(process.execPath, [outfile, join(dir, "lock"), join(dir, "inside")], {
          stdio: ["ignore", "ignore", "pipe"],
        });
        const told: Buffer[] = [];
        child.stderr.on("data", (data: Buffer) => told.push(data));
        const [code] = (await once(child, "close")) as [number];
        return { code, stderr: Buffer.concat(told).toString() };
      }),
    );
    expect(ran).toEqual(ran.map(() => ({ code: 0, stderr: "" })));
    expect(readdirSync(dir)).toEqual(["contender.mjs"]);
  }, 30_000);

  it("a lock that is needed for a moment is waited for", async () => {
    const file = join(dir, "lock");
    const lock = takeLock(file, "first");
    let taken = false;
    const second = waitForLock(file, "second").then((held) => {
      taken = true;
      held.release();
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(taken).toBe(false);
    lock.release();
    await second;
    expect(taken).toBe(true);
  });

  it("of a log, a person gets time, level, message and the error's words", () => {
    const file = join(dir, "agent.log");
    const err = { type: "KubeError", message: "cannot list nodes", stack: "KubeError: ...\n  at x" };
    const line = {
      level: "warn",
      time: "T",
      pid: 1,
      name: "agent",
      resource: "nodes",
      err,
      msg: "interrupted",
    };
    writeFileSync(
      file,
      `first\n${JSON.stringify(line)}\n${JSON.stringify({ ...line, err: "no route" })}\nplain\n`,
    );
    expect(lastLines(file, 3).split("\n")).toEqual([
      "T warn interrupted (resource nodes): cannot list nodes",
      "T warn interrupted (resource nodes): no route",
      "plain",
    ]);
    expect(lastLines(join(dir, "none"), 3)).toBe("");
    writeFileSync(file, `${"x".repeat(5000)}\n`);
    expect(lastLines(file, 3).length).toBe(400);
  });

  it("a bundle of another build is refused by name, one of the same build is not", () => {
    const file = join(dir, "agent.mjs");
    writeFileSync(file, "code();\n// axon-build 0123456789ab\n//# sourceMappingURL=agent.mjs.map\n");
    expect(() => checkBuild(file, "0123456789ab")).not.toThrow();
    expect(() => checkBuild(file, undefined)).not.toThrow();
    expect(() => checkBuild(file, "ba9876543210")).toThrow(
      `${file} is of build 0123456789ab, this program of build ba9876543210: run "make build"`,
    );
    writeFileSync(file, "");
    expect(() => checkBuild(file, "ba9876543210")).toThrow("an unknown build");
  });

  it("the lowest free lab number is found, damaged configurations aside", () => {
    expect(freeNumber(join(dir, "none"))).toBe(0);
    const config = { version: 1, name: "a", number: 0, nodes: ["n"] } as unknown as LabConfig;
    writeConfig(join(dir, "a", "lab.json"), config);
    writeConfig(join(dir, "b", "lab.json"), { ...config, number: 1 });
    writeConfig(join(dir, "c", "lab.json"), config);
    writeFileSync(join(dir, "c", "lab.json"), "{");
    expect(freeNumber(dir)).toBe(2);
  });

  it("pins of a lab whose name begins with another's are not mixed up", () => {
    for (const name of ["run/demo", "run/demo-two", "bpf/axon-demo-node1", "bpf/axon-demo-two-node1"]) {
      writeConfig(join(dir, name, "x"), {} as LabConfig);
    }
    const roots = { run: join(dir, "run"), cgroup2: dir, bpffs: join(dir, "bpf") };
    expect(labPins("demo", roots)).toEqual([join(dir, "bpf/axon-demo-node1")]);
    expect(labPins("demo-two", roots)).toEqual([join(dir, "bpf/axon-demo-two-node1")]);
  });
});

describe("text of the system", () => {
  const mountinfo = [
    "30 1 0:26 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw",
    "40 1 0:4 net:[4026532] /run/axon/x/netns/net rw shared:1 - nsfs nsfs rw",
    "41 1 0:4 / /run/axon/x rw - tmpfs tmpfs rw",
    "42 1 0:4 / /run/axon/x\\040y rw - tmpfs tmpfs rw",
  ].join("\n");

  it("mounts below a path come deepest first, names with blanks included", () => {
    expect(mountsBelow("/run/axon/x", mountinfo).map(({ point }) => point)).toEqual([
      "/run/axon/x/netns/net",
      "/run/axon/x",
    ]);
    expect(mountsBelow("/run/axon/x y", mountinfo)).toHaveLength(1);
  });

  it("the cgroup2 mount is found, or its absence told", () => {
    expect(cgroup2Root(mountinfo)).toBe("/sys/fs/cgroup/unified");
    expect(() => cgroup2Root("")).toThrow("no cgroup2 file system");
  });

  it("templates are filled wherever they stand, unknown names stay", () => {
    const filled = substitute({ a: ["{{node}}/x", 1], b: { c: "{{what}}" } }, { node: "n1" });
    expect(filled).toEqual({ a: ["n1/x", 1], b: { c: "{{what}}" } });
  });
});
