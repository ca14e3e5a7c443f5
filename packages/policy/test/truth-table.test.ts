import { formatIp } from "@axoneme/base";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Verdict } from "../src/index.ts";
import { type Action, act, action, tierAction } from "./actions.ts";
import { cases, cast, castWorld, usualPorts } from "./cases.ts";
import {
  groupArb,
  outsiders,
  pod,
  podArb,
  policyArb,
  probes,
  type RawPolicy,
  serviceArb,
} from "./generate.ts";
import { type Mode, type Party, type Pod, verdict } from "./oracle.ts";
import { addressesOf, keyOf, parse, World } from "./world.ts";

interface Cell {
  pod: Pod;
  peer: Party;
  ingress: boolean;
  proto: number;
  port: number;
}

function* cells(world: World, peers = outsiders, ports = probes): Generator<Cell> {
  const pods = [...world.pods.values()].map(({ pod }) => pod);
  const others = pods.flatMap((pod) => addressesOf(pod).map((ip) => ({ ...pod, ip: formatIp(ip) })));
  for (const pod of pods) {
    for (const peer of [...others, ...peers]) {
      for (const ingress of [true, false]) {
        for (const [proto, port] of ports) yield { pod, peer, ingress, proto, port };
      }
    }
  }
}

const words = ["allow", "deny", "deny", "audit"] as const;

function says(world: World, { pod, peer, ingress, proto, port }: Cell): string {
  return words[world.decide(pod, peer, ingress, proto, port).verdict];
}

function open(world: World, { pod, peer, ingress, proto, port }: Cell): boolean {
  return world.decide(pod, peer, ingress, proto, port).verdict % Verdict.AUDIT === Verdict.ALLOW;
}

const text = ({ pod, peer, ingress, proto, port }: Cell) =>
  `${ingress ? "into" : "out of"} ${pod.name}, peer ${JSON.stringify(peer)}, ${proto}/${port}`;

/** With it everybody's rows are layered, and stay the same policy whatever else applies. */
const baseline: Action = {
  kind: "policy",
  raw: {
    kind: "ClusterNetworkPolicy",
    metadata: { name: "all" },
    spec: { tier: "Baseline", priority: 9, subject: { namespaces: {} } },
  },
};
const crowd: Action[] = [
  pod("p1", "red", { app: "web" }),
  pod("p2", "blue", { app: "db", tier: "back" }),
].map((one) => ({ kind: "pod", pod: one }));
/** Where rows of tiers meet, without asking everywhere. */
const few = {
  peers: outsiders.filter(
    (peer) => peer.kind === "apiserver" || (peer.kind === "world" && peer.ip === "10.1.2.3"),
  ),
  ports: probes.filter(([proto, port]) => port === 80 || port === 81 || proto === 1),
};

const unique = <T>(items: T[], key: (item: T) => string) => [
  ...new Map(items.map((i) => [key(i), i])).values(),
];
const runs = Number(process.env["AXON_POLICY_RUNS"] ?? 150);

describe("policies known by name", () => {
  const world = castWorld.map((ip): Party => ({ kind: "world", ip }));

  it.each(cases.map((one) => [one.name, one] as const))("%s", (_name, { policies, groups = [], ports }) => {
    const is = new World();
    for (const group of groups) is.setGroup(group);
    for (const one of cast) is.setPod(one);
    for (const policy of policies) is.setPolicy(policy);
    expect(policies.flatMap((policy) => parse(policy).problems)).toEqual([]);
    const asked = [...(ports ?? usualPorts)];
    for (const cell of cells(is, [...outsiders, ...world], asked)) {
      const { pod: subject, peer, ingress, proto, port } = cell;
      const want = verdict([...policies], subject, peer, ingress, proto, port, is.objects());
      const said = says(is, cell);
      if (said !== want) expect([text(cell), said]).toEqual([text(cell), want]);
    }
  });
});

describe("the rows", () => {
  it("say what the simple evaluator says, for every cell of the matrix", () => {
    fc.assert(
      fc.property(
        fc.array(policyArb, { minLength: 1, maxLength: 5 }),
        fc.array(podArb, { minLength: 1, maxLength: 4 }),
        fc.array(groupArb, { maxLength: 2 }),
        fc.array(serviceArb, { maxLength: 3 }),
        fc.subarray(["red", "blue"]),
        fc.constantFrom<Mode[]>("default", "default", "default", "default", "always", "never"),
        fc.constantFrom("address", "address", "nodes", "identity"),
        (policies, pods, groups, services, audited, mode, cidrMatch) => {
          const world = new World({ enforcement: mode, cidrMatch });
          for (const namespace of audited) world.auditNamespace(namespace, true, false);
          for (const group of groups) world.setGroup(group, false);
          for (const service of services) world.setService(service, false);
          for (const pod of unique(pods, (p) => p.name)) world.setPod(pod, false);
          for (const raw of unique(policies as RawPolicy[], keyOf)) world.setPolicy(raw, false);
          world.commit();
          for (const cell of cells(world)) {
            const want = verdict(
              [...world.policies.values()],
              cell.pod,
              cell.peer,
              cell.ingress,
              cell.proto,
              cell.port,
              world.objects(),
              mode,
            );
            const is = says(world, cell);
            if (is !== want) expect([text(cell), is]).toEqual([text(cell), want]);
          }
        },
      ),
      { numRuns: runs },
    );
  }, 900_000);

  it("are the same after any history as when compiled from scratch, and nothing else is in the maps", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(action, fc.boolean()), { maxLength: 14 }), (steps) => {
        const world = new World();
        for (const [step, commit] of steps) act(world, step, commit);
        world.commit();
        const fresh = new World();
        for (const namespace of world.auditedNamespaces) fresh.auditNamespace(namespace, true, false);
        for (const { pod } of world.pods.values()) fresh.setPod(pod, false);
        for (const raw of world.policies.values()) fresh.setPolicy(raw, false);
        for (const group of world.groups.values()) fresh.setGroup(group, false);
        for (const service of world.services.values()) fresh.setService(service, false);
        fresh.commit();
        expect(world.dump()).toEqual(fresh.dump());
        expect(world.maps.rowCount).toBe(fresh.maps.rowCount);
        expect(world.maps.headCount).toBe(fresh.maps.headCount);
        expect([...world.engine.allRows()].length).toBe(world.maps.rowCount);
        for (const { key, row } of world.engine.allRows()) expect(world.maps.row(key)).toEqual(row);
      }),
      { numRuns: runs },
    );
  }, 900_000);

  it.each([
    { what: "deny beats allow", arb: action, start: [], most: 8, share: 3, peers: outsiders, ports: probes },
    { what: "tiers", arb: tierAction, start: [baseline, ...crowd], most: 3, share: 2, ...few },
  ])(
    "are on their way never more open than both states, and never drop what both allow: $what",
    ({ arb, start, most, share, peers, ports }) => {
      fc.assert(
        fc.property(fc.array(arb, { maxLength: most }), (steps) => {
          const world = new World();
          for (const step of start) act(world, step);
          let before: Map<string, [Cell, boolean]> = new Map();
          let moments: boolean[][] = [];
          const snapshot = () =>
            new Map(
              [...cells(world, peers, ports)].map((cell) => [
                text(cell),
                [cell, open(world, cell)] as [Cell, boolean],
              ]),
            );
          world.onCommit = {
            before: () => {
              before = snapshot();
              moments = [];
            },
            after: () => {
              const after = snapshot();
              let i = 0;
              for (const [name, [, was]] of before) {
                const is = after.get(name)?.[1];
                for (const moment of moments) {
                  if (was === is && moment[i] !== was) expect([name, moment[i]]).toEqual([name, was]);
                }
                i++;
              }
            },
          };
          world.onChange = () => void moments.push([...before.values()].map(([cell]) => open(world, cell)));
          for (const step of steps) act(world, step);
        }),
        { numRuns: Math.ceil(runs / share) },
      );
    },
    900_000,
  );
});
