import { type ChildProcess, fork } from "node:child_process";
import { Emitter, silentLogger } from "@axoneme/base";
import { BpfMap, Program } from "@axoneme/bpf";
import { Connection, FrameBatch, type Handler, parseTarget, RpcServer } from "@axoneme/grpc";
import { type PeerChange, serveHubble, startRelay } from "@axoneme/observe";
import { GetFlowsRequestSchema, GetFlowsResponseSchema, JsonEncoder } from "@axoneme/proto";
import { fromJson, toBinary } from "@bufbuild/protobuf";
import { fullObserver, namingResolver } from "./records.ts";

/** What a process of the bench does, by its name. Each tells `ready` or its figures, and ends when told. */
const roles: Record<string, (args: readonly string[]) => Promise<unknown>> = {
  store,
  read,
  relay,
  nodes,
  feed,
};

/** Starts another process of this bench; resolves to what it first tells. */
export function start(
  role: string,
  ...args: (string | number)[]
): Promise<{ child: ChildProcess; told: unknown }> {
  const child = fork(process.argv[1] ?? "", [`role:${role}`, ...args.map(String)]);
  return new Promise((resolve, reject) => {
    child.once("message", (told) => resolve({ child, told }));
    child.once("exit", (code) => reject(new Error(`${role} ended (${code})`)));
  });
}

/** Runs a role if this process was started for one. */
export async function runRole(): Promise<boolean> {
  const [first = "", ...args] = process.argv.slice(2);
  const role = roles[first.replace("role:", "")];
  if (!first.startsWith("role:") || role === undefined) return false;
  const told = await role(args);
  process.send?.(told ?? "ready");
  process.once("disconnect", () => process.exit(0));
  return true;
}

/** A node with a full store. */
async function store([socketPath = "", capacity = "0"]: readonly string[]): Promise<unknown> {
  const before = process.memoryUsage();
  const observer = fullObserver(Number(capacity));
  globalThis.gc?.();
  const after = process.memoryUsage();
  await serveHubble({
    observer,
    resolver: namingResolver("node1"),
    clusterName: "default",
    version: "bench",
    peers: { list: () => [], changes: new Emitter<PeerChange>() },
    socketPath,
    log: silentLogger,
  });
  return {
    flows: observer.store.size,
    bytes: after.arrayBuffers - before.arrayBuffers + after.heapUsed - before.heapUsed,
    rss: after.rss - before.rss,
  };
}

/** Reads flows: how many, how long until the first and until the end (or so many seconds). */
async function read([server = "", request = "{}", seconds = "0"]: readonly string[]): Promise<unknown> {
  const connection = await Connection.open({ target: parseTarget(server) });
  const bytes = toBinary(GetFlowsRequestSchema, fromJson(GetFlowsRequestSchema, JSON.parse(request)));
  const stop =
    Number(seconds) > 0 ? AbortSignal.timeout(Number(seconds) * 1000) : new AbortController().signal;
  // A client that has just started is busy with itself.
  await connection.unary("/observer.Observer/ServerStatus", new Uint8Array(0), { timeoutMs: 5000 });
  const began = performance.now();
  let firstMs = 0;
  let flows = 0;
  let size = 0;
  try {
    for await (const messages of connection.stream("/observer.Observer/GetFlows", bytes, stop)) {
      if (flows === 0) firstMs = performance.now() - began;
      flows += messages.length;
      for (const message of messages) size += message.length;
    }
  } catch (error) {
    if (!stop.aborted) throw error;
  }
  const ms = performance.now() - began;
  connection.close();
  return { flows, firstMs, ms, bytes: size };
}

async function relay([socketPath = "", count = "0", prefix = ""]: readonly string[]): Promise<void> {
  const list = Array.from({ length: Number(count) }, (_, i) => ({
    name: `node${i}`,
    address: `${prefix}${i}.sock`,
  }));
  const peers = { list: () => list, changes: new Emitter<PeerChange>() };
  const about = { clientTls: undefined, version: "bench", nodeName: "relay", log: silentLogger };
  const started = await startRelay({ ...about, peers });
  await started.listenUnix(socketPath);
  while (started.health.connected.length < list.length)
    await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Flows that were encoded before, with times that go on, sent as fast as they are taken. */
async function nodes([count = "0", prefix = ""]: readonly string[]): Promise<void> {
  const encoder = new JsonEncoder(GetFlowsResponseSchema);
  const observer = fullObserver(1024);
  const models: Uint8Array[] = [];
  // As long as a time can be.
  const time = "2026-11-20T12:00:00.999999999Z";
  for await (const response of observer.getFlows({ number: 512 }))
    models.push(encoder.encode({ ...response, time }));
  const getFlows: Handler = async (call) => {
    await call.request();
    const out = new FrameBatch();
    let us = Date.now() * 1000;
    while (!call.signal.aborted) {
      for (const model of models) out.add(stamped(model, us++));
      await call.writeBatch(out);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  for (let i = 0; i < Number(count); i++) {
    const server = new RpcServer({
      methods: new Map([["/observer.Observer/GetFlows", getFlows]]),
      log: silentLogger,
    });
    await server.listenUnix(`${prefix}${i}.sock`);
  }
}

/** The message with another time. It stands at the end: a tag and five bytes of seconds, a tag and five of nanoseconds. */
function stamped(message: Uint8Array, us: number): Uint8Array {
  const at = message.length - 12;
  varint5(message, at + 1, Math.floor(us / 1e6));
  varint5(message, at + 7, (us % 1e6) * 1000);
  return message;
}

/** A number in five bytes, however small. */
function varint5(bytes: Uint8Array, at: number, value: number): void {
  let rest = value;
  for (let i = 0; i < 5; i++) {
    bytes[at + i] = (rest % 128) | (i < 4 ? 0x80 : 0);
    rest = Math.floor(rest / 128);
  }
}

/** Writes records at a rate for so many seconds; tells how many it wrote, and how many found no room. */
async function feed([pins = "", rate = "0", seconds = "0"]: readonly string[]): Promise<unknown> {
  const program = Program.openPinned(`${pins}/feed`);
  const counts = BpfMap.openPinned(`${pins}/maps/feed_counts`);
  const packet = new Uint8Array(64);
  const nap = new Int32Array(new SharedArrayBuffer(4));
  const began = performance.now();
  const total = Number(rate) * Number(seconds);
  for (let asked = 0; asked < total; ) {
    const due = Math.min(total, ((performance.now() - began) / 1000) * Number(rate));
    while (asked < due) {
      program.testRun({ data: packet });
      asked += 512;
    }
    Atomics.wait(nap, 0, 0, 0.5);
  }
  const ms = performance.now() - began;
  const read = (key: number): number => {
    const value = counts.get(new Uint8Array(Uint32Array.of(key).buffer));
    return value === undefined
      ? 0
      : Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true));
  };
  return { written: read(0), lost: read(1), ms };
}
