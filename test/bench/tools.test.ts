import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { launch } from "@axoneme/netlink";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { timePlugin } from "../../bench/cni/ptp.ts";
import {
  bareVethPair,
  buildPerf,
  compare,
  comparisonTable,
  type Measurement,
  measureClient,
  measureMode,
  measurePair,
  median,
  modes,
  podsOnNode,
  routedHops,
  serve,
  type Topology,
} from "../../bench/net/index.ts";
import { iptablesChange, iptablesRules } from "../../bench/services/iptables.ts";
import { answers, serviceOf, servicesOf, targetsOf } from "../../bench/services/model.ts";
import { nameHash } from "../../bench/services/namehash.ts";
import { nftablesChange, nftablesServices } from "../../bench/services/nftables.ts";

const root = join(import.meta.dirname, "../..");
/** What this process has left; others may be measuring at the same time. */
const leftovers = (): string[] =>
  existsSync("/run/axon-bench")
    ? readdirSync("/run/axon-bench").filter((name) => name.includes(`-${process.pid}-`))
    : [];

beforeAll(() => {
  buildPerf(root);
  execFileSync(process.execPath, [join(root, "packages/netlink/build-native.mjs")]);
  execFileSync(process.execPath, [join(root, "apps/cni/build.mjs")]);
});
afterAll(() => expect(leftovers()).toEqual([]));

async function on(make: () => Promise<Topology>, use: (topology: Topology) => Promise<void>): Promise<void> {
  const topology = await make();
  try {
    await use(topology);
  } finally {
    await topology.close();
  }
}

describe("the traffic generator", () => {
  it.each([
    ["the bare pair", bareVethPair],
    ["the routed hops", routedHops],
  ])("measures every mode over %s in both families", async (_name, make) => {
    await on(make, async ({ client, server }) => {
      const pair = { clientNs: client.netns, serverNs: server.netns, seconds: 0.1, warmup: 0.05 };
      for (const serverIp of [server.ipv4, server.ipv6]) {
        const results = await measurePair({ ...pair, serverIp });
        expect(Object.keys(results)).toEqual([...modes]);
        for (const result of Object.values(results)) {
          expect(result).toMatchObject({ errors: 0, lost: 0, family: serverIp.includes(":") ? 6 : 4 });
          expect(result.operations).toBeGreaterThan(10);
          expect(result.latencyUs.p50).toBeGreaterThan(1);
          expect(result.latencyUs.p99).toBeGreaterThanOrEqual(result.latencyUs.p50);
          expect(result.latencyUs.max).toBeGreaterThanOrEqual(result.latencyUs.p99);
        }
      }
    });
  });

  it("spreads connections over several targets and times connect() alone", async () => {
    const node = await podsOnNode(2);
    try {
      const ends = node.servers.map(({ netns, ipv4 }) => ({ serverNs: netns, serverIp: ipv4 }));
      const servers = await Promise.all(ends.map((end) => serve("tcp-crr", 17_100, end)));
      const hosts = ends.map(({ serverIp }) => serverIp);
      const options = { clientNs: node.client.netns, seconds: 0.1, warmup: 0.05 };
      const result = await measureClient("tcp-crr", hosts, 17_100, options);
      expect(result).toMatchObject({ errors: 0 });
      expect(result.connectUs?.p50).toBeGreaterThan(1);
      expect(result.connectUs?.p50).toBeLessThanOrEqual(result.latencyUs.p50);
      // With one of them gone about half of the connections fail: they did go to both.
      await servers[1]?.stop();
      const half = await measureClient("tcp-crr", hosts, 17_100, { ...options, seconds: 0.01, warmup: 0 });
      expect(half.errors).toBeGreaterThan(half.operations / 10);
      await servers[0]?.stop();
    } finally {
      await node.close();
    }
  });

  it("tells when the first connection got through", async () => {
    await on(bareVethPair, async ({ client, server }) => {
      const { file, args } = launch({ netns: client.netns, parentDeathSignal: "KILL" }, [
        join(root, "build/bin/axon-first"),
      ]);
      const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const line = async () => String((await lines.next()).value);
      child.stdin.write(`${server.ipv4} 17101\n`);
      expect(await line()).toBe("trying");
      const before = process.hrtime.bigint();
      const listener = await serve("tcp-crr", 17_101, { serverNs: server.netns, serverIp: server.ipv4 });
      const [began = "", ended = "", tries = ""] = (await line()).split(" ");
      expect(BigInt(ended)).toBeGreaterThan(before);
      expect(BigInt(ended)).toBeGreaterThanOrEqual(BigInt(began));
      expect(Number(tries)).toBeGreaterThanOrEqual(1);
      child.stdin.write(`${server.ipv4} 17101\n`);
      expect(await line()).toBe("early");
      child.stdin.end();
      await listener.stop();
    });
  });

  it("says why it cannot measure", async () => {
    await on(bareVethPair, async ({ client, server }) => {
      const pair = { clientNs: client.netns, serverNs: server.netns, serverIp: server.ipv4 };
      const nowhere = { ...pair, connectTo: () => ({ ip: server.ipv4, port: 1 }) };
      await expect(measureMode("tcp-rr", nowhere)).rejects.toThrow(
        /tcp-rr client to 10\.99\.0\.2:1 failed: .*refused/,
      );
      await expect(measureMode("tcp-rr", { ...pair, serverIp: "192.0.2.1" })).rejects.toThrow(/cannot bind/);
    });
  });
});

describe("comparisons", () => {
  const fake = (name: string, rates: number[]) => {
    let at = 0;
    return {
      name,
      measure: (mode: Measurement["mode"]): Promise<Measurement> => {
        const opsPerSecond = rates[at++ % rates.length] ?? 0;
        const latencyUs = { p50: 1e6 / opsPerSecond, p90: 0, p99: 0, p999: 0, max: 0 };
        const counts = { operations: 1, errors: 0, lost: 0, bitsPerSecond: 0 };
        return Promise.resolve({ mode, family: 4, seconds: 1, opsPerSecond, latencyUs, ...counts });
      },
    };
  };

  it("compare each round with the baseline of that round", async () => {
    // The machine is half as fast in the second round; the ratio does not see it.
    const subjects = [fake("base", [100, 50, 100]), fake("ours", [90, 45, 80])];
    const comparison = await compare(subjects, { rounds: 3, modes: ["tcp-rr"] });
    const [base, ours] = comparison.figures;
    expect(base).toMatchObject({ rate: 100, ratio: 1, bestRatio: 1 });
    expect(ours).toMatchObject({
      rate: 80,
      ratio: 0.9,
      ratioMin: 0.8,
      ratioMax: 0.9,
      bestRatio: 0.9,
      rounds: 3,
    });
    expect(comparisonTable(comparison)).toMatch(/tcp-rr\s+ours\s+0\.1k\/s/);
  });

  it("take the middle", () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([])]).toEqual([2, 2.5, Number.NaN]);
  });
});

describe("the rules of the peers", () => {
  const servers = ["10.98.1.3", "10.98.1.4", "10.98.1.5", "10.98.1.6"];
  const [first, second] = servicesOf(2, servers);
  if (first === undefined || second === undefined) throw new Error("no Services");

  it("name chains as kube-proxy does", () => {
    // The chain of default/kubernetes in every cluster whose proxy uses iptables.
    expect(nameHash("default/kubernetes:httpstcp")).toBe("NPX46M4PTMTKRN6Y");
  });

  it("send clients to answering Services all over the list", () => {
    expect([targetsOf(1), targetsOf(9)]).toEqual([["10.96.16.0"], ["10.96.16.0", "10.96.16.8"]]);
    const targets = targetsOf(30_000);
    expect(new Set(targets).size).toBe(1000);
    expect(answers(8) && !answers(9)).toBe(true);
    expect(serviceOf(8, servers).backends.map(({ ip }) => ip)).toEqual(servers);
  });

  it("in iptables: one line a Service, a chain for each of its backends, nothing declared twice", () => {
    const text = iptablesRules([first, second], "10.98.0.0/16").join("");
    expect(text.match(/^-A KUBE-SERVICES .*cluster IP.*-j KUBE-SVC-/gm)).toHaveLength(2);
    expect(text.match(/--probability 0\.(2500|3333|5000)/g)).toHaveLength(6);
    expect(text.match(/-j DNAT --to-destination/g)).toHaveLength(8);
    const nat = text.slice(text.indexOf("*nat"));
    const declared = nat.match(/^:\S+/gm) ?? [];
    expect(new Set(declared).size).toBe(declared.length);
    for (const [, chain] of nat.matchAll(/-j (KUBE-(?:SVC|SEP)-\S+)/g))
      expect(declared).toContain(`:${chain}`);
  });

  it("change one Service: all of KUBE-SERVICES in iptables, its own chains in nftables", () => {
    const changed = { ...first, backends: first.backends.slice(1) };
    const iptables = iptablesChange([first, second], first, changed, "10.98.0.0/16").join("");
    expect(iptables.match(/^-A KUBE-SERVICES .*-j KUBE-SVC-/gm)).toHaveLength(2);
    expect(iptables.match(/-j DNAT/g)).toHaveLength(3);
    expect(iptables.match(/^-X KUBE-SEP-/gm)).toHaveLength(1);
    const nftables = nftablesChange(first, changed, "10.98.0.0/16");
    expect(nftables).not.toContain(second.name);
    expect(nftables.match(/dnat to/g)).toHaveLength(3);
    expect(nftables.match(/^delete chain/gm)).toHaveLength(1);
    expect(
      nftablesServices([first, second], "10.98.0.0/16")
        .join("")
        .match(/dnat to/g),
    ).toHaveLength(8);
  });
});

describe("the CNI timer", () => {
  it("times every call of a plugin and reports what failed", async () => {
    const seen: string[] = [];
    const socketPath = `/run/axon-bench-${process.pid}.sock`;
    const server = createServer((socket) => {
      socket.on("data", (data) => {
        const text = data.toString();
        const id = /CNI_CONTAINERID=([^\0]*)/.exec(text)?.[1] ?? "";
        seen.push(`${/CNI_COMMAND=([^\0]*)/.exec(text)?.[1]} ${id} ${/CNI_ARGS=([^\0]*)/.exec(text)?.[1]}`);
        const answer = '{"code":7,"msg":"no"}';
        const head = Buffer.alloc(8);
        head.writeUInt32LE(id === "bench3" ? 1 : 0, 0);
        head.writeUInt32LE(answer.length, 4);
        socket.end(Buffer.concat([head, Buffer.from(answer)]));
      });
    });
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    const plugin = join(root, "build/bin/axoneme-cni");
    const config = { cniVersion: "1.1.0", name: "n", type: "axoneme-cni", axonSocket: socketPath };
    const result = await timePlugin(
      { name: "x", plugin, config, args: "A={i};B={i}" },
      { count: 5, parallel: 2 },
    );
    server.close();
    expect(result.add).toMatchObject({ count: 5, failed: 1, firstError: '{"code":7,"msg":"no"}' });
    expect(result.add.p50Ms).toBeGreaterThan(0.1);
    expect(seen.sort()).toEqual(
      ["ADD", "DEL"].flatMap((command) => [0, 1, 2, 3, 4].map((i) => `${command} bench${i} A=${i};B=${i}`)),
    );
  });
});
