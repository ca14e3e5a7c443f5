/**
 * The truth table with real connections: what the simple evaluator says of each pair of places is what TCP, UDP and ping
 * find, over IPv4 and IPv6. Policies known by name, and generated ones.
 */
import { waitFor } from "@axoneme/base";
import { KubeError, type KubeObject, resources, tierPolicyResources } from "@axoneme/kube";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  type Actor,
  type Case,
  cases,
  cast,
  castNamespaces,
  castWorld,
  generatedCast,
  usualPorts,
} from "../packages/policy/test/cases.ts";
import {
  groupArb as anyGroupArb,
  policyArb as anyPolicyArb,
  insidePrefixes,
  probes,
  type RawPolicy,
} from "../packages/policy/test/generate.ts";
import type { Objects, Pod } from "../packages/policy/test/oracle.ts";
import { History } from "./support/history.ts";
import { labName, type PodRequest, TestLab } from "./support/lab.ts";
import { Random } from "./support/random.ts";
import {
  ask,
  type Corner,
  cellsBetween,
  compare,
  InForce,
  isAllowed,
  keyOf,
  nodeCorner,
  podCorner,
  worldCorner,
} from "./support/truth.ts";
import { agentBack, killAgent, ownByWorld, reconfigure, routeFromWorld } from "./support/wire.ts";

const name = labName("it-truth");
const serves = [53, 80, 81, 443, 5978, 6379, 8080, 32000, 32768];
/** A multiple of what every run of the tests does, and where chance begins: see docs/development.md. */
const effort = Number(process.env["AXON_POLICY_RUNS"] ?? 150) / 150;
const seed = Number(process.env["AXON_TEST_SEED"] ?? 20_261_128);
/** Addresses of the world that generated policies name. */
const generatedWorld = ["10.0.0.1", "10.1.2.3", "192.0.2.1", "fd00::1", "2001:db8::1"];
const noObjects: Objects = { groups: [], services: [], auditedNamespaces: [] };

/** Prefixes that hold a pod, two pods, a node, all pods and so on: what stands for those of the generator. */
const inside = new Map<string, string>(insidePrefixes.map((prefix) => [prefix, prefix]));
const placed = <T>(raw: T): T =>
  JSON.parse(
    JSON.stringify(raw, (_, value: unknown) =>
      typeof value === "string" ? (inside.get(value) ?? value) : value,
    ),
  ) as T;
const policyArb = (anyPolicyArb as fc.Arbitrary<RawPolicy>).map(placed);
const groupArb = anyGroupArb.map(placed);

describe("policies and real connections", () => {
  let lab: TestLab | undefined;
  let force: InForce;
  const pods = new Map<string, Corner>();
  /** Pods as they are now, by name. */
  const now = new Map<string, Pod>();
  const nodes: Corner[] = [];
  const corners = (names: readonly string[]): Corner[] => names.flatMap((one) => pods.get(one) ?? []);
  const outside = (ips: readonly string[]): Corner[] => [
    ...nodes,
    ...ips.map((ip) => worldCorner(the().world, ip)),
  ];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode: "native" });
    force = new InForce(lab);
    await defineTiers(lab);
    for (const [namespace, labels] of Object.entries(castNamespaces)) await lab.namespace(namespace, labels);
    const actors = [...cast, ...generatedCast];
    const places = await lab.pods(...actors.map(podOf));
    for (const place of places) {
      const actor = actors.find((one) => one.name === place.name) as Pod;
      now.set(place.name, actor);
      pods.set(
        place.name,
        podCorner(place, () => now.get(place.name) ?? actor),
      );
      for (const address of [place.v4, place.v6]) await routeFromWorld(lab, address, place.node);
    }
    const [one, other] = places.filter(({ name: of }) => generatedCast.some((actor) => actor.name === of));
    const prefixesHere = [
      `${one?.v4}/30`,
      `${one?.v4}/32`,
      `${one?.v4}/24`,
      `${other?.v6}/126`,
      `${other?.v6}/128`,
      `${lab.node("node2").v4}/32`,
    ];
    insidePrefixes.forEach((prefix, i) => void inside.set(prefix, prefixesHere[i] ?? prefix));
    for (const ip of new Set([...castWorld, ...generatedWorld])) await ownByWorld(lab, ip);
    nodes.push(nodeCorner(lab.node("node1")), nodeCorner(lab.node("node2")));
    for (const place of [lab.world, lab.node("node1"), lab.node("node2")]) {
      await lab.serve(place, serves.join(","));
    }
  });

  afterEach(async () => {
    await force.dropAll();
  });

  afterAll(() => TestLab.down(lab, name));

  async function check({ policies, groups = [], ports = usualPorts, cast: who }: Case): Promise<void> {
    for (const group of groups) await force.put(groupObject(group));
    for (const policy of policies) await force.put(policy);
    await force.settled();
    const cells = cellsBetween(corners(who), outside(castWorld), ports.filter(isServed));
    const wanted = cells.map((cell) => isAllowed(policies, cell, { ...noObjects, groups }));
    const { open } = await compare(the(), cells, wanted);
    expect(open).toBeGreaterThan(0);
  }

  it.each(cases.map((one) => [one.name, one] as const))("%s", async (_name, one) => {
    await check(one);
  });

  let visitor = false;
  const generated = generatedCast.map((actor) => actor.name);

  /** Puts a generated policy in force; false when the API refuses it, or it is of a kind that is not installed. */
  async function put(raw: RawPolicy): Promise<boolean> {
    if (!force.knows(raw.kind)) return false;
    return force.put(raw).then(
      () => true,
      (error: unknown) => {
        if (error instanceof KubeError && error.status === 422) return false;
        throw error;
      },
    );
  }

  it(`generated policies (seed ${seed})`, async () => {
    const cells = cellsBetween(corners(generated), outside(generatedWorld), probes.filter(isServed));
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(policyArb, { minLength: 1, maxLength: 4, selector: keyOf }),
        fc.uniqueArray(groupArb, { maxLength: 2, selector: (group) => group.name }),
        async (policies, groups) => {
          await force.dropAll();
          for (const group of groups) await force.put(groupObject(group));
          for (const policy of policies) await put(policy);
          await force.settled();
          const inForce = force.policies.filter(({ kind }) => kind !== "CiliumCIDRGroup");
          const wanted = cells.map((cell) => isAllowed(inForce, cell, { ...noObjects, groups }));
          await compare(the(), cells, wanted);
        },
      ),
      { numRuns: Math.ceil(10 * effort), seed, interruptAfterTimeLimit: 20_000 * Math.max(1, effort) },
    );
  }, 600_000);

  it(`live changes of policies, labels and pods (seed ${seed})`, async () => {
    const live = cellsBetween(corners(generated), outside(["192.0.2.1", "2001:db8::1"]), [
      [17, 80],
      [17, 53],
      [6, 80],
    ]);
    const says = () => live.map((cell) => isAllowed(force.policies, cell, noObjects));
    const history = new History(live, says());
    const end = new AbortController();
    const traffic = [0, 1].map(async () => {
      while (!end.signal.aborted) {
        const since = performance.now();
        history.found(since, await ask(the(), live, 900));
      }
    });
    const random = new Random(seed);
    const draws = fc.sample(policyArb, { seed, numRuns: 200 });
    const settle = async () => {
      await force.settled();
      await compare(the(), live, history.now);
      history.ends();
    };
    try {
      for (let step = 0; step < Math.ceil(14 * effort); step++) {
        const kind = random.below(5);
        const old = force.policies[random.below(force.policies.length)];
        if (kind === 0) await relabel(random, () => history.begins(says()));
        else if (kind === 4) await visit(random);
        else if (kind === 1 && old !== undefined) {
          const rest = force.policies.filter((one) => one !== old);
          history.begins(live.map((cell) => isAllowed(rest, cell, noObjects)));
          await force.drop(old);
        } else {
          const raw = draws[step % draws.length] as RawPolicy;
          if (!force.knows(raw.kind)) continue;
          const rest = force.policies.filter((one) => keyOf(one) !== keyOf(raw));
          history.begins(live.map((cell) => isAllowed([...rest, raw], cell, noObjects)));
          if (!(await put(raw))) history.begins(says());
        }
        await settle();
        expect(history.wrong).toEqual([]);
      }
    } finally {
      end.abort();
      await Promise.all(traffic);
    }
    expect(history.wrong).toEqual([]);
    expect(history.decided).toBeGreaterThan(live.length);
    console.log(
      `live changes: ${history.changes} changes, ${history.decided} connections with one right outcome`,
    );
  }, 600_000);

  it("a pod in audit mode loses nothing, also after its agent was killed, and is enforced again when told", async () => {
    const spec = { podSelector: { matchLabels: { role: "db" } }, policyTypes: ["Ingress"] };
    await force.put({ kind: "NetworkPolicy", metadata: { name: "shut", namespace: "default" }, spec });
    await force.settled();
    const [db, nginx] = corners(["db", "nginx"]) as [Corner, Corner];
    const cells = cellsBetween(
      [db, nginx],
      [],
      [
        [6, 80],
        [17, 80],
      ],
    ).filter(({ to }) => to === db);
    const all = (open: boolean) =>
      compare(
        the(),
        cells,
        cells.map(() => open),
      );
    const set = async (mode: string) => {
      const { code, stdout } = await the().axonRun([
        "endpoint",
        "config",
        "default/db",
        `PolicyAuditMode=${mode}`,
      ]);
      expect({ code, stdout }).toEqual({ code: 0, stdout: `default/db on node1: PolicyAuditMode=${mode}\n` });
    };
    await all(false);
    await set("Enabled");
    await all(true);
    await agentBack(the(), "node1", killAgent(the(), "node1"));
    const shown = async () => (await the().axonRun(["endpoint", "config", "default/db"])).stdout;
    await waitFor(async () => (await shown()) !== "", {
      timeoutMs: 15_000,
      what: "the endpoint to be adopted",
    });
    expect(await shown()).toBe("default/db on node1: PolicyAuditMode=Enabled\n");
    await all(true);
    await set("Disabled");
    await all(false);
  });

  it("rules on prefixes match by identity where the agents are told so, as the field's do", async () => {
    const everywhere = [{ ipBlock: { cidr: "0.0.0.0/0" } }, { ipBlock: { cidr: "::/0" } }];
    const spec = { podSelector: {}, policyTypes: ["Ingress", "Egress"] };
    const policies = ["red", "blue"].map((namespace) => ({
      kind: "NetworkPolicy",
      metadata: { name: "everywhere", namespace },
      spec: { ...spec, ingress: [{ from: everywhere }], egress: [{ to: everywhere }] },
    }));
    for (const policy of policies) await force.put(policy);
    await force.settled();
    const cells = cellsBetween(corners(generated), outside(["192.0.2.1", "2001:db8::1"]), [
      [6, 80],
      [17, 80],
    ]);
    const agree = (cidrMatch: NonNullable<Objects["cidrMatch"]>) => {
      const wanted = cells.map((cell) => isAllowed(policies, cell, { ...noObjects, cidrMatch }));
      return compare(the(), cells, wanted);
    };
    expect(await agree("address")).toMatchObject({ shut: 0 });
    for (const mode of ["identity", "nodes"] as const) {
      await Promise.all(
        ["node1", "node2"].map((node) => {
          reconfigure(the(), node, { policyCIDRMatchMode: mode });
          return agentBack(the(), node, killAgent(the(), node));
        }),
      );
      const { open, shut } = await agree(mode);
      expect([open > 0, shut > 0]).toEqual([true, true]);
    }
  });

  /** A pod comes, or the one that came goes: nothing between the others is different. */
  async function visit(random: Random): Promise<void> {
    if (visitor) await the().deletePod("visitor", "red");
    else {
      const labels = {
        app: ["web", "db", "cache"][random.below(3)] ?? "",
        visitor: String(random.below(100)),
      };
      const node = random.below(2) === 0 ? "node1" : "node2";
      await the().pods({ name: "visitor", namespace: "red", node, labels });
    }
    visitor = !visitor;
  }

  /** Gives a pod other labels. @param begins called between what is known and what is told to the API. */
  async function relabel(random: Random, begins: () => void): Promise<void> {
    const pod = now.get(generated[random.below(generated.length)] ?? "");
    if (pod === undefined) return;
    const app = ["web", "db", "cache"][random.below(3)] ?? "";
    const tier = ["front", "back", undefined][random.below(3)];
    now.set(pod.name, { ...pod, labels: { app, ...(tier === undefined ? {} : { tier }) } });
    begins();
    const labels = { app, tier: tier ?? null };
    await the()
      .client.resource(resources.pods)
      .patch(pod.name, { metadata: { labels } }, { namespace: pod.namespace });
  }
});

/** Whether a server answers there: no probe speaks SCTP. */
function isServed([proto, port]: readonly [proto: number, port: number]): boolean {
  return proto === 1 || proto === 58 || serves.includes(port);
}

function podOf({ name: pod, namespace, node, labels, ports, serviceAccount }: Actor): PodRequest {
  return {
    name: pod,
    namespace,
    node,
    labels,
    serves,
    ports: ports.map((port) => ({
      name: port.name,
      containerPort: port.port,
      protocol: port.proto === 17 ? "UDP" : "TCP",
    })),
    ...(serviceAccount === undefined ? {} : { serviceAccount }),
  };
}

function groupObject({ name: of, labels, cidrs }: Objects["groups"][number]): RawPolicy {
  return {
    kind: "CiliumCIDRGroup",
    metadata: { name: of, labels },
    spec: { externalCIDRs: cidrs },
  } as RawPolicy;
}

/** Installs the definition of ClusterNetworkPolicy, as a cluster's administrator does. */
async function defineTiers(lab: TestLab): Promise<void> {
  const { group, version, plural, kind } = tierPolicyResources[0];
  const openAPIV3Schema = {
    type: "object",
    properties: { spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
  };
  await lab.apply({
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: "Cluster",
      names: { kind, plural },
      versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema } }],
    },
  } as KubeObject);
}
