import { spawn, spawnSync } from "node:child_process";
import {
  ConfigFlags,
  DropReason,
  decodeProcess,
  type Event,
  EventFlags,
  EventType,
  SvcFlags,
} from "@axoneme/abi";
import { waitFor } from "@axoneme/base";
import { builtFile, launch, netnsCookie } from "@axoneme/netlink";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, decoded, key32 } from "./datapath.ts";
import { LiveCluster, type Node, type Pod, probe, serve } from "./live.ts";
import { Proto, Tcp } from "./packet.ts";
import {
  attachOwner,
  type FamilyCase,
  families,
  putPod,
  ServedCgroup,
  type Socket,
  Sockets,
} from "./sockets.ts";

/** Sockets and packets of one pod: what the socket layer began, the pod's programs go on with. */
const PORT = 8080;
const SERVICE = 53;

describe.each([
  ["native routing", false],
  ["VXLAN", true],
])("a pod's sockets and its packets, %s", (_, tunnel) => {
  let cluster: LiveCluster;
  let node: Node;
  let client: Pod;
  let backends: Pod[];
  let socketDp: Datapath;
  let cgroup: ServedCgroup;
  let sockets: Sockets;
  let owned: ReturnType<typeof attachOwner> | undefined;
  const stops: (() => void)[] = [];

  beforeAll(async () => {
    cluster = await LiveCluster.create(tunnel);
    const [node1, node2] = cluster.nodes as [Node, Node];
    node = node1;
    client = await cluster.pod("a", node1, 11, 301);
    backends = [await cluster.pod("b", node1, 12, 302), await cluster.pod("c", node2, 13, 303)];
    for (const pod of backends) stops.push(await serve(pod.netns, PORT, pod.name));
    const { flags, deviceIfindex, tunnelIfindex, nodeIp4, nodeIp6, mtu } = node.dp.config;
    socketDp = new Datapath("socket", node.pinDir);
    node.dp.configure({ flags, deviceIfindex, tunnelIfindex, nodeIp4, nodeIp6, mtu });
    cgroup = new ServedCgroup("axdp-moved", socketDp);
    sockets = new Sockets(client.netns, cgroup.path);
    const { v4, v6 } = client.addresses;
    putPod(socketDp, netnsCookie(client.netns), v4, v6);
  });
  afterAll(async () => {
    sockets.close();
    for (const stop of stops) stop();
    await cgroup.close();
    socketDp.close();
    await cluster.close();
  });
  beforeEach(() => {
    for (const name of ["ax_services", "ax_backends"] as const) {
      const { keys, count } = node.dp.rows(name).dump();
      node.dp.rows(name).deleteBatch(keys, count);
    }
    for (const name of ["ax_ct", "ax_svc_flows", "ax_affinity"]) node.dp.map(name).clear();
    node.dp.events();
  });

  const ipOf = (f: FamilyCase, pod: Pod) => (f.service.includes(":") ? pod.addresses.v6 : pod.addresses.v4);

  /** Backends 500 (b, this node) and 501 (c, the other); every slot names `to`, unless both may be had. */
  function service(f: FamilyCase, to?: number, change = {}): void {
    for (const [id, proto] of [
      [5, Proto.UDP],
      [6, Proto.TCP],
    ] as const) {
      const rows = backends.map((pod) => ({ ip: ipOf(f, pod), port: PORT }));
      node.dp.service(id, { ip: f.service, port: SERVICE, proto }, rows, change);
    }
    if (to !== undefined) for (const slot of [500, 501]) node.dp.slots(slot, [to]);
  }

  /** As the agent: a list without it, then its row, then the epoch. */
  function remove(f: FamilyCase, id: number): void {
    service(f, id === 500 ? 501 : 500);
    node.dp.rows("ax_backends").delete(key32(id));
    node.dp.nextEpoch();
  }

  async function connected(f: FamilyCase, to: string, port: number): Promise<Socket> {
    const socket = await sockets.open(`udp${f.kind}`);
    await socket.must("connect", to, port);
    return socket;
  }

  describe.each(families)("connected UDP, $name", (f) => {
    test.each([
      ["of this node", 500, "b", "c"],
      ["of another", 501, "c", "b"],
    ])("moves when its backend %s goes, and the program notices nothing", async (_, id, first, second) => {
      service(f, id);
      const socket = await connected(f, f.dialled, SERVICE);
      const from = `${f.dialled} ${SERVICE}`;
      for (let n = 0; n < 3; n++) expect(await socket.ask()).toEqual({ by: first, from });
      remove(f, id);
      // The server of the removed backend still runs: a packet that goes there would be answered.
      for (let n = 0; n < 5; n++) expect(await socket.ask()).toEqual({ by: second, from });
      expect(await socket.peer()).toBe(from);
      expect(await socket.ask(f.dialled, SERVICE)).toEqual({ by: second, from });
    });

    test("stays with its new backend while others come, and moves on when that goes too", async () => {
      service(f, 500);
      const socket = await connected(f, f.dialled, SERVICE);
      expect(await socket.ask()).toMatchObject({ by: "b" });
      remove(f, 500);
      expect(await socket.ask()).toMatchObject({ by: "c" });
      // b is back, under another id as ever
      const row = { ip: ipOf(f, backends[0] as Pod), port: PORT };
      node.dp.service(9, { ip: f.service, port: SERVICE, proto: Proto.UDP }, [row], { serviceId: 5 });
      for (let n = 0; n < 3; n++) expect(await socket.ask()).toMatchObject({ by: "c" });
      node.dp.rows("ax_backends").delete(key32(501));
      node.dp.nextEpoch();
      for (let n = 0; n < 3; n++)
        expect(await socket.ask()).toEqual({ by: "b", from: `${f.dialled} ${SERVICE}` });
    });

    test("is dropped while there is no backend, and answered when there is one", async () => {
      service(f, 500);
      const socket = await connected(f, f.dialled, SERVICE);
      expect(await socket.ask()).toMatchObject({ by: "b" });
      node.dp.service(5, { ip: f.service, port: SERVICE, proto: Proto.UDP }, []);
      node.dp.rows("ax_backends").delete(key32(500));
      node.dp.nextEpoch();
      node.dp.events();
      expect(await socket.ask()).toHaveProperty("failed");
      const [drop] = node.dp.events().filter(({ type }) => type === EventType.DROP);
      expect(drop).toMatchObject({ subtype: DropReason.NO_SERVICE, origDport: SERVICE });
      remove(f, 500);
      expect(await socket.ask()).toMatchObject({ by: "c" });
    });

    test("goes on to the pod when the Service itself is gone", async () => {
      service(f, 500);
      const socket = await connected(f, f.dialled, SERVICE);
      for (const name of ["ax_services", "ax_backends"] as const) {
        const { keys, count } = node.dp.rows(name).dump();
        node.dp.rows(name).deleteBatch(keys, count);
      }
      node.dp.nextEpoch();
      expect(await socket.ask()).toMatchObject({ by: "b" });
    });

    test("that dialled the pod itself is not moved", async () => {
      service(f, 500);
      const direct = f.name.includes("over")
        ? `::ffff:${ipOf(f, backends[0] as Pod)}`
        : ipOf(f, backends[0] as Pod);
      const socket = await connected(f, f.dialled, SERVICE);
      expect(await socket.ask()).toMatchObject({ by: "b" });
      await socket.must("connect", direct, PORT);
      remove(f, 500);
      expect(await socket.ask()).toEqual({ by: "b", from: `${direct} ${PORT}` });
    });
  });

  describe("the process that owns a socket", () => {
    const OWNED = 8081;
    const probeFile = builtFile("bin/axon-probe");
    let owner: Datapath;
    let server: ReturnType<typeof spawn>;
    let flags = 0;

    /** A program in a pod's namespace, below the cgroup. */
    const inPod = (pod: Pod, command: string[]) =>
      launch({ netns: pod.netns, cgroups: [cgroup.path], parentDeathSignal: "KILL" }, command);
    const finish = (pod: Pod, command: string[]) => {
      const { file, args } = inPod(pod, command);
      return spawnSync(file, args, { timeout: 5000, encoding: "utf8" });
    };
    /** The row of a number as text. */
    const row = (id: number) => {
      const bytes = owner.map("ax_processes").get(key32(id));
      if (bytes === undefined) return undefined;
      const { pid, path, pathLen, args, argsLen } = decoded(decodeProcess, bytes);
      const words = (all: Uint8Array, length: number) => Buffer.from(all.subarray(0, length)).toString();
      return {
        pid,
        path: words(path, pathLen).split("\0").slice(0, -1).reverse().join("/"),
        args: words(args, argsLen).split("\0").slice(0, -1),
      };
    };
    /** Records of packets between the client and the server's port. */
    const records = (port = OWNED): Event[] =>
      node.dp.events().filter(({ sport, dport }) => sport === port || dport === port);

    beforeAll(async () => {
      ({ flags } = node.dp.config);
      const config = node.dp.config;
      owner = new Datapath("owner", node.pinDir);
      node.dp.configure({ ...config, flags: flags | ConfigFlags.PROCESSES });
      owned = attachOwner(owner, cgroup);
      const [b] = backends as [Pod];
      putPod(socketDp, netnsCookie(b.netns), b.addresses.v4, b.addresses.v6);
      const { file, args } = inPod(b, [probeFile, "serve", String(OWNED), "--name", "owned"]);
      server = spawn(file, args, { stdio: "ignore" });
      const answers = async () =>
        (await probe(b.netns, "tcp", "127.0.0.1", String(OWNED), "--timeout", "200")).code === 0;
      await waitFor(answers, { what: "the server to answer" });
    });
    afterAll(() => {
      server?.kill("SIGKILL");
      owned?.close();
      node.dp.configure({ flags });
      owner?.close();
    });

    test.each([
      ["TCP", "tcp", families[0]],
      ["TCP over IPv6", "tcp", families[1]],
      ["UDP", "udp", families[0]],
      ["UDP over IPv6", "udp", families[1]],
    ] as const)(
      "%s: the client in its first packet, both once the server has answered",
      async (_, kind, f) => {
        const [b] = backends as [Pod];
        const socket = await sockets.open(`${kind}${f.kind}`);
        await socket.must("connect", ipOf(f, b), OWNED);
        expect(await socket.ask()).toMatchObject({ by: "owned" });
        await socket.close();
        // The end of the connection before may come late.
        const ofThis = ({ proto, flags }: Event) =>
          proto === (kind === "tcp" ? Proto.TCP : Proto.UDP) &&
          ((flags & EventFlags.IPV6) !== 0) === (f === families[1]);
        const [first, ...rest] = records().filter(ofThis);
        expect(row(first?.srcProcess ?? 0)).toMatchObject({
          pid: sockets.pid,
          path: expect.stringMatching(/sockets$/),
        });
        expect(first?.dstProcess).toBe(0);
        const answer = rest.find(({ sport }) => sport === OWNED);
        expect(answer).toMatchObject({ dstProcess: first?.srcProcess });
        expect(row(answer?.srcProcess ?? 0)).toEqual({
          pid: server.pid,
          path: expect.stringMatching(/axon-probe$/),
          args: [probeFile, "serve", String(OWNED), "--name", "owned"],
        });
        if (kind !== "tcp") return;
        const last = await waitFor(
          () => {
            rest.push(...records().filter(ofThis));
            return rest.find((r) => r.dport === OWNED && (r.tcpFlags & Tcp.FIN) !== 0);
          },
          { what: "the client's end of the connection" },
        );
        expect(last).toMatchObject({ srcProcess: first?.srcProcess, dstProcess: answer?.srcProcess });
      },
    );

    test("a program that is gone by now is named, with what it was called with", () => {
      const [b] = backends as [Pod];
      const command = [probeFile, "udp", b.addresses.v4, String(OWNED), "--timeout", "1000"];
      const { pid, status } = finish(client, command);
      expect(status).toBe(0);
      expect(row(records()[0]?.srcProcess ?? 0)).toEqual({
        pid,
        path: expect.stringMatching(/axon-probe$/),
        args: command,
      });
    });

    test("what a process becomes by exec has a number of its own; a child uses its parent's", () => {
      const [b] = backends as [Pod];
      const to = `${b.addresses.v4}/${OWNED}`;
      const script = `exec 3<>/dev/udp/${to}; (echo child >&3); exec ${probeFile} udp ${to.replace("/", " ")}`;
      const { pid } = finish(client, ["bash", "-c", script]);
      const sent = records().filter(({ dport }) => dport === OWNED);
      const rows = sent.map(({ srcProcess }) => row(srcProcess));
      expect(rows.map((one) => [one?.pid, one?.path.split("/").at(-1)])).toEqual([
        [pid, "bash"],
        [pid, "axon-probe"],
      ]);
    });

    test("neither of the node's own programs, nor switched off", async () => {
      const before = owner.map("ax_processes").dump().count;
      const own = launch({ cgroups: [cgroup.path] }, [probeFile, "udp", "127.0.0.1", "9"]);
      const { status } = spawnSync(own.file, own.args, { timeout: 5000 });
      expect(status).not.toBe(null);
      expect(owner.map("ax_processes").dump().count).toBe(before);
      node.dp.configure({ flags });
      const [b] = backends as [Pod];
      finish(client, [probeFile, "udp", b.addresses.v4, String(OWNED), "--timeout", "1000"]);
      const seen = records();
      expect(seen.length).toBeGreaterThan(0);
      expect(seen.every(({ srcProcess, dstProcess }) => srcProcess === 0 && dstProcess === 0)).toBe(true);
      node.dp.configure({ flags: flags | ConfigFlags.PROCESSES });
    });
  });

  test.each([
    ["IPv4", families[0]],
    ["IPv6", families[1]],
  ] as const)("session affinity is one for sockets and for packets, %s", async (_, f) => {
    const affine = { flags: SvcFlags.CLUSTERIP | SvcFlags.AFFINITY, affinityTimeoutS: 60 };
    for (let round = 0; round < 4; round++) {
      node.dp.map("ax_affinity").clear();
      service(f, undefined, affine);
      const socket = await sockets.open(`tcp${f.kind}`);
      await socket.must("connect", f.dialled, SERVICE);
      const { by } = (await socket.ask()) as { by: string };
      await socket.close();
      // the probe is in no cgroup of ours: its packets are translated
      for (let n = 0; n < 3; n++) {
        const { code, output } = await probe(
          client.netns,
          "tcp",
          f.dialled,
          String(SERVICE),
          "--timeout",
          "1000",
        );
        expect([code, output.split(" ")[0]]).toEqual([0, by]);
      }
    }
  });
});
