import { waitFor } from "@axoneme/base";
import { type KubeObject, resources } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { labName, type Place, port, TestLab, type TestPod, world } from "./support/lab.ts";

type Family = "v4" | "v6";
type Protocol = "tcp" | "udp" | "ping";

const families: readonly Family[] = ["v4", "v6"];
const familyName = { v4: "IPv4", v6: "IPv6" };
const protocolName = { tcp: "TCP", udp: "UDP", ping: "ICMP" };

/** Who sends to whom, by the names of places; `seenAs` is whose address the receiver must see. */
interface Path {
  readonly what: string;
  readonly from: string;
  readonly to: string;
  readonly seenAs?: string;
}

const paths: readonly Path[] = [
  { what: "a pod reaches a pod on the same node", from: "client", to: "near", seenAs: "client" },
  { what: "a pod reaches a pod on the other node", from: "client", to: "far", seenAs: "client" },
  { what: "a pod reaches its own node", from: "client", to: "node1", seenAs: "client" },
  { what: "a pod reaches the other node", from: "client", to: "node2", seenAs: "client" },
  { what: "a node reaches its own pod", from: "node1", to: "client" },
  { what: "a node reaches a pod on the other node", from: "node1", to: "far" },
  { what: "a pod reaches the world, which sees the node", from: "client", to: "world", seenAs: "node1" },
  { what: "a node reaches the world", from: "node1", to: "world", seenAs: "node1" },
];

const servicePaths: readonly Path[] = [
  { what: "a pod reaches a Service with a pod of its node", from: "client", to: "near" },
  { what: "a pod reaches a Service with a pod of the other node", from: "client", to: "far" },
  {
    what: "a pod without socket programs reaches a Service with a pod of its node",
    from: "bare",
    to: "near",
  },
  {
    what: "a pod without socket programs reaches a Service with a pod of the other node",
    from: "bare",
    to: "far",
  },
  { what: "a node reaches a Service with its own pod", from: "node1", to: "near" },
  { what: "a node reaches a Service with a pod of the other node", from: "node1", to: "far" },
];

const largePaths = paths.filter(({ to }) => ["near", "far", "node2", "world"].includes(to));

interface Row extends Path {
  readonly family: Family;
  readonly protocol: Protocol;
}

/** One row a cell of the matrix, with a sentence for its name. */
function rows(of: readonly Path[], protocols: readonly Protocol[]): [string, Row][] {
  return of.flatMap((path) =>
    families.flatMap((family) =>
      protocols.map((protocol): [string, Row] => [
        `${path.what} (${protocolName[protocol]} over ${familyName[family]})`,
        { ...path, family, protocol },
      ]),
    ),
  );
}

function service(name: string): KubeObject {
  const ports = ["TCP", "UDP"].map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: 80,
    targetPort: Number(port),
  }));
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: {
      selector: { app: name },
      ipFamilyPolicy: "RequireDualStack",
      ipFamilies: ["IPv4", "IPv6"],
      ports,
    },
  } as KubeObject;
}

describe.each(["native", "tunnel"] as const)("connectivity, %s routing", (routingMode) => {
  const name = labName(`it-${routingMode}`);
  let lab: TestLab | undefined;
  const places = new Map<string, Place>();
  const services = new Map<string, Record<Family, string>>();

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const place = (key: string): Place => {
    const found = places.get(key);
    if (found === undefined) throw new Error(`no place ${key}`);
    return found;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode });
    const [client, near, far] = (await lab.pods(
      { name: "client", node: "node1" },
      { name: "near", node: "node1" },
      { name: "far", node: "node2" },
    )) as [TestPod, TestPod, TestPod];
    const all = [client, near, far, lab.node("node1"), lab.node("node2"), lab.world];
    for (const one of all) places.set(one.name, one);
    places.set("bare", { ...client, cgroup: undefined });
    for (const one of [lab.node("node1"), lab.node("node2"), lab.world]) await lab.serve(one);
    await lab.apply(service("near"), service("far"));
    for (const key of ["near", "far"]) services.set(key, await clusterIps(lab, key));
    // Until what the API says has reached both agents.
    for (const family of families) {
      for (const key of ["near", "far"]) {
        await lab.reached(client, ["tcp", services.get(key)?.[family] ?? "", "80"]);
        await lab.reached(client, ["tcp", place(key)[family], port]);
      }
    }
  });

  afterAll(() => TestLab.down(lab, name));

  async function clusterIps(from: TestLab, key: string): Promise<Record<Family, string>> {
    const ips = await waitFor(
      async () => {
        const found = await from.client.resource(resources.services).get(key, { namespace: "default" });
        const list = found.spec?.clusterIPs ?? [];
        return list.length === 2 && list;
      },
      { what: `two addresses of the Service ${key}` },
    );
    return { v4: ips.find((ip) => !ip.includes(":")) ?? "", v6: ips.find((ip) => ip.includes(":")) ?? "" };
  }

  const question = (protocol: Protocol, address: string, onPort: string): string[] =>
    protocol === "ping" ? ["ping", address] : [protocol, address, onPort];

  it.each(rows(paths, ["tcp", "udp", "ping"]))(
    "%s",
    async (_title, { from, to, seenAs, family, protocol }) => {
      const target = place(to)[family];
      const answer = await the().probe(place(from), [
        ...question(protocol, target, port),
        "--timeout",
        "5000",
      ]);
      expect(answer).toMatchObject({ code: 0, stderr: "" });
      if (protocol === "ping") return;
      // A tunnel carries pods' addresses between pods; what leaves it for another node answers the node.
      const seer = routingMode === "tunnel" && to === "node2" ? "node1" : seenAs;
      const seen = seer === undefined ? expect.any(String) : place(seer)[family];
      const [, who, whom] = /^(\S+) sees (\S+)\n$/.exec(answer.stdout) ?? [];
      expect([who, whom]).toEqual([to, seen]);
    },
  );

  it.each(rows(servicePaths, ["tcp", "udp"]))("%s", async (_title, { from, to, family, protocol }) => {
    const target = services.get(to)?.[family] ?? "";
    const answer = await the().probe(place(from), [protocol, target, "80", "--timeout", "5000"]);
    expect(answer).toMatchObject({ code: 0, stderr: "" });
    const [, who, whom] = /^(\S+) sees (\S+)\n$/.exec(answer.stdout) ?? [];
    expect(who).toBe(to);
    if (from !== "node1") expect(whom).toBe(place("client")[family]);
  });

  it.each(rows(largePaths, ["tcp"]))("a megabyte each way: %s", async (_title, { from, to, family }) => {
    const args = ["tcp", place(to)[family], port, "--size", "1000000", "--timeout", "10000"];
    expect(await the().probe(place(from), args)).toMatchObject({ code: 0, stdout: "1000000 bytes\n" });
  });

  it.each(
    rows(largePaths, ["udp"]).flatMap(([title, row]) =>
      [1400, 1500, 3000, 8000].map((size): [number, string, Row] => [size, title, row]),
    ),
  )("%d bytes in a datagram each way: %s", async (size, _title, { from, to, family }) => {
    const args = ["udp", place(to)[family], port, "--size", String(size), "--timeout", "3000"];
    expect(await the().probe(place(from), args)).toMatchObject({ code: 0, stdout: `${size} bytes\n` });
  });

  it.each(rows(largePaths, ["ping"]))("a ping of 3000 bytes: %s", async (_title, { from, to, family }) => {
    const args = ["ping", place(to)[family], "--size", "3000", "--timeout", "3000"];
    expect(await the().probe(place(from), args)).toMatchObject({ code: 0, stderr: "" });
  });

  it.each(families)(
    "fragments of a Service's datagram reach one backend and come back (%s)",
    async (family) => {
      for (const from of ["client", "bare"]) {
        const args = [
          "udp",
          services.get("far")?.[family] ?? "",
          "80",
          "--size",
          "8000",
          "--timeout",
          "3000",
        ];
        expect(await the().probe(place(from), args)).toMatchObject({ code: 0, stdout: "8000 bytes\n" });
      }
    },
  );

  it.each(families)("a closed port is refused at once, not silently dropped (%s)", async (family) => {
    for (const to of ["near", "far", "node2", "world"]) {
      const outcome = await the().probe(place("client"), [
        "tcp",
        place(to)[family],
        "9",
        "--timeout",
        "5000",
      ]);
      expect([to, outcome.code, outcome.stderr]).toEqual([to, 2, expect.stringContaining("refused")]);
    }
  });

  it.each(families)("a closed UDP port is told by ICMP, through masquerading too (%s)", async (family) => {
    for (const to of ["near", "far", "world"]) {
      const outcome = await the().probe(place("client"), [
        "udp",
        place(to)[family],
        "9",
        "--timeout",
        "5000",
      ]);
      expect([to, outcome.code, outcome.stderr]).toEqual([to, 2, expect.stringContaining("refused")]);
    }
  });

  it("the world has the addresses the tests think it has", () => {
    expect(place("world")).toMatchObject(world);
  });
});
