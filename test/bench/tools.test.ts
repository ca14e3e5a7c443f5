import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { timePlugin } from "../../bench/cni/ptp.ts";
import {
  bareVethPair,
  buildPerf,
  compare,
  comparisonTable,
  type Measurement,
  measureMode,
  measurePair,
  median,
  modes,
  routedHops,
  type Topology,
} from "../../bench/net/index.ts";

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
