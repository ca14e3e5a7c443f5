import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { Netns } from "@axoneme/netlink";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, key32 } from "./datapath.ts";
import { Proto } from "./packet.ts";
import { type FamilyCase, families, ServedCgroup, type Socket, Sockets, startServer } from "./sockets.ts";

/** Datagrams through Services, from sockets that are connected and sockets that are not. */
const netns = join("/run", `axdp-socku-${process.pid}`);
const ports = { a: 8081, b: 8082, c: 8083 };
/** Of `pad` in struct ax_sock_rev. */
const PADDING = 18;
const names = Object.keys(ports) as (keyof typeof ports)[];

let dp: Datapath;
let cgroup: ServedCgroup;
let sockets: Sockets;
const stops: (() => void)[] = [];

beforeAll(async () => {
  await Netns.create(netns);
  dp = new Datapath("socket");
  cgroup = new ServedCgroup("axdp-socku", dp);
  for (const [name, port] of Object.entries(ports)) stops.push(startServer(netns, port, name));
  sockets = new Sockets(netns, cgroup.path);
  for (const port of Object.values(ports)) {
    const answers = async () => (await (await sockets.open("tcp4")).connect("127.0.0.1", port)) === "ok";
    await waitFor(answers, { timeoutMs: 5000, everyMs: 20, what: "the servers" });
  }
});
afterAll(async () => {
  sockets.close();
  for (const stop of stops) stop();
  await cgroup.close();
  dp.close();
  await Netns.delete(netns);
});
beforeEach(() => dp.reset());

const open = (f: FamilyCase): Promise<Socket> => sockets.open(`udp${f.kind}`);

/** Backend n of a Service is the server of the n-th name, or as given. */
function service(f: FamilyCase, id: number, port: number, servers: readonly (keyof typeof ports)[]): void {
  const backends = servers.map((name) => ({ ip: f.backend, port: ports[name] }));
  dp.service(id, { ip: f.service, port, proto: Proto.UDP }, backends);
}

async function answering(socket: Socket, ip?: string, port?: number): Promise<keyof typeof ports> {
  const answer = await socket.ask(ip, port);
  if (!("by" in answer)) throw new Error(answer.failed);
  return answer.by as keyof typeof ports;
}

const kept = () => [...dp.map("ax_sock_fwd")].map(([, id]) => new DataView(id.buffer).getUint32(0, true));

describe.each(families)("datagrams of an unconnected socket, $name", (f) => {
  test("stay with one backend; other sockets get others", async () => {
    service(f, 5, 53, names);
    const seen = new Set<string>();
    for (let i = 0; i < 20; i++) {
      const socket = await open(f);
      const first = await answering(socket, f.dialled, 53);
      for (let n = 0; n < 5; n++) expect(await answering(socket, f.dialled, 53)).toBe(first);
      seen.add(first);
    }
    expect([...seen].sort()).toEqual(names);
  });

  test("go to another at once when theirs is gone, and when it is terminating", async () => {
    service(f, 5, 53, names);
    const socket = await open(f);
    const first = await answering(socket, f.dialled, 53);
    const left = names.filter((name) => name !== first);
    dp.rows("ax_backends").delete(key32(500 + names.indexOf(first)));
    dp.slots(500 + names.indexOf(first), [500 + names.indexOf(left[0] ?? "a")]);
    const second = await answering(socket, f.dialled, 53);
    expect(left).toContain(second);
    expect(await answering(socket, f.dialled, 53)).toBe(second);
    const third = left.find((name) => name !== second) ?? "a";
    dp.reset();
    dp.service(
      5,
      { ip: f.service, port: 53, proto: Proto.UDP },
      names.map((name) => ({ ip: f.backend, port: ports[name], state: name === third ? 0 : 1 })),
    );
    for (const name of names) dp.slots(500 + names.indexOf(name), [500 + names.indexOf(third)]);
    expect(await answering(socket, f.dialled, 53)).toBe(third);
  });

  test("do not wander among backends that are all terminating", async () => {
    service(f, 5, 53, names);
    const socket = await open(f);
    const first = await answering(socket, f.dialled, 53);
    dp.service(
      5,
      { ip: f.service, port: 53, proto: Proto.UDP },
      names.map((name) => ({ ip: f.backend, port: ports[name], state: 1 })),
    );
    for (let n = 0; n < 12; n++) expect(await answering(socket, f.dialled, 53)).toBe(first);
  });

  test("to two Services come back under the right name, and what did not change is not written again", async () => {
    service(f, 5, 53, ["a"]);
    service(f, 6, 54, ["b"]);
    const socket = await open(f);
    expect(await socket.ask(f.dialled, 53)).toEqual({ by: "a", from: `${f.dialled} 53` });
    expect(await socket.ask(f.dialled, 54)).toEqual({ by: "b", from: `${f.dialled} 54` });
    const rows = dp.map("ax_sock_rev");
    // A mark in the row's padding: a new row would not have it.
    for (const [key, value] of rows) rows.put(key, Uint8Array.from(value).fill(7, PADDING, PADDING + 2));
    expect(await socket.ask(f.dialled, 53)).toEqual({ by: "a", from: `${f.dialled} 53` });
    expect([...rows].map(([, value]) => value[PADDING])).toEqual([7, 7]);
    expect(kept().sort()).toEqual([500, 600]);
  });

  test("to a Service without backends are refused", async () => {
    service(f, 5, 53, []);
    expect(await (await open(f)).ask(f.dialled, 53)).toEqual({ failed: "ECONNREFUSED" });
  });

  test("to no Service leave no trace", async () => {
    const direct = f.loopback;
    expect(await (await open(f)).ask(direct, ports.b)).toEqual({ by: "b", from: `${direct} ${ports.b}` });
    for (const map of ["ax_sock_rev", "ax_sock_fwd"]) expect([...dp.map(map)]).toEqual([]);
  });
});

describe.each(families)("a connected UDP socket, $name", (f) => {
  test("shows the frontend as its peer and as the sender of answers", async () => {
    service(f, 5, 53, names);
    const socket = await open(f);
    expect(await socket.connect(f.dialled, 53)).toBe("ok");
    expect(await socket.peer()).toBe(`${f.dialled} 53`);
    const { from } = (await socket.ask()) as { from: string };
    expect(from).toBe(`${f.dialled} 53`);
    for (const map of ["ax_sock_rev", "ax_sock_fwd"]) expect([...dp.map(map)]).toEqual([]);
  });

  test("that names its frontend again in sendto stays with its backend", async () => {
    service(f, 5, 53, names);
    for (let i = 0; i < 6; i++) {
      const socket = await open(f);
      await socket.must("connect", f.dialled, 53);
      const first = await answering(socket);
      for (let n = 0; n < 4; n++) expect(await answering(socket, f.dialled, 53)).toBe(first);
    }
    expect(kept()).toEqual([]);
  });

  test("that names another frontend sends there; answers of others than its peer are not for it", async () => {
    service(f, 5, 53, ["a"]);
    service(f, 6, 54, ["b"]);
    const socket = await open(f);
    await socket.must("connect", f.dialled, 53);
    expect(await socket.ask(f.dialled, 54)).toEqual({ failed: "ETIMEDOUT" });
    expect(kept()).toEqual([600]);
    expect(await answering(socket)).toBe("a");
  });

  test("follows a second connect: to another Service, to a pod itself, to nobody", async () => {
    service(f, 5, 53, ["a"]);
    service(f, 6, 54, ["b"]);
    const socket = await open(f);
    await socket.must("connect", f.dialled, 53);
    await socket.must("connect", f.dialled, 54);
    expect(await socket.peer()).toBe(`${f.dialled} 54`);
    expect(await socket.ask()).toEqual({ by: "b", from: `${f.dialled} 54` });
    await socket.must("connect", f.loopback, ports.b);
    expect(await socket.peer()).toBe(`${f.loopback} ${ports.b}`);
    expect(await socket.ask()).toEqual({ by: "b", from: `${f.loopback} ${ports.b}` });
    await socket.must("connect", f.dialled, 53);
    await socket.must("disconnect");
    expect(await socket.peer()).toBe("ENOTCONN");
    expect(await socket.ask(f.dialled, 54)).toEqual({ by: "b", from: `${f.dialled} 54` });
    expect(await socket.ask(f.dialled, 53)).toEqual({ by: "a", from: `${f.dialled} 53` });
  });

  test("that may not connect elsewhere keeps the connection it has", async () => {
    service(f, 5, 53, ["a"]);
    service(f, 6, 54, []);
    const socket = await open(f);
    await socket.must("connect", f.dialled, 53);
    expect(await socket.connect(f.dialled, 54)).toBe("ECONNREFUSED");
    expect(await socket.peer()).toBe(`${f.dialled} 53`);
    expect(await answering(socket)).toBe("a");
  });
});

describe.each(families)("a TCP socket, $name", (f) => {
  test("that failed to connect to a Service and then dials the pod itself shows the pod", async () => {
    dp.service(5, { ip: f.service, port: 80, proto: Proto.TCP }, [{ ip: f.backend, port: 9 }]);
    const socket = await sockets.open(`tcp${f.kind}`);
    expect(await socket.connect(f.dialled, 80)).toBe("ECONNREFUSED");
    expect(await socket.connect(f.loopback, ports.a)).toBe("ok");
    expect(await socket.peer()).toBe(`${f.loopback} ${ports.a}`);
  });
});
