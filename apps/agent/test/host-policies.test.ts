import type { KubeObject } from "@axoneme/kube";
import { parseCiliumPolicy, policyKey } from "@axoneme/policy";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { confirmedAnnotation, HostPolicies, type HostPolicy } from "../src/host/host-policies.ts";
import type { Lifeline } from "../src/host/lifelines.ts";
import { emptyRecord, type HostRecord } from "../src/host/record.ts";
import { quiet } from "./logger.ts";

/** Changes of host policies that would lock the node out: on trial, taken back, confirmed, and over restarts. */

const kind = "CiliumClusterwideNetworkPolicy";
/** A policy about nodes that denies ports; its name, and which. */
function object(
  name: string,
  denied: readonly number[],
  annotations: Record<string, string> = {},
): KubeObject {
  const toPorts = [{ ports: denied.map((port) => ({ port: String(port), protocol: "TCP" })) }];
  return {
    apiVersion: "cilium.io/v2",
    kind,
    metadata: { name, annotations },
    spec: { nodeSelector: {}, ingressDeny: [{ fromEntities: ["all"], toPorts }] },
  } as KubeObject;
}
const parse = (one: KubeObject) => parseCiliumPolicy({ ...one, kind });
const keyOf = (name: string) => `${kind}//${name}`;

/** A node, the agents that live on it, and what the API server says. */
class Node {
  readonly api = new Map<string, HostPolicy>();
  record: HostRecord = emptyRecord;
  /** In force: policy -> denied ports. */
  readonly force = new Map<string, number[]>();
  readonly told: string[] = [];
  proven = new Set<string>();
  lines = ["22", "6443"];
  labels: Readonly<Record<string, string>> = {};
  selects: (labels: Readonly<Record<string, string>>) => boolean = () => true;
  /** Policies without which nothing is allowed. */
  needs: string[] = [];
  agent = this.start();

  start(): HostPolicies {
    this.force.clear();
    this.agent = new HostPolicies({
      wanted: (key) => this.api.get(key),
      parse,
      enforce: ({ ref, specs }) => {
        const ports = specs.flatMap(({ rules }) => rules.flatMap(({ l4 }) => l4.map(({ port }) => port)));
        this.force.set(ref.name, ports);
      },
      withdraw: ({ name }) => void this.force.delete(name),
      setLabels: (labels) => {
        this.labels = labels;
      },
      lifelines: () => this.lines.map((port) => this.#line(port)),
      tell: (policies, state, message) => {
        this.told.push(`${policies.map(({ policy }) => policy.ref.name).join()} ${state ?? "-"} ${message}`);
      },
      record: {
        read: () => this.record,
        write: (record) => {
          this.record = JSON.parse(JSON.stringify(record)) as HostRecord;
        },
      },
      trialMs: 10_000,
      log: quiet,
    });
    return this.agent;
  }

  #line(port: string): Lifeline {
    return {
      what: `port ${port}`,
      isAllowed: () => {
        const denied = this.selects(this.labels) ? [...this.force.values()].flat() : [];
        return !denied.includes(Number(port)) && this.needs.every((name) => this.force.has(name));
      },
      isProven: () => Promise.resolve(this.proven.has(port)),
    };
  }

  label(labels: Record<string, string>): void {
    this.agent.labelsChanged(labels);
  }

  put(one: KubeObject): void {
    const policy = parse(one);
    this.api.set(policyKey(policy.ref), { policy, object: one });
    this.agent.changed(policyKey(policy.ref));
  }

  remove(name: string): void {
    this.api.delete(keyOf(name));
    this.agent.changed(keyOf(name));
  }

  restart(): void {
    this.agent.stop();
    this.start();
    for (const key of this.api.keys()) this.agent.changed(key);
    this.agent.open(() => undefined);
  }
}

let node: Node;
beforeEach(() => {
  vi.useFakeTimers();
  node = new Node();
  node.agent.open(() => undefined);
});
afterEach(() => {
  node.agent.stop();
  vi.useRealTimers();
});
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("host policies", () => {
  it("that cut nothing off are in force at once", () => {
    node.put(object("web", [80]));
    expect([...node.force]).toEqual([["web", [80]]]);
    expect([node.told, node.agent.messageOf(keyOf("web"))]).toEqual([[], undefined]);
    node.remove("web");
    expect([...node.force]).toEqual([]);
  });

  it("that cut off a lifeline are in force on trial, and taken back when nobody confirms", async () => {
    node.put(object("ok", [80]));
    node.put(object("bad", [22]));
    expect(node.force.get("bad")).toEqual([22]);
    expect(node.told[0]).toMatch(/^bad OnTrial cuts off port 22; taken back at /);
    expect(node.agent.messageOf(keyOf("bad"))).toMatch(/^on trial until .* would cut off port 22/);
    await pass(8000);
    expect(node.force.get("bad")).toEqual([22]);
    await pass(4000);
    expect([...node.force]).toEqual([["ok", [80]]]);
    expect(node.told[1]).toBe("bad Reverted not in force on this node: it was about to cut off port 22");
    expect(node.agent.messageOf(keyOf("bad"))).toMatch(/^taken back on this node/);
    expect(node.agent.messageOf(keyOf("ok"))).toBeUndefined();
  });

  it("are not tried again as they are, but as something else, or without it", async () => {
    node.put(object("bad", [22]));
    await pass(12_000);
    node.put(object("bad", [22]));
    expect([...node.force]).toEqual([]);
    node.put(object("bad", [80]));
    expect([...node.force]).toEqual([["bad", [80]]]);
    expect(node.told.at(-1)).toBe("bad - ");
    node.put(object("bad", [22]));
    await pass(12_000);
    expect([...node.force]).toEqual([["bad", [80]]]);
    node.remove("bad");
    expect([[...node.force], node.agent.messageOf(keyOf("bad"))]).toEqual([[], undefined]);
  });

  it("stay when confirmed, on trial or taken back; other names confirm nothing", async () => {
    node.put(object("bad", [22]));
    expect(node.agent.confirm("other")).toEqual([]);
    expect(node.agent.confirm("bad")).toEqual(["bad"]);
    await pass(20_000);
    expect([...node.force]).toEqual([["bad", [22]]]);
    node.put(object("worse", [6443]));
    await pass(12_000);
    expect([...node.force.keys()]).toEqual(["bad"]);
    expect(node.agent.confirm("worse")).toEqual(["worse"]);
    expect([...node.force.keys()].sort()).toEqual(["bad", "worse"]);
    expect(node.agent.confirm("worse")).toEqual([]);
  });

  it("stay when all they should cut off is seen to work", async () => {
    node.put(object("bad", [22, 6443]));
    node.proven.add("22");
    await pass(6000);
    expect(node.agent.messageOf(keyOf("bad"))).toMatch(/^on trial/);
    node.proven = new Set(["6443"]);
    await pass(2000);
    expect(node.told.at(-1)).toMatch(/^bad Confirmed/);
    await pass(20_000);
    expect(node.force.get("bad")).toEqual([22, 6443]);
  });

  it("need no trial with the annotation that somebody knows", () => {
    node.put(object("bad", [22], { [confirmedAnnotation]: "true" }));
    expect([node.told, node.agent.messageOf(keyOf("bad")), node.force.get("bad")]).toEqual([
      [],
      undefined,
      [22],
    ]);
  });

  it("a label that brings the node under a policy is a change like any other, unless all policies are confirmed", async () => {
    const selecting = (annotations: Record<string, string>) => {
      const one = object("bad", [22], annotations) as KubeObject & { spec: object };
      return { ...one, spec: { ...one.spec, nodeSelector: { matchLabels: { role: "x" } } } } as KubeObject;
    };
    node.selects = (labels) => labels["role"] === "x";
    node.put(selecting({}));
    expect(node.told).toEqual([]);
    node.label({ role: "x" });
    expect(node.agent.messageOf(keyOf("bad"))).toMatch(/^on trial/);
    expect(node.told[0]).toMatch(/^bad OnTrial cuts off port 22/);
    await pass(12_000);
    expect(node.labels).toEqual({});
    expect(node.agent.messageOf(keyOf("bad"))).toMatch(/^taken back/);
    expect(node.agent.confirm("bad")).toEqual(["bad"]);
    expect(node.labels).toEqual({ role: "x" });
    node.label({});
    node.label({ role: "x" });
    await pass(12_000);
    expect(node.labels).toEqual({});
    node.put(selecting({ [confirmedAnnotation]: "true" }));
    expect(node.labels).toEqual({ role: "x" });
  });

  it("the annotation also lets in what was taken back", async () => {
    node.put(object("bad", [22]));
    await pass(12_000);
    node.put(object("bad", [22], { [confirmedAnnotation]: "true" }));
    expect([node.force.get("bad"), node.agent.messageOf(keyOf("bad"))]).toEqual([[22], undefined]);
  });

  it("further changes during a trial do not prolong it, and end it when they mend it", async () => {
    node.put(object("bad", [22]));
    await pass(8000);
    node.put(object("more", [80]));
    await pass(4000);
    expect([...node.force]).toEqual([]);
    node.put(object("bad", [443]));
    expect([...node.force.keys()].sort()).toEqual(["bad", "more"]);
    node.put(object("bad", [22]));
    node.put(object("bad", [443]));
    await pass(20_000);
    expect([...node.force.keys()].sort()).toEqual(["bad", "more"]);
    expect(node.agent.messageOf(keyOf("bad"))).toBeUndefined();
  });

  it("what was already cut off is nobody's loss", () => {
    node.put(object("bad", [22], { [confirmedAnnotation]: "true" }));
    node.put(object("same", [22]));
    expect(node.agent.messageOf(keyOf("same"))).toBeUndefined();
    node.lines = ["22", "443"];
    node.put(object("next", [443]));
    expect(node.agent.messageOf(keyOf("next"))).toMatch(/would cut off port 443:/);
  });
});

describe("over restarts", () => {
  it("what is in force stays so, without a trial", async () => {
    node.put(object("bad", [22]));
    node.agent.confirm("bad");
    node.restart();
    await pass(20_000);
    expect([node.force.get("bad"), node.agent.messageOf(keyOf("bad"))]).toEqual([[22], undefined]);
  });

  it("what was on trial is taken back, and may still be confirmed", () => {
    node.put(object("ok", [80]));
    node.put(object("bad", [22]));
    expect(node.record.unsettled).toBe(true);
    node.restart();
    expect([[...node.force], node.record.unsettled]).toEqual([[["ok", [80]]], false]);
    expect(node.told.at(-1)).toMatch(/^bad Reverted .* it was on trial when the agent ended/);
    expect(node.agent.confirm("bad")).toEqual(["bad"]);
    expect(node.force.get("bad")).toEqual([22]);
  });

  it("what was taken back stays so; what changed meanwhile is judged", async () => {
    node.put(object("bad", [22]));
    await pass(12_000);
    node.restart();
    expect([...node.force]).toEqual([]);
    node.agent.stop();
    const changed = object("bad", [6443]);
    node.api.set(keyOf("bad"), { policy: parse(changed), object: changed });
    node.restart();
    expect(node.agent.messageOf(keyOf("bad"))).toMatch(/^on trial until .* would cut off port 6443/);
  });

  it("a deletion that cuts off is taken back: the policy stays in force, also for the next agent", async () => {
    node.put(object("ok", [80]));
    node.needs = ["ok"];
    node.remove("ok");
    expect([...node.force]).toEqual([]);
    await pass(12_000);
    expect([...node.force.keys()]).toEqual(["ok"]);
    expect(node.told.at(-1)).toMatch(/^ok Reverted/);
    node.restart();
    expect([...node.force.keys()]).toEqual(["ok"]);
    expect(node.agent.confirm("ok")).toEqual(["ok"]);
    expect([...node.force]).toEqual([]);
  });
});
