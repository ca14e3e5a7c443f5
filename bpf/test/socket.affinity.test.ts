import { join } from "node:path";
import * as abi from "@axoneme/abi";
import { hostPrefix, parseIp, waitFor } from "@axoneme/base";
import { Netlink, Netns } from "@axoneme/netlink";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../test/support/random.ts";
import { Datapath, encoded, key32 } from "./datapath.ts";
import { mapped } from "./dissect.ts";
import { Proto } from "./packet.ts";
import { ServedCgroup, type Socket, Sockets, startServer } from "./sockets.ts";

/**
 * Session affinity under any sequence of changes: a client never leaves a backend that is there and
 * serves: that is active, or terminating while all others are too. Clients
 * are addresses that sockets are bound to, backends are ports; rows are written in the order of the compiler.
 */
const netns = join("/run", `axdp-socka-${process.pid}`);
const ports = [8081, 8082, 8083, 8084, 8085];
const STEPS = 250;
const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);

let dp: Datapath;
let cgroup: ServedCgroup;
let sockets: Sockets;
const stops: (() => void)[] = [];
const clients = (family: 4 | 6) => [1, 2, 3, 4].map((n) => (family === 4 ? `10.250.1.${n}` : `fd25:1::${n}`));

beforeAll(async () => {
  await Netns.create(netns);
  const netlink = Netlink.open({ netnsPath: netns });
  for (const ip of [...clients(4), ...clients(6)])
    await netlink.addrAdd({ index: 1, prefix: hostPrefix(parseIp(ip)), noDad: true });
  netlink.close();
  dp = new Datapath("socket");
  cgroup = new ServedCgroup("axdp-socka", dp);
  for (const port of ports) stops.push(startServer(netns, port, String(port)));
  sockets = new Sockets(netns, cgroup.path);
  for (const port of ports) {
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

interface Live {
  readonly id: number;
  readonly port: number;
  active: boolean;
}

/** A Service for TCP and UDP (an id each, as the compiler gives) whose backends come and go. */
class Changing {
  readonly #frontend: string;
  readonly #backend: string;
  readonly #algorithm: number;
  readonly live: Live[] = [];
  #nextId = 100;
  #offset = 0;

  constructor(family: 4 | 6, algorithm: number) {
    this.#frontend = family === 4 ? "10.96.0.10" : "fd96::10";
    this.#backend = family === 4 ? "127.0.0.1" : "::1";
    this.#algorithm = algorithm;
  }

  get ip(): string {
    return this.#frontend;
  }

  add(port: number): void {
    this.live.push({ id: this.#nextId++, port, active: true });
    this.#commit();
  }

  remove(at: number): void {
    const [gone] = this.live.splice(at, 1);
    this.#commit();
    if (gone) for (const proto of [0, 1]) dp.rows("ax_backends").delete(key32(gone.id * 2 + proto));
  }

  terminate(at: number): void {
    const backend = this.live[at];
    if (backend) backend.active = false;
    this.#commit();
  }

  #commit(): void {
    [Proto.TCP, Proto.UDP].forEach((proto, n) => {
      const ids = this.live.map(({ id }) => id * 2 + n);
      for (const { id, port, active } of this.live) {
        const row = {
          addr: mapped(this.#backend),
          port,
          proto,
          state: active ? 0 : 1,
          serviceId: 1 + n,
          flags: 0,
        };
        dp.rows("ax_backends").put(key32(id * 2 + n), encoded(abi.backendSize, abi.encodeBackend, row));
      }
      const usable = this.live.filter(({ active }) => active).map(({ id }) => id * 2 + n);
      const list = usable.length > 0 ? usable : ids;
      const table =
        this.#algorithm === abi.SvcAlgorithm.MAGLEV
          ? Uint16Array.from({ length: 31 }, (_, entry) => entry % list.length)
          : undefined;
      this.#offset = (this.#offset + 16) % 992;
      dp.slots(this.#offset, list, table);
      const svc = {
        serviceId: 1 + n,
        slotsOff: this.#offset,
        slots: table?.length ?? list.length,
        count: list.length,
        affinityTimeoutS: 60,
        flags: abi.SvcFlags.CLUSTERIP | abi.SvcFlags.AFFINITY,
        algorithm: this.#algorithm,
        forwarding: 0,
      };
      const key = { addr: mapped(this.#frontend), port: 80, proto, scope: 0 };
      dp.rows("ax_services").put(
        encoded(abi.svcKeySize, abi.encodeSvcKey, key),
        encoded(abi.svcSize, abi.encodeSvc, svc),
      );
    });
  }
}

async function reached(socket: Socket, ip: string, way: "tcp" | "udp" | "connected"): Promise<number> {
  if (way !== "udp") await socket.must("connect", ip, 80);
  const answer = await (way === "udp" ? socket.ask(ip, 80) : socket.ask());
  if (!("by" in answer)) throw new Error(answer.failed);
  return Number(answer.by);
}

describe.each([
  ["IPv4, random", 4, abi.SvcAlgorithm.RANDOM],
  ["IPv4, Maglev", 4, abi.SvcAlgorithm.MAGLEV],
  ["IPv6, random", 6, abi.SvcAlgorithm.RANDOM],
] as const)("affinity, %s", (_, family, algorithm) => {
  test(`never breaks while its backend lives (SEED=${seed})`, async () => {
    const random = new Random(seed + family + algorithm);
    const service = new Changing(family, algorithm);
    /** Backend that a client has, by protocol: undefined before the first time. */
    const had = new Map<string, Live>();
    const lasting = new Map<string, Socket>();
    for (const port of ports.slice(0, 3)) service.add(port);
    let held = 0;
    for (let step = 0; step < STEPS; step++) {
      const dice = random.below(10);
      if (dice === 0 && service.live.length > 1) service.remove(random.below(service.live.length));
      else if (dice === 1 && service.live.length > 1) service.terminate(random.below(service.live.length));
      else if (dice === 2) {
        const free = ports.filter((port) => service.live.every((backend) => backend.port !== port));
        if (free.length > 0) service.add(free[random.below(free.length)] ?? 0);
      } else {
        const client = clients(family)[random.below(4)] ?? "";
        const way = (["tcp", "udp", "connected"] as const)[random.below(3)] ?? "tcp";
        const proto = way === "tcp" ? "tcp" : "udp";
        const again = way === "udp" && random.below(2) === 0 ? lasting.get(client) : undefined;
        const socket = again ?? (await sockets.open(`${proto}${family}`));
        if (!again) await socket.must("bind", client, 0);
        const port = await reached(socket, service.ip, way);
        if (way === "udp") lasting.set(client, socket);
        else await socket.close();
        const before = had.get(`${client} ${proto}`);
        // Terminating ones serve while there are no others.
        const serves = before && (before.active || service.live.every(({ active }) => !active));
        if (serves && service.live.includes(before)) {
          expect(port, `step ${step}, ${client} by ${way}`).toBe(before.port);
          held++;
        }
        const now = service.live.find((backend) => backend.port === port);
        expect(now, `step ${step}: nobody serves ${port}`).toBeDefined();
        if (now) had.set(`${client} ${proto}`, now);
      }
    }
    expect(held).toBeGreaterThan(STEPS / 10);
  });
});
