import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { silentLogger, waitFor } from "@axoneme/base";
import { BpfMap } from "@axoneme/bpf";
import { SocketCloser } from "@axoneme/datapath";
import { Netns, netnsCookie } from "@axoneme/netlink";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, key32 } from "./datapath.ts";
import { Proto } from "./packet.ts";
import {
  type FamilyCase,
  families,
  putPod,
  ServedCgroup,
  type Socket,
  Sockets,
  startServer,
} from "./sockets.ts";

/** Sockets whose backend was removed, in a namespace that is a pod's and in one that is the node's. */
const dir = join("/run", `axdp-sockg-${process.pid}`);
const pinDir = join("/sys/fs/bpf", `axdp-sockg-${process.pid}`);
const paths = { pod: join(dir, "pod"), host: join(dir, "host") };
const ports = { a: 8081, b: 8082 };
/** In the namespace of the test itself, which others share. */
const OWN_PORT = 20_000 + (process.pid % 20_000);
type Place = keyof typeof paths;

let dp: Datapath;
let cgroup: ServedCgroup;
let closer: SocketCloser;
const sockets = {} as Record<Place, Sockets>;
const stops: (() => void)[] = [];

beforeAll(async () => {
  mkdirSync(dir);
  mkdirSync(join(pinDir, "maps"), { recursive: true });
  dp = new Datapath("socket", pinDir);
  cgroup = new ServedCgroup("axdp-sockg", dp);
  for (const place of ["pod", "host"] as const) {
    await Netns.create(paths[place]);
    for (const [name, port] of Object.entries(ports)) stops.push(startServer(paths[place], port, name));
    sockets[place] = new Sockets(paths[place], cgroup.path);
    for (const port of Object.values(ports)) {
      const answers = async () =>
        (await (await sockets[place].open("tcp4")).connect("127.0.0.1", port)) === "ok";
      await waitFor(answers, { timeoutMs: 5000, everyMs: 20, what: "the servers" });
    }
  }
});
afterAll(async () => {
  for (const one of Object.values(sockets)) one.close();
  for (const stop of stops) stop();
  await cgroup.close();
  dp.close();
  for (const path of Object.values(paths)) await Netns.delete(path);
  rmSync(dir, { recursive: true });
  rmSync(pinDir, { recursive: true });
});
beforeEach(() => {
  dp.reset();
  putPod(dp, netnsCookie(paths.pod), "10.201.0.7", "fd10:1::7");
  const byCookie = new Map(Object.values(paths).map((path) => [netnsCookie(path), path]));
  closer = SocketCloser.open(
    { objectDir: join(import.meta.dirname, "../../build/bpf"), bpffs: pinDir, maxEntries: {} },
    { own: netnsCookie(undefined), pathOf: (cookie) => byCookie.get(cookie) },
    silentLogger,
  );
});
afterEach(() => closer.close());

/** Backend 500 is server a, 501 server b, over TCP and UDP; all slots name backend `to`. */
function service(f: FamilyCase, to: number): void {
  const backends = [ports.a, ports.b].map((port) => ({ ip: f.backend, port }));
  for (const proto of [Proto.TCP, Proto.UDP]) dp.service(5, { ip: f.service, port: 80, proto }, backends);
  for (const slot of [500, 501]) dp.slots(slot, [to]);
}

async function connected(
  f: FamilyCase,
  place: Place,
  kind: "tcp" | "udp",
  ip: string,
  port: number,
): Promise<Socket> {
  const socket = await sockets[place].open(`${kind}${f.kind}`);
  await socket.must("connect", ip, port);
  expect(await socket.ask()).toHaveProperty("by");
  return socket;
}

async function remove(...ids: number[]): Promise<void> {
  for (const id of ids) dp.rows("ax_backends").delete(key32(id));
  closer.backendsRemoved(ids);
  await closer.settled();
}

describe.each(families)("a backend is removed, $name", (f) => {
  test.each(["pod", "host"] as const)("TCP of the %s to it is closed, and nothing else", async (place) => {
    service(f, 500);
    const lost = await connected(f, place, "tcp", f.dialled, 80);
    const second = await connected(f, place, "tcp", f.dialled, 80);
    service(f, 501);
    const kept = await connected(f, place, "tcp", f.dialled, 80);
    const direct = await connected(f, place, "tcp", f.loopback, ports.a);
    await remove(500);
    for (const socket of [lost, second]) expect(await socket.error()).toBe("ECONNABORTED");
    for (const socket of [kept, direct]) expect(await socket.ask()).toHaveProperty("by");
    expect(closer.status).toEqual({ reason: undefined, runs: 1, closed: { tcp: 2, udp: 0 } });
  });

  test("connected UDP of the node is told, that of a pod is left to its packets", async () => {
    service(f, 500);
    const host = await connected(f, "host", "udp", f.dialled, 80);
    const pod = await connected(f, "pod", "udp", f.dialled, 80);
    const direct = await connected(f, "host", "udp", f.loopback, ports.a);
    service(f, 501);
    await remove(500);
    expect(await host.error()).toBe("ECONNABORTED");
    await host.must("connect", f.dialled, 80);
    expect(await host.ask()).toMatchObject({ by: "b" });
    for (const socket of [pod, direct]) expect(await socket.ask()).toMatchObject({ by: "a" });
    expect(closer.status.closed).toEqual({ tcp: 0, udp: 1 });
  });

  test("who has gone on to another peer is not closed for the first", async () => {
    service(f, 500);
    const socket = await connected(f, "host", "udp", f.dialled, 80);
    await socket.must("disconnect");
    const back = await connected(f, "host", "udp", f.dialled, 80);
    await back.must("connect", f.loopback, ports.a);
    await remove(500);
    expect(closer.status.closed).toEqual({ tcp: 0, udp: 0 });
    expect(await back.ask()).toMatchObject({ by: "a" });
  });
});

describe("closing sockets", () => {
  const [f] = families;

  test("leaves those of a terminating backend", async () => {
    service(f, 500);
    const socket = await connected(f, "pod", "tcp", f.dialled, 80);
    const backends = [ports.a, ports.b].map((port) => ({ ip: f.backend, port, state: 1 }));
    dp.service(5, { ip: f.service, port: 80, proto: Proto.TCP }, backends);
    closer.backendsRemoved([501]);
    await closer.settled();
    expect(await socket.ask()).toMatchObject({ by: "a" });
  });

  test("works in the agent's own namespace", async () => {
    const stop = startServer("/proc/self/ns/net", OWN_PORT, "own");
    const own = new Sockets("/proc/self/ns/net", cgroup.path);
    try {
      const open = async () => (await (await own.open("tcp4")).connect("127.0.0.1", OWN_PORT)) === "ok";
      await waitFor(open, { timeoutMs: 5000, everyMs: 20, what: "the server" });
      dp.service(7, { ip: f.service, port: 81, proto: Proto.TCP }, [{ ip: f.backend, port: OWN_PORT }]);
      const socket = await own.open("tcp4");
      await socket.must("connect", f.dialled, 81);
      await remove(700);
      expect(await socket.error()).toBe("ECONNABORTED");
    } finally {
      own.close();
      stop();
    }
  });

  test("gathers removals, and does not hold up who removes", async () => {
    service(f, 500);
    const open = await Promise.all(
      Array.from({ length: 40 }, () => connected(f, "pod", "tcp", f.dialled, 80)),
    );
    dp.rows("ax_backends").delete(key32(500));
    for (let i = 0; i < 1000; i++) closer.backendsRemoved([500]);
    expect(closer.status.runs).toBe(0);
    await closer.settled();
    expect(closer.status).toMatchObject({ runs: 1, closed: { tcp: 40 } });
    for (const socket of open) expect(await socket.error()).toBe("ECONNABORTED");
  });

  test("finds what went while no agent ran", async () => {
    service(f, 500);
    const socket = await connected(f, "pod", "tcp", f.dialled, 80);
    dp.rows("ax_backends").delete(key32(500));
    closer.look();
    await closer.settled();
    expect(await socket.error()).toBe("ECONNABORTED");
  });

  test("leaves everything as it is while there is no table of backends", async () => {
    service(f, 500);
    const socket = await connected(f, "pod", "tcp", f.dialled, 80);
    const outer = dp.map("ax_backends");
    const inner = outer.get(key32(0)) ?? new Uint8Array(4);
    const table = BpfMap.openById(new DataView(inner.buffer).getUint32(0, true));
    outer.delete(key32(0));
    closer.look();
    await closer.settled();
    outer.put(key32(0), key32(table.fd));
    table.close();
    expect(closer.status.closed.tcp).toBe(0);
    expect(await socket.ask()).toMatchObject({ by: "a" });
  });

  test("without an object says why, and closes nothing", async () => {
    const none = SocketCloser.open(
      { objectDir: dir, bpffs: pinDir, maxEntries: {} },
      { own: 1n, pathOf: () => undefined },
      silentLogger,
    );
    none.backendsRemoved([500]);
    await none.settled();
    expect(none.status).toMatchObject({ reason: expect.stringMatching(/sockiter\.bpf\.o/), runs: 0 });
    await none.close();
  });
});
