import { parsePrefix } from "@axoneme/base";
import { isLocalIdentity, reserved } from "@axoneme/identity";
import { describe, expect, it } from "vitest";
import {
  Direction,
  hostLabels,
  isHostPolicy,
  PolicyEngine,
  type PolicyEngineOptions,
  parseCiliumPolicy,
  Verdict,
} from "../src/index.ts";

/** Policies about the node itself, in the engine. */

const HOST = 65_535;
const TCP = 6;

const ccnp = (name: string, spec: object, metadata: object = {}) =>
  parseCiliumPolicy({
    kind: "CiliumClusterwideNetworkPolicy",
    metadata: { name, ...metadata },
    spec,
  });

function node(labels: Record<string, string> = {}, options: PolicyEngineOptions = {}): PolicyEngine {
  const engine = new PolicyEngine(options);
  engine.upsertEndpoint({ id: HOST, identity: reserved.host, labels: hostLabels(labels, false) });
  engine.addIdentity(400, {
    "k8s:app": "web",
    "k8s:io.cilium.k8s.policy.cluster": "default",
    "k8s:io.kubernetes.pod.namespace": "a",
  });
  engine.upsertEndpoint({
    id: 1,
    identity: 400,
    labels: { "k8s:app": "web", "k8s:io.kubernetes.pod.namespace": "a" },
  });
  engine.commit();
  return engine;
}

/** A peer whose address is in the one prefix with a number, when it has that number for an identity. */
function verdict(engine: PolicyEngine, direction: Direction, identity: number, port: number) {
  const policyId = engine.policyIdOf(HOST);
  const cidr = isLocalIdentity(identity) ? identity : 0;
  return engine.decide({ policyId, direction, identity, cidr, proto: TCP, port }).verdict;
}

const ssh = { fromEntities: ["world"], toPorts: [{ ports: [{ port: "22", protocol: "TCP" }] }] };

describe("host policies", () => {
  it("select nodes by their labels, and only nodes", () => {
    const engine = node({ role: "db" });
    engine.upsertPolicy(ccnp("db", { nodeSelector: { matchLabels: { role: "db" } }, ingress: [ssh] }));
    engine.upsertPolicy(ccnp("web", { nodeSelector: { matchLabels: { role: "web" } }, egress: [{}] }));
    engine.commit();
    expect(engine.policyIdOf(HOST)).not.toBe(0);
    expect(engine.policyIdOf(1)).toBe(0);
    expect(engine.endpointsOf({ kind: "CiliumClusterwideNetworkPolicy", name: "db" })).toEqual([HOST]);
    expect(engine.enforcementOf(engine.policyIdOf(HOST))).toEqual({ ingress: true, egress: false });
    engine.upsertEndpoint({ id: HOST, identity: reserved.host, labels: hostLabels({ role: "none" }, false) });
    engine.commit();
    expect(engine.policyIdOf(HOST)).toBe(0);
  });

  it("pods' policies say nothing of the host, whatever labels a node has", () => {
    const engine = node({
      "io.kubernetes.pod.namespace": "a",
      "io.cilium.k8s.policy.cluster": "default",
      app: "web",
    });
    engine.upsertPolicy(ccnp("all", { endpointSelector: {}, ingress: [{}] }));
    engine.upsertPolicy(
      ccnp("host", { endpointSelector: { matchLabels: { "reserved:host": "" } }, ingress: [{}] }),
    );
    engine.upsertPolicy(
      parseCiliumPolicy({
        kind: "CiliumNetworkPolicy",
        metadata: { name: "ns", namespace: "a" },
        spec: { endpointSelector: {}, ingress: [{}] },
      }),
    );
    engine.commit();
    expect(engine.policyIdOf(HOST)).toBe(0);
    expect(engine.policyIdOf(1)).not.toBe(0);
  });

  it("allow and deny by entity, pod, CIDR and port, and not the host by itself", () => {
    const engine = node();
    const prefix = parsePrefix("192.0.2.0/24");
    engine.addIdentity(0x0100_0001, { "cidr:192.0.2.0/24": "", "reserved:world-ipv4": "" });
    engine.addPrefix(prefix, 0x0100_0001);
    engine.upsertPolicy(
      ccnp("h", {
        nodeSelector: {},
        ingress: [
          ssh,
          { fromEndpoints: [{ matchLabels: { app: "web" } }] },
          { fromEntities: ["remote-node"] },
        ],
        ingressDeny: [{ fromCIDR: ["192.0.2.0/24"] }],
      }),
    );
    engine.commit();
    const { ALLOW, DENY, DEFAULT_DENY } = Verdict;
    const asked: [identity: number, port: number, verdict: number][] = [
      [reserved.worldIpv4, 22, ALLOW],
      [reserved.worldIpv4, 23, DEFAULT_DENY],
      [0x0100_0001, 22, DENY],
      [400, 9999, ALLOW],
      [reserved.remoteNode, 1, ALLOW],
      [reserved.kubeApiserver, 1, ALLOW],
      [reserved.host, 1, DEFAULT_DENY],
    ];
    for (const [identity, port, wanted] of asked)
      expect([identity, port, verdict(engine, Direction.INGRESS, identity, port)]).toEqual([
        identity,
        port,
        wanted,
      ]);
    expect(verdict(engine, Direction.EGRESS, reserved.worldIpv4, 80)).toBe(ALLOW);
  });

  it("the modes of enforcement: always leaves a node without host policies alone, never switches them off", () => {
    const always = node({}, { enforcement: "always" });
    expect(always.policyIdOf(HOST)).toBe(0);
    expect(always.policyIdOf(1)).not.toBe(0);
    always.upsertPolicy(ccnp("h", { nodeSelector: {}, ingress: [ssh] }));
    always.commit();
    expect(always.enforcementOf(always.policyIdOf(HOST))).toEqual({ ingress: true, egress: false });
    const never = node({}, { enforcement: "never" });
    never.upsertPolicy(ccnp("h", { nodeSelector: {}, ingress: [ssh] }));
    never.commit();
    expect(never.policyIdOf(HOST)).toBe(0);
  });

  it("one on trial only reports", () => {
    const engine = node();
    const trial = { annotations: { "policy.axoneme.io/audit": "true" } };
    engine.upsertPolicy(ccnp("h", { nodeSelector: {}, ingress: [ssh] }, trial));
    engine.commit();
    expect(verdict(engine, Direction.INGRESS, reserved.worldIpv4, 23)).toBe(Verdict.AUDIT);
  });

  it("DNS rules select nothing there, and say so", () => {
    const policy = ccnp("h", {
      nodeSelector: {},
      egress: [
        {
          toEntities: ["world"],
          toPorts: [
            { ports: [{ port: "53", protocol: "UDP" }], rules: { dns: [{ matchName: "a.example" }] } },
          ],
        },
      ],
    });
    expect(isHostPolicy(policy)).toBe(true);
    expect(policy.problems).toMatchObject([{ severity: "unsupported" }]);
    const engine = node();
    engine.upsertPolicy(policy);
    engine.commit();
    expect(verdict(engine, Direction.EGRESS, reserved.worldIpv4, 53)).toBe(Verdict.DEFAULT_DENY);
  });
});
