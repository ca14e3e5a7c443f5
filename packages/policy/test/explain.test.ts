import { hostPrefix, parseIp } from "@axoneme/base";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readManifests } from "../src/explainlines.ts";
import { lostBecause, matchedFields, PolicySandbox, parsePolicy } from "../src/index.ts";
import { outsiders, pod, podArb, policyArb, probes } from "./generate.ts";
import type { Party } from "./oracle.ts";
import { World } from "./world.ts";

const text = `# the shop
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: red }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress:
    - from:
        - podSelector: { matchLabels: { app: cache } }
    - from:
        - podSelector: { matchLabels: { app: db } }
        - ipBlock: { cidr: 192.0.2.0/24 }
      ports:
        - { port: 80 }
        - { port: 443 }
        - { port: admin }
---
apiVersion: v1
kind: List
items:
  - apiVersion: cilium.io/v2
    kind: CiliumNetworkPolicy
    metadata: { name: no-443, namespace: red }
    spec:
      endpointSelector: {}
      ingress: [{ fromEntities: [cluster, world] }]
      ingressDeny:
        - fromCIDRSet: [{ cidr: 192.0.2.0/28 }]
          toPorts:
            - ports: [{ port: "443", protocol: TCP }, { port: "53", protocol: UDP }]
        - icmps: [{ fields: [{ type: 8 }, { type: 0 }] }]
`;
const manifests = readManifests("shop.yaml", text);
const [network, cilium] = manifests.objects;
const world = new World();
const db = { labels: world.labelsOf(pod("db-0", "red", { app: "db" })) };
const outside = { labels: { "reserved:world-ipv4": "" }, prefix: hostPrefix(parseIp("192.0.2.9")) };

describe("what of an entry matches", () => {
  it.each([
    [network, "spec.ingress[1]", { ...db, proto: 6, port: 443 }, ["from[0]", "ports[1]"]],
    [network, "spec.ingress[1]", { ...outside, proto: 6, port: 80 }, ["from[1]", "ports[0]"]],
    [
      network,
      "spec.ingress[1]",
      { ...db, proto: 6, port: 9999, ports: [{ name: "admin", proto: 6, port: 9999 }] },
      ["from[0]", "ports[2]"],
    ],
    [
      cilium,
      "spec.ingressDeny[0]",
      { ...outside, proto: 6, port: 443 },
      ["fromCIDRSet[0]", "toPorts[0].ports[0]"],
    ],
    [cilium, "spec.ingressDeny[1]", { ...outside, proto: 1, port: 0 }, ["icmps[0].fields[1]"]],
    [cilium, "spec.ingress[0]", { ...outside, proto: 17, port: 1 }, ["fromEntities[1]"]],
    [cilium, "spec", { ...outside, proto: 17, port: 1 }, []],
    [cilium, "spec.ingress[7]", { ...outside, proto: 17, port: 1 }, []],
  ])("is named by its path (%#)", (object, path, connection, fields) => {
    expect(matchedFields(object, path, connection)).toEqual(fields.map((field) => `${path}.${field}`));
  });

  it("is found for every rule that the engine says matches, whatever the policy", () => {
    const partyOf = (party: Party) => {
      if (party.kind === "pod") return { labels: world.labelsOf(party), ports: party.ports };
      if (party.kind !== "world") return undefined;
      const ip = parseIp(party.ip);
      const label = party.ip.includes(":") ? "reserved:world-ipv6" : "reserved:world-ipv4";
      return { labels: { [label]: "" }, prefix: hostPrefix(ip), ip: party.ip };
    };
    fc.assert(
      fc.property(
        policyArb,
        podArb,
        fc.constantFrom(...outsiders),
        fc.constantFrom(...probes),
        (raw, subject, peer, [proto, port]) => {
          const [own, other] = [partyOf(subject), partyOf(peer)];
          if (own === undefined || other === undefined) return;
          const sandbox = new PolicySandbox([raw]);
          const side = { labels: own.labels, isPod: true, namedPorts: subject.ports };
          const away = { labels: other.labels, isPod: false, ...("ip" in other && { ip: other.ip }) };
          const { ingress } = sandbox.judge({ source: away, destination: side, proto, port });
          for (const rule of [ingress?.rule, ...(ingress?.others ?? [])]) {
            if (rule === undefined || !/ress(Deny)?\[/.test(rule.path)) continue;
            const fields = matchedFields(raw, rule.path, { ...other, ports: subject.ports, proto, port });
            const entry = JSON.stringify(raw);
            const names = /"(toPorts|ports|icmps)":\[\{/.test(JSON.stringify(at(raw, rule.path)));
            if (names)
              expect(
                fields.filter((field) => /(ports|icmps)\[/i.test(field)),
                entry,
              ).not.toEqual([]);
            for (const field of fields) expect(at(raw, field), `${field} of ${entry}`).toBeDefined();
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

function at(object: unknown, path: string): unknown {
  return path
    .split(/[.[\]]+/)
    .filter((step) => step !== "")
    .reduce((value: unknown, step) => (value as Record<string, unknown> | undefined)?.[step], object);
}

describe("lines of a text", () => {
  const red = { namespace: "red" };
  it.each([
    [{ kind: "NetworkPolicy", name: "web", ...red }, "spec.ingress[1]", 10],
    [{ kind: "NetworkPolicy", name: "web", ...red }, "spec.ingress[1].ports[1]", 15],
    [{ kind: "CiliumNetworkPolicy", name: "no-443", ...red }, "spec.ingressDeny[0].toPorts[0].ports[1]", 30],
    [{ kind: "CiliumNetworkPolicy", name: "no-443", ...red }, "spec", 24],
    [{ kind: "CiliumNetworkPolicy", name: "no-443", namespace: "blue" }, "spec", undefined],
    [{ kind: "NetworkPolicy", name: "web", ...red }, "spec.egress[0]", undefined],
  ])("%o %s is on line %s", (object, path, line) => {
    expect(manifests.lineOf(object, path)).toBe(line);
  });

  it("what is no YAML is refused with its line", () => {
    expect(() => readManifests("bad.yaml", "a: [1\nb: 2")).toThrow(/line 2/);
  });
});

describe("why a rule does not decide", () => {
  const ruleOf = (raw: object) => new PolicySandbox([network, cilium, raw]);
  it("is said by tier, verdict and order", () => {
    const admin = {
      kind: "ClusterNetworkPolicy",
      metadata: { name: "admin" },
      spec: {
        tier: "Admin",
        priority: 1,
        subject: { namespaces: {} },
        ingress: [
          {
            action: "Pass",
            from: [{ namespaces: {} }],
            protocols: [{ tcp: { destinationPort: { number: 80 } } }],
          },
          {
            action: "Accept",
            from: [{ namespaces: {} }],
            protocols: [{ tcp: { destinationPort: { number: 443 } } }],
          },
        ],
      },
    };
    const web = { labels: world.labelsOf(pod("web-0", "red", { app: "web" })), isPod: true };
    const source = { ...db, isPod: true };
    const ask = (port: number) => {
      const { ingress } = ruleOf(admin).judge({ source, destination: web, proto: 6, port });
      return (ingress?.others ?? []).map(
        (other) => `${other.policy.name}: ${lostBecause(other, ingress?.rule)}`,
      );
    };
    expect(ask(80)).toEqual([
      "admin: it passes the decision on to the tiers below",
      expect.stringMatching(/: it says the same, no more closely$/),
    ]);
    expect(ask(443).sort()).toEqual(["no-443: its tier comes later", "web: its tier comes later"]);
    const far = { labels: outside.labels, isPod: false, ip: "192.0.2.9" };
    const { ingress } = ruleOf({}).judge({ source: far, destination: web, proto: 6, port: 443 });
    expect(ingress).toMatchObject({ verdict: "deny", rule: { policy: { name: "no-443" } } });
    expect(ingress?.others.map((other) => lostBecause(other, ingress.rule))).toEqual([
      "a denial beats an allowance",
      "a denial beats an allowance",
    ]);
    expect(parsePolicy(network)?.problems).toEqual([]);
  });
});
