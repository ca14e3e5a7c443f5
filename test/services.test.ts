/**
 * Every kind of Service from every place, to backends in every place, over every protocol: the same table for each way
 * the datapath can be set up. Rules that narrow who may come or who answers are in services-rules.test.ts.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectAnswer, type Question, spreadOf } from "./support/cells.ts";
import { labName, type Place, TestLab, world } from "./support/lab.ts";
import {
  endpointsListed,
  type Family,
  families,
  familyName,
  type Protocol,
  protocolName,
  protocols,
  type ServiceFacts,
  serviceFacts,
  serviceObject,
  setIngress,
  settled,
} from "./support/services.ts";
import { routeFromWorld } from "./support/wire.ts";

interface Mode {
  readonly title: string;
  /** Part of the lab's name. */
  readonly key: string;
  readonly routingMode: "native" | "tunnel";
  readonly agentConfig: Readonly<Record<string, unknown>>;
  readonly isDsr?: boolean;
}

const modes: readonly Mode[] = [
  { title: "native routing, SNAT, tcx", key: "snat", routingMode: "native", agentConfig: {} },
  { title: "tunnel, SNAT, tcx", key: "tunnel", routingMode: "tunnel", agentConfig: {} },
  {
    title: "native routing, DSR by IP option, tcx",
    key: "dsr",
    routingMode: "native",
    agentConfig: { loadBalancerMode: "dsr" },
    isDsr: true,
  },
  {
    title: "native routing, DSR by IP in IP, Maglev, tcx",
    key: "ipip",
    routingMode: "native",
    agentConfig: { loadBalancerMode: "dsr", dsrDispatch: "ipip", loadBalancerAlgorithm: "maglev" },
    isDsr: true,
  },
  {
    title: "tunnel, DSR, tcx",
    key: "tunnel-dsr",
    routingMode: "tunnel",
    agentConfig: { loadBalancerMode: "dsr" },
    isDsr: true,
  },
  {
    title: "native routing, SNAT, XDP",
    key: "xdp",
    routingMode: "native",
    agentConfig: { loadBalancerAcceleration: "native" },
  },
  {
    title: "native routing, DSR, XDP, Maglev",
    key: "xdp-dsr",
    routingMode: "native",
    agentConfig: {
      loadBalancerAcceleration: "native",
      loadBalancerMode: "dsr",
      loadBalancerAlgorithm: "maglev",
    },
    isDsr: true,
  },
];

/** Backends by where they live; each has a Service of its own with the same name. */
const backends = ["near", "far", "near-host", "far-host"] as const;
type Backend = (typeof backends)[number];
const backendName: Readonly<Record<Backend, string>> = {
  near: "a pod of node1",
  far: "a pod of node2",
  "near-host": "a program in node1's network",
  "far-host": "a program in node2's network",
};
const isOnNode1 = (backend: Backend): boolean => backend.startsWith("near");

/** What is dialled. */
const dials = ["clusterIp", "nodePort1", "nodePort2", "loopback", "vip", "external"] as const;
type Dial = (typeof dials)[number];
const dialName: Readonly<Record<Dial, string>> = {
  clusterIp: "the cluster address",
  nodePort1: "the node port on node1",
  nodePort2: "the node port on node2",
  loopback: "the node port on loopback",
  vip: "the load-balancer address",
  external: "the external address",
};

/** Who asks; all but the last live on node1. */
const clients = ["client", "bare", "node1", "world"] as const;
type Client = (typeof clients)[number];
const clientName: Readonly<Record<Client, string>> = {
  client: "a pod",
  bare: "a pod without socket programs",
  node1: "node1",
  world: "the world",
};

interface Cell {
  readonly client: Client;
  readonly dial: Dial;
  readonly backend: Backend;
  readonly protocol: Protocol;
  readonly family: Family;
}

const isServed = (client: Client, dial: Dial): boolean =>
  (dial !== "loopback" || client === "node1") && (dial !== "clusterIp" || client !== "world");

const cells: [string, Cell][] = clients.flatMap((client) =>
  dials
    .filter((dial) => isServed(client, dial))
    .flatMap((dial) =>
      backends.flatMap((backend) =>
        protocols.flatMap((protocol) =>
          families.map((family): [string, Cell] => [
            `${clientName[client]} dials ${dialName[dial]}, ${backendName[backend]} answers ` +
              `(${protocolName[protocol]} over ${familyName[family]})`,
            { client, dial, backend, protocol, family },
          ]),
        ),
      ),
    ),
);

const outside = cells.filter(([, cell]) => cell.client === "world");
const large = outside.filter(
  ([, { dial, backend }]) => dial === "nodePort1" && ["near", "far"].includes(backend),
);

describe.each(modes)("Services, $title", ({ key, routingMode, agentConfig, isDsr = false }) => {
  const name = labName(`it-svc-${key}`);
  const isXdp = agentConfig["loadBalancerAcceleration"] === "native";
  let lab: TestLab | undefined;
  const places = new Map<Client, Place>();
  const facts = new Map<Backend, ServiceFacts>();

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, {
      routingMode,
      agentConfig,
      xdp: isXdp,
    });
    const [client] = await lab.pods(
      { name: "client", node: "node1" },
      { name: "near", node: "node1" },
      { name: "far", node: "node2" },
      { name: "near-host", node: "node1", hostNetwork: true, serves: [8081] },
      { name: "far-host", node: "node2", hostNetwork: true, serves: [8081] },
    );
    if (client === undefined) throw new Error("no client");
    places.set("client", client).set("bare", { ...client, cgroup: undefined });
    places.set("node1", lab.node("node1")).set("world", lab.world);
    for (const backend of backends) await addService(lab, backend);
    await settled(lab, client);
    for (const backend of backends) facts.set(backend, await serviceFacts(lab, backend));
  });

  afterAll(() => TestLab.down(lab, name));

  async function addService(to: TestLab, backend: Backend): Promise<void> {
    const externalIPs = families.map((family) => external(backend, family));
    const targetPort = backend.endsWith("-host") ? 8081 : 8080;
    await to.apply(serviceObject({ name: backend, targetPort, spec: { type: "LoadBalancer", externalIPs } }));
    const vips = families.map((family) => vip(backend, family));
    await setIngress(to, backend, vips);
    // The world reaches these through node1, whatever node the backend is on.
    for (const address of [...externalIPs, ...vips]) await routeFromWorld(to, address, "node1");
    await endpointsListed(to, backend, 1);
  }

  const numberOf = (backend: Backend): number => backends.indexOf(backend) + 1;
  const vip = (backend: Backend, family: Family): string =>
    family === "v4" ? `198.51.100.${numberOf(backend)}` : `2001:db8:51::${numberOf(backend)}`;
  const external = (backend: Backend, family: Family): string =>
    family === "v4" ? `203.0.113.${numberOf(backend)}` : `2001:db8:113::${numberOf(backend)}`;

  function question({ client, dial, backend, protocol, family }: Cell): Question {
    const from = places.get(client);
    const fact = facts.get(backend);
    if (from === undefined || fact === undefined) throw new Error(`no ${client} or no Service ${backend}`);
    const nodePort = fact.nodePort[protocol];
    const targets: Readonly<Record<Dial, [string, number]>> = {
      clusterIp: [fact[family], 80],
      nodePort1: [the().node("node1")[family], nodePort],
      nodePort2: [the().node("node2")[family], nodePort],
      loopback: [family === "v4" ? "127.0.0.1" : "::1", nodePort],
      vip: [vip(backend, family), 80],
      external: [external(backend, family), 80],
    };
    const [address, port] = targets[dial];
    // The world's own address, not that of its end of the nodes' network.
    const source = client === "world" ? { source: world[family] } : {};
    return { from, protocol, address, port, ...source };
  }

  /** Whom the backend must see, where the design says so. */
  function seenBy({ client, dial, backend, family }: Cell): string | undefined {
    if (client === "world") {
      const entry = dial === "nodePort2" ? "node2" : "node1";
      const isForwarded = (entry === "node1") !== isOnNode1(backend);
      // A node's own stack cannot answer in a Service's name: its programs are reached by SNAT.
      const isDirect = isDsr && !backend.endsWith("-host");
      return isForwarded && !isDirect ? the().node(entry)[family] : world[family];
    }
    const isPod = client !== "node1" && !backend.endsWith("-host");
    // The other node's node port is translated there; everything else by the client's own node.
    return isPod && dial !== "nodePort2" ? places.get("client")?.[family] : undefined;
  }

  it("packets from outside take the way the mode is about", async () => {
    const { address, port } = question({
      client: "world",
      dial: "nodePort1",
      backend: "far",
      protocol: "tcp",
      family: "v4",
    });
    const args = ["service", "trace", "world", `${address}:${port}/tcp`, "--node", "node1"];
    const { stdout } = await the().axonRun(args);
    expect(stdout).toMatch(isXdp ? /^Path: +xdp/im : /^Path: +tcx/im);
  });

  describe.concurrent("one question", () => {
    it.each(cells)("%s", async (_title, cell) => {
      const sees = seenBy(cell);
      await expectAnswer(the(), question(cell), {
        by: [cell.backend],
        ...(sees === undefined ? {} : { sees }),
      });
    });
  });

  describe.concurrent("twenty questions in a row, each from a port of its own", () => {
    const rows = cells.filter(([, { backend, family }]) => backend === "far" && family === "v4");
    it.each(rows)("%s", async (_title, cell) => {
      expect(await spreadOf(the(), question(cell), 20)).toEqual(new Map([[cell.backend, 20]]));
    });
  });

  describe.concurrent("much at once from outside", () => {
    const sizes: Readonly<Record<Protocol, readonly number[]>> = {
      tcp: [1_000_000],
      udp: [1200, 1440, 4000],
    };
    const rows = large.flatMap(([title, cell]) =>
      sizes[cell.protocol].map((size): [number, string, Cell] => [size, title, cell]),
    );
    it.each(rows)("%d bytes each way: %s", async (size, _title, cell) => {
      const { from, protocol, address, port, source = "" } = question(cell);
      const args = [protocol, address, String(port), "--source", source, "--size", String(size)];
      const ask = () => the().probe(from, [...args, "--timeout", "8000"]);
      let outcome = await ask();
      // What the way cannot carry is told to the client, who sends it in fragments from then on.
      if (protocol === "udp" && /too long/.test(outcome.stderr)) outcome = await ask();
      expect(outcome).toMatchObject({ code: 0, stdout: `${size} bytes\n`, stderr: "" });
    });
  });
});
