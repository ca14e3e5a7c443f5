import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { join } from "node:path";
import { ConfigFlags, DropReason, FlowKind } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { text, Verdict } from "./datapath.ts";
import { makeDevices } from "./devices.ts";
import { dissect } from "./dissect.ts";
import { Edge, NODEPORT, nowS } from "./edge.ts";
import { Proto, Tcp, tcp, udp } from "./packet.ts";
import { v4 } from "./scene.ts";

/** Where the ports of translated packets come from, and what happens when there are none. */
const f = v4;
const dial = { src: f.world, dst: f.node, dport: NODEPORT };

let edge: Edge;

beforeAll(async () => {
  edge = new Edge(await makeDevices(), "ports");
});
afterAll(async () => {
  edge.close();
  await edge.dev.remove();
});
beforeEach(() => {
  edge.reset();
  for (const name of ["ax_nat_pools", "ax_nat_stats"]) {
    const map = edge.node.map(name);
    for (let row = 0; row < map.maxEntries; row++)
      map.put(new Uint8Array(new Uint32Array([row]).buffer), new Uint8Array(map.entrySize));
  }
  for (let i = 0; i < 4; i++) edge.node.ipcache(`192.0.2.${10 + i}/32`, 9, f.otherNode, 1);
  edge.nodePort(f, [{ ip: f.c, port: 80 }]);
  edge.nodePort(f, [{ ip: f.c, port: 80 }], Proto.UDP);
});

const open = (sport: number, change = {}) => edge.arrives(udp({ ...dial, sport, ...change }));
const portOf = (sport: number) => dissect(open(sport).out).sport ?? 0;

test("the client's own port if it is in the range, else ports of this CPU in a row", () => {
  expect(portOf(45_000)).toBe(45_000);
  const given = Array.from({ length: 6 }, (_, i) => portOf(100 + i));
  expect(new Set(given).size).toBe(6);
  for (const port of given) expect(port).toBeGreaterThanOrEqual(32_768);
  expect(edge.natStats()).toMatchObject({ allocated: 7n, own: 1n, listed: 0n, stolen: 0n, steps: 0n });
});

test("ports of mappings that are gone come first", () => {
  const first = Array.from({ length: 4 }, (_, i) => portOf(100 + i));
  expect(edge.sweep(nowS() + 120)).toMatchObject({ natDeleted: 4 });
  const again = Array.from({ length: 4 }, (_, i) => portOf(200 + i));
  expect(BigInt(again.filter((port) => first.includes(port)).length)).toBe(edge.natStats().listed);
  expect(edge.natStats().listed).toBeGreaterThan(0n);
});

test("a full range takes from all CPUs, refuses the next and keeps what it has", () => {
  edge.node.configure({ natPortMin: 50_000, natPortMax: 50_007 });
  const ports = Array.from({ length: 8 }, (_, i) => portOf(100 + i));
  expect(ports.toSorted((a, b) => a - b)).toEqual([
    50_000, 50_001, 50_002, 50_003, 50_004, 50_005, 50_006, 50_007,
  ]);
  edge.node.events();
  expect(open(300).verdict).toBe(Verdict.DROP);
  expect(edge.node.events()[0]?.subtype).toBe(DropReason.NAT_NO_MAPPING);
  expect(edge.natStats()).toMatchObject({ allocated: 8n, noPort: 1n, tableFull: 0n });
  expect(portOf(103)).toBe(ports[3]);
  expect(edge.flows()).toHaveLength(8);
});

test("to another backend the same ports may be used", () => {
  edge.node.configure({ natPortMin: 50_000, natPortMax: 50_000 });
  edge.nodePort(f, [{ ip: f.c, port: 80 }]);
  expect(portOf(100)).toBe(50_000);
  expect(dissect(edge.arrives(tcp({ ...dial, sport: 100, flags: Tcp.SYN })).out).sport).toBe(50_000);
  expect(open(101).verdict).toBe(Verdict.DROP);
});

test("a port on which the host has a socket is not given", async () => {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(50_001, "0.0.0.0", resolve));
  try {
    edge.node.configure({ natPortMin: 50_001, natPortMax: 50_002 });
    expect([portOf(50_001), open(200).verdict]).toEqual([50_002, Verdict.DROP]);
    expect(edge.natStats().inUse).toBeGreaterThan(0n);
  } finally {
    socket.close();
  }
});

test("masqueraded pods and clients of Services never share a tuple", () => {
  edge.node.configure({
    natPortMin: 50_000,
    natPortMax: 50_001,
    flags: edge.node.config.flags | ConfigFlags.MASQUERADE4,
  });
  const out = edge.leaves(udp({ src: f.a, dst: f.c, sport: 50_000, dport: 80 }), (300 << 16) | 0x0f00);
  expect(dissect(out.out)).toMatchObject({ src: f.node, sport: 50_000 });
  expect(portOf(50_000)).toBe(50_001);
  expect(open(7).verdict).toBe(Verdict.DROP);
});

test("a table of flows that is full refuses new ones and keeps the others", () => {
  edge.node.configure({ natPortMin: 32_768, natPortMax: 65_535 });
  const flows = edge.node.map("ax_svc_flows");
  const row = new Uint8Array(flows.entrySize);
  const keys = new Uint8Array(flows.maxEntries * flows.keySize);
  const view = new DataView(keys.buffer);
  expect(portOf(100)).toBeGreaterThan(0);
  for (let i = 0; i < flows.maxEntries; i++) view.setUint32(i * flows.keySize, i + 1, true);
  const rows = new Uint8Array(flows.maxEntries * row.length);
  flows.putBatch(keys.subarray(0, (flows.maxEntries - 1) * flows.keySize), rows, flows.maxEntries - 1);
  edge.node.events();
  expect(open(200).verdict).toBe(Verdict.DROP);
  expect(edge.node.events()[0]?.subtype).toBe(DropReason.CT_CREATE_FAILED);
  expect(open(100).verdict).toBe(Verdict.REDIRECT);
  expect(edge.node.mappings()).toHaveLength(1);
});

/** Packets of one sender in its own process. */
function sender(
  seed: number,
  packets: number,
): Promise<{ forwarded: number; refused: number; wrong: number }> {
  const code = 'import("./scripts/import-ts.mjs").then((m) => m.importTs("bpf/test/natport.worker.ts"))';
  const cwd = join(import.meta.dirname, "../..");
  const args = [edge.pinDir, String(edge.dev.native), String(seed), String(packets)];
  const child = spawn(process.execPath, ["-e", code, ...args], { cwd, stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 ? resolve(JSON.parse(output)) : reject(new Error(`sender: ${code}`)),
    );
  });
}

test("property: with senders on all CPUs, a tiny range and churn, no tuple is ever given twice", async () => {
  // Short lives, and a sweep at the true time: one ahead of it takes rows that are being made for old ones.
  const lives = { ctTimeoutTcpSynS: 1, ctTimeoutTcpFinS: 1, ctTimeoutAnyS: 1 };
  edge.node.configure({ natPortMin: 50_000, natPortMax: 50_015, ...lives });
  const running = [1, 2, 3].map((seed) => sender(seed * 7919, 6000));
  let done = false;
  const all = Promise.all(running).finally(() => (done = true));
  while (!done) {
    edge.sweep(nowS());
    await new Promise((resolve) => setImmediate(resolve));
  }
  const counts = await all;
  expect(counts.reduce((sum, c) => sum + c.wrong, 0)).toBe(0);
  expect(counts.reduce((sum, c) => sum + c.forwarded, 0)).toBeGreaterThan(1000);
  expect(counts.reduce((sum, c) => sum + c.refused, 0)).toBeGreaterThan(0);
  // What is left fits together: each flow has its reverse row, and that leads back to it alone.
  const tuples = new Set<string>();
  const reverse = new Map(
    edge.node
      .mappings()
      .map(({ key, row }) => [`${key.proto} ${key.dport}`, `${text(row.addr)} ${row.port}`]),
  );
  for (const { key, row } of edge.flows()) {
    if (row.kind !== FlowKind.SNAT) continue;
    const tuple = `${key.proto} ${row.natPort}`;
    expect(tuples.has(tuple), tuple).toBe(false);
    tuples.add(tuple);
    expect(reverse.get(tuple)).toBe(`${text(key.saddr)} ${key.sport}`);
  }
}, 60_000);
