/**
 * The truth table with real connections: what the simple evaluator says of each pair of places is what TCP, UDP and ping
 * find, over IPv4 and IPv6. Policies known by name, and generated ones.
 */
import { type KubeObject, tierPolicyResources } from "@axoneme/kube";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  type Case,
  cases,
  cast,
  castNamespaces,
  castWorld,
  usualPorts,
} from "../packages/policy/test/cases.ts";
import type { RawPolicy } from "../packages/policy/test/generate.ts";
import type { Objects, Pod } from "../packages/policy/test/oracle.ts";
import { labName, TestLab } from "./support/lab.ts";
import {
  type Corner,
  cellsBetween,
  compare,
  InForce,
  isAllowed,
  nodeCorner,
  podCorner,
  worldCorner,
} from "./support/truth.ts";
import { ownByWorld, routeFromWorld } from "./support/wire.ts";

const name = labName("it-truth");
const serves = [80, 5978, 6379, 8080, 32000, 32768];
const noObjects: Objects = { groups: [], services: [], auditedNamespaces: [] };

describe("policies and real connections", () => {
  let lab: TestLab | undefined;
  let force: InForce;
  const pods = new Map<string, Corner>();
  const others: Corner[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode: "native" });
    force = new InForce(lab);
    await defineTiers(lab);
    for (const [namespace, labels] of Object.entries(castNamespaces)) await lab.namespace(namespace, labels);
    const places = await lab.pods(
      ...cast.map(({ name: pod, namespace, node, labels, ports, serviceAccount }) => ({
        name: pod,
        namespace,
        node,
        labels,
        serves,
        ports: ports.map((port) => ({ name: port.name, containerPort: port.port })),
        ...(serviceAccount === undefined ? {} : { serviceAccount }),
      })),
    );
    for (const place of places) {
      const pod = cast.find((one) => one.name === place.name) as Pod;
      pods.set(
        place.name,
        podCorner(place, () => pod),
      );
      for (const address of [place.v4, place.v6]) await routeFromWorld(lab, address, place.node);
    }
    for (const ip of castWorld) await ownByWorld(lab, ip);
    others.push(nodeCorner(lab.node("node1")), nodeCorner(lab.node("node2")));
    others.push(...castWorld.map((ip) => worldCorner(the().world, ip)));
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
    const corners = who.flatMap((pod) => pods.get(pod) ?? []);
    const asked = ports.filter(([, port]) => serves.includes(port) || port === 8 || port === 128);
    const cells = cellsBetween(corners, others, asked);
    const wanted = cells.map((cell) => isAllowed(policies, cell, { ...noObjects, groups }));
    const { open } = await compare(the(), cells, wanted);
    expect(open).toBeGreaterThan(0);
  }

  it.each(cases.map((one) => [one.name, one] as const))("%s", async (_name, one) => {
    await check(one);
  });
});

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
