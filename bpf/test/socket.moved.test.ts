import { DropReason, EventType, SvcFlags } from "@axoneme/abi";
import { netnsCookie } from "@axoneme/netlink";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, key32 } from "./datapath.ts";
import { LiveCluster, type Node, type Pod, probe, serve } from "./live.ts";
import { Proto } from "./packet.ts";
import { type FamilyCase, families, putPod, ServedCgroup, type Socket, Sockets } from "./sockets.ts";

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
    if (to !== undefined) for (const slot of [500, 501]) node.dp.rows("ax_slots").put(key32(slot), key32(to));
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
