/**
 * The maps against the simple evaluator: generated policies become rows of real kernel maps, and the datapath's own code
 * judges every cell of the matrix, of both families. Then the same after every single write of every change.
 */
import { formatIp, hostPrefix, type Ip, parseIp } from "@axoneme/base";
import { reserved } from "@axoneme/identity";
import type { CidrMatch } from "@axoneme/policy";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Action, act, action } from "../../packages/policy/test/actions.ts";
import { cases, cast, castWorld, usualPorts } from "../../packages/policy/test/cases.ts";
import {
  groupArb,
  outsiders,
  pod,
  podArb,
  policyArb,
  probes,
  type RawPolicy,
  serviceArb,
} from "../../packages/policy/test/generate.ts";
import { type Party, type Pod, verdict } from "../../packages/policy/test/oracle.ts";
import { addressesOf, keyOf, World } from "../../packages/policy/test/world.ts";
import { KernelMaps, type Question } from "./matrix.ts";

/** A multiple of what every run of the tests does: see docs/development.md. */
const effort = Number(process.env["AXON_POLICY_RUNS"] ?? 150) / 150;

function ipsOf(party: Party): readonly Ip[] {
  if (party.kind === "pod") return addressesOf(party);
  return party.ip === undefined ? [] : [parseIp(party.ip)];
}

/** Of the reserved identity that stands for a party that is neither a pod nor the world. */
function identityOf(kind: Party["kind"]): number {
  if (kind === "remote-node") return reserved.remoteNode;
  if (kind === "apiserver") return reserved.kubeApiserver;
  return kind === "pod" || kind === "world" ? 0 : reserved[kind];
}

interface Cell extends Question {
  readonly pod: Pod;
  readonly party: Party;
}

interface Asked {
  readonly withSelf?: boolean;
  readonly others?: readonly Party[];
  readonly ports?: readonly (readonly [proto: number, port: number])[];
}

function cellsOf(
  pods: readonly Pod[],
  { withSelf = true, others = outsiders, ports = probes }: Asked = {},
): Cell[] {
  const cells: Cell[] = [];
  for (const pod of pods) {
    for (const party of [...pods, ...others]) {
      if (!withSelf && party === pod) continue;
      for (const peer of ipsOf(party)) {
        const subject = addressesOf(pod)[peer.subarray(0, 10).every((byte) => byte === 0) ? 0 : 1];
        for (const ingress of [true, false])
          for (const [proto, port] of ports) cells.push({ pod, party, subject, peer, ingress, proto, port });
      }
    }
  }
  return cells;
}

function textOf({ subject, peer, party, ingress, proto, port }: Cell): string {
  const ways = ingress ? "into" : "out of";
  return `${ways} ${formatIp(subject)}, peer ${formatIp(peer)} (${party.kind}), ${proto}/${port}`;
}

/** What the simple evaluator says, now that the world is as it is. */
function expected(world: World, cells: readonly Cell[]): string[] {
  const policies = [...world.policies.values()];
  const now = (party: Party): Party =>
    party.kind === "pod" ? (world.pods.get(party.name)?.pod ?? party) : party;
  return cells.map(({ pod, party, peer, ingress, proto, port }) => {
    const other = { ...now(party), ip: formatIp(peer) };
    return verdict(policies, now(pod) as Pod, other, ingress, proto, port, world.objects());
  });
}

let kernel: KernelMaps;

beforeAll(() => {
  kernel = new KernelMaps("axtruth");
});
afterAll(() => kernel.close());

function newWorld(cidrMatch: CidrMatch = "address"): World {
  kernel.clear(cidrMatch);
  for (const party of outsiders)
    if (party.kind !== "world")
      for (const ip of ipsOf(party)) kernel.identify(hostPrefix(ip), identityOf(party.kind));
  const world = new World({ cidrMatch });
  kernel.follow(world);
  return world;
}

const unique = <T>(items: readonly T[], key: (item: T) => string) => [
  ...new Map(items.map((item) => [key(item), item])).values(),
];

describe("policies known by name", () => {
  const others = [...outsiders, ...castWorld.map((ip): Party => ({ kind: "world", ip }))];

  it.each(cases.map((one) => [one.name, one] as const))("%s", (_name, one) => {
    const world = newWorld();
    for (const group of one.groups ?? []) world.setGroup(group);
    for (const each of cast) world.setPod(each);
    for (const policy of one.policies) world.setPolicy(policy);
    const pods = cast.filter(({ name }) => one.cast.includes(name));
    const cells = cellsOf(pods, { others, ports: one.ports ?? usualPorts });
    kernel.ask(cells);
    const wanted = expected(world, cells);
    const is = kernel.judge();
    expect(cells.map((cell, i) => [textOf(cell), is[i]])).toEqual(
      cells.map((cell, i) => [textOf(cell), wanted[i]]),
    );
  });
});

describe("the rows in the kernel", () => {
  it("say what the simple evaluator says, for every cell of the matrix", () => {
    fc.assert(
      fc.property(
        fc.array(policyArb, { minLength: 1, maxLength: 5 }),
        fc.array(podArb, { minLength: 1, maxLength: 4 }),
        fc.array(groupArb, { maxLength: 2 }),
        fc.array(serviceArb, { maxLength: 3 }),
        fc.subarray(["red", "blue"]),
        fc.constantFrom("address", "address", "nodes", "identity"),
        (policies, pods, groups, services, audited, match) => {
          const world = newWorld(match);
          for (const namespace of audited) world.auditNamespace(namespace, true, false);
          for (const group of groups) world.setGroup(group, false);
          for (const service of services) world.setService(service, false);
          for (const one of unique(pods, (pod) => pod.name)) world.setPod(one, false);
          for (const raw of unique(policies as RawPolicy[], keyOf)) world.setPolicy(raw, false);
          world.commit();
          const cells = cellsOf([...world.pods.values()].map(({ pod }) => pod));
          kernel.ask(cells);
          const wanted = expected(world, cells);
          kernel.judge().forEach((is, i) => {
            const cell = cells[i];
            if (is !== wanted[i] && cell) expect([textOf(cell), is]).toEqual([textOf(cell), wanted[i]]);
          });
        },
      ),
      { numRuns: Math.ceil(60 * effort) },
    );
  }, 600_000);

  it("are after each single write of a change as open as both states, where these agree", () => {
    let writes = 0;
    fc.assert(
      fc.property(
        fc.array(podArb, { minLength: 2, maxLength: 3 }),
        fc.array(policyArb, { minLength: 1, maxLength: 4 }),
        fc.array(action, { minLength: 1, maxLength: 4 }),
        (pods, policies, steps) => {
          const world = newWorld();
          for (const one of unique(pods, (pod) => pod.name)) world.setPod(one, false);
          for (const raw of policies as RawPolicy[]) world.setPolicy(raw, false);
          world.commit();
          for (const step of steps) writes += watched(world, step);
        },
      ),
      { numRuns: Math.ceil(30 * effort) },
    );
    expect(writes).toBeGreaterThan(100);
  }, 600_000);
});

describe("changes of several policies at once", () => {
  const inRed = (name: string, spec: object): RawPolicy => ({
    kind: "NetworkPolicy",
    metadata: { name, namespace: "red" },
    spec: { podSelector: {}, policyTypes: ["Ingress"], ...spec },
  });

  it("a namespace goes on trial and comes back as a whole: what one of its policies allows is never dropped", () => {
    const world = newWorld();
    for (const name of ["p1", "p2"]) world.setPod(pod(name, "red", { app: "web" }));
    world.setPolicy(inRed("allow", { ingress: [{ from: [{ podSelector: {} }] }] }));
    world.setPolicy(inRed("deny", {}));
    expect(watched(world, { kind: "audit", namespace: "red", on: true })).toBeGreaterThan(0);
    expect(watched(world, { kind: "audit", namespace: "red", on: false })).toBeGreaterThan(0);
  });
});

/** Does one change, and asks everything after each of its writes. Returns how many there were. */
function watched(world: World, step: Action): number {
  const stays = (pod: Pod) => !(step.kind === "unpod" && step.pod.name === pod.name);
  const pods = [...world.pods.values()].map(({ pod }) => pod).filter(stays);
  const cells = cellsOf(pods, { withSelf: false });
  const before = expected(world, cells);
  const moments: ("allow" | "deny" | "audit")[][] = [];
  kernel.ask(cells);
  world.onWrite = (write) => {
    kernel.write(write);
    moments.push(kernel.judge());
  };
  act(world, step);
  kernel.follow(world);
  const after = expected(world, cells);
  const isOpen = (word: string | undefined) => word !== "deny";
  const settled = moments.at(-1) ?? [];
  cells.forEach((cell, i) => {
    const [was, is] = [isOpen(before[i]), isOpen(after[i])];
    if (moments.length > 0) expect([textOf(cell), settled[i]]).toEqual([textOf(cell), after[i]]);
    if (was !== is) return;
    moments.forEach((moment, at) => {
      if (isOpen(moment[i]) === is) return;
      expect(`${textOf(cell)} at write ${at + 1}: ${moment[i]}`).toBe(`${before[i]}, then ${after[i]}`);
    });
  });
  return moments.length;
}
