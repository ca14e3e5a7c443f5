/** Policies that find no room in the kernel's maps, which are real and small. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { silentLogger } from "@axoneme/base";
import { Kernel } from "@axoneme/datapath";
import { Ipcache, type Labels, LocalIdentities } from "@axoneme/identity";
import type { EventSubject, KubeObject } from "@axoneme/kube";
import { PolicyEngine } from "@axoneme/policy";
import { afterEach, describe, expect, it } from "vitest";
import { IpcacheWriter } from "../src/state/ipcache.ts";
import { MapPressure } from "../src/state/map-pressure.ts";
import { PolicyModule } from "../src/state/policy.ts";
import { PolicyRoom, policyCapacity } from "../src/state/policy-room.ts";
import { linesOf } from "./logger.ts";

const bpffs = `/sys/fs/bpf/axroom-${process.pid}`;
const objectDir = join(import.meta.dirname, "../../../build/bpf");
const rows = 40;

const labels = (app: string): Labels => ({
  "k8s:app": app,
  "k8s:io.kubernetes.pod.namespace": "red",
  "k8s:io.cilium.k8s.policy.cluster": "default",
});

/** Lets the client into the pods of an app, on so many ports. */
const ports = (name: string, app: string, count: number): KubeObject =>
  ({
    metadata: { name, namespace: "red", uid: `uid-${name}` },
    spec: {
      podSelector: { matchLabels: { app } },
      ingress: [
        {
          from: [{ podSelector: { matchLabels: { app: "client" } } }],
          ports: Array.from({ length: count }, (_, i) => ({ port: 1001 + 2 * i })),
        },
      ],
    },
  }) as KubeObject;

/** Lets the pods of an app out to so many prefixes. */
const prefixes = (name: string, app: string, count: number): KubeObject =>
  ({
    metadata: { name, namespace: "red" },
    spec: {
      podSelector: { matchLabels: { app } },
      policyTypes: ["Egress"],
      egress: [{ to: Array.from({ length: count }, (_, i) => ({ ipBlock: { cidr: `10.${i}.0.0/16` } })) }],
    },
  }) as KubeObject;

class Stage {
  readonly kernel: Kernel;
  readonly engine: PolicyEngine;
  readonly module: PolicyModule;
  readonly room: PolicyRoom;
  readonly ipcache = new Ipcache();
  readonly events: string[] = [];
  readonly errors = linesOf("error");

  constructor(ipcacheRows = 1024) {
    this.kernel = Kernel.open(
      {
        objectDir,
        bpffs,
        maxEntries: {
          ax_ct: 1024,
          ax_nat: 1024,
          ax_policy: rows,
          ax_policy_heads: 32,
          ax_ipcache: ipcacheRows,
        },
      },
      silentLogger,
    );
    const capacity = policyCapacity(this.kernel.maps);
    this.engine = new PolicyEngine({ capacity });
    this.room = new PolicyRoom({
      engine: this.engine,
      capacity,
      ipcache: this.ipcache,
      ipcacheCapacity: ipcacheRows,
      events: {
        record: ({ kind, namespace, name, uid }: EventSubject, type, reason, message) =>
          void this.events.push(`${kind} ${namespace}/${name} ${uid} ${type} ${reason}: ${message}`),
      },
    });
    this.module = new PolicyModule({
      engine: this.engine,
      kernel: this.kernel,
      localIdentities: new LocalIdentities({ dualStack: true }),
      ipcache: this.ipcache,
      ipcacheWriter: new IpcacheWriter(this.ipcache, this.kernel, silentLogger),
      room: this.room,
      cluster: "default",
      log: this.errors.logger,
    });
    this.module.open();
    this.engine.addIdentity(1000, labels("client"));
    for (const [i, app] of ["web", "db"].entries()) this.endpoint(i + 1, app);
  }

  endpoint(id: number, app: string): void {
    this.engine.addIdentity(1000 + id, labels(app));
    this.module.setEndpoint({ id, identity: 1000 + id, labels: labels(app), namedPorts: [] });
  }

  apply(object: KubeObject): void {
    this.module.networkPolicies().onAdd?.(object);
  }

  remove(object: KubeObject): void {
    this.module.networkPolicies().onDelete?.(object);
  }

  /** Ports that the kernel's rows let the client into, at an endpoint. */
  open(endpoint: number): number[] {
    const policyId = this.module.policyOf(endpoint);
    return this.kernel.maps.policy
      .entries()
      .filter(([key]) => key.policyId === policyId && key.identity === 1000)
      .map(([key]) => key.port)
      .sort((a, b) => a - b);
  }

  hasHead(endpoint: number): boolean {
    return this.kernel.maps.policyHeads.get(this.module.policyOf(endpoint) << 1) !== undefined;
  }

  close(): void {
    this.kernel.close();
    rmSync(bpffs, { recursive: true, force: true });
  }
}

const refusalOf = ({ module }: Stage, name: string) =>
  module.refusalOf({ kind: "NetworkPolicy", namespace: "red", name });

let stage: Stage | undefined;
afterEach(() => {
  stage?.close();
  stage = undefined;
});

describe("a policy that finds no room", () => {
  it("is refused with a word on its object, and all that was enforced stays", () => {
    stage = new Stage();
    stage.apply(ports("small", "web", 3));
    stage.apply(ports("other", "db", 2));
    const before = stage.kernel.maps.policy.entries();
    stage.apply(ports("large", "web", rows));
    expect(stage.kernel.maps.policy.entries()).toEqual(before);
    expect(stage.module.refused).toBe(1);
    expect(refusalOf(stage, "large")).toMatch(/more rows of ax_policy/);
    expect(stage.events).toHaveLength(1);
    expect(stage.events[0]).toMatch(
      /^NetworkPolicy red\/large uid-large Warning NoRoom: not enforced on this node: it needs 37 more rows/,
    );
    expect(stage.errors.lines).toHaveLength(1);
    stage.apply(ports("next", "db", 1));
    expect(stage.open(2)).toEqual([1001, 1003]);
  });

  it("keeps the form it had when it grew too large", () => {
    stage = new Stage();
    stage.apply(ports("it", "web", 2));
    stage.apply(ports("it", "web", rows));
    expect(stage.open(1)).toEqual([1001, 1003]);
    stage.remove(ports("it", "web", rows));
    expect(stage.module.policyOf(1)).toBe(0);
    expect([stage.module.refused, stage.kernel.maps.policy.entries().length]).toEqual([0, 0]);
  });

  it("is enforced when others went", () => {
    stage = new Stage();
    stage.apply(ports("first", "web", 20));
    stage.apply(ports("second", "db", 25));
    expect(stage.open(2)).toEqual([]);
    stage.module.reconsider();
    expect(stage.module.refused).toBe(1);
    stage.remove(ports("first", "web", 20));
    stage.module.reconsider();
    expect(stage.module.refused).toBe(0);
    expect(stage.open(2)).toHaveLength(25);
  });

  it("is refused before its prefixes are in a full ipcache", () => {
    stage = new Stage(8);
    stage.apply(prefixes("few", "web", 3));
    expect(stage.kernel.maps.ipcache.entries()).toHaveLength(3);
    stage.apply(prefixes("many", "web", 9));
    expect(refusalOf(stage, "many")).toBe("it names 6 new prefixes, and ax_ipcache has room for 5");
    expect(stage.kernel.maps.ipcache.entries()).toHaveLength(3);
    stage.remove(prefixes("few", "web", 3));
    expect(stage.kernel.maps.ipcache.entries()).toHaveLength(0);
  });
});

describe("a pod that finds no room for its policy", () => {
  it("accepts nothing, the others go on, and it is served when there is room", () => {
    stage = new Stage();
    for (const app of ["web", "db", "late"]) stage.apply(ports(app, app, 15));
    stage.endpoint(3, "late");
    expect(stage.engine.withdrawn).toEqual([3]);
    expect([stage.open(3), stage.hasHead(3)]).toEqual([[], false]);
    expect([stage.open(1).length, stage.open(2).length]).toEqual([15, 15]);
    stage.module.removeEndpoint(1);
    stage.module.removeEndpoint(2);
    stage.module.reconsider();
    expect(stage.engine.withdrawn).toEqual([]);
    expect([stage.open(3).length, stage.hasHead(3)]).toEqual([15, true]);
  });
});

describe("pressure", () => {
  it("is told from 80 % on, once in the log, and as long as it lasts in the status", () => {
    stage = new Stage();
    const { room, module, engine } = stage;
    const warnings = linesOf("warn");
    const pressure = new MapPressure(
      {
        fills: () => room.fills(),
        closed: () => engine.withdrawn.length,
        refused: () => module.refused,
        reconsider: () => module.reconsider(),
      },
      warnings.logger,
    );
    const told: string[] = [];
    const health = {
      ok: () => void told.push("ok"),
      degraded: (text: string) => void told.push(text),
      failed: (text: string) => void told.push(text),
    };
    const look = () => {
      pressure.check(health);
      return told.at(-1);
    };
    expect(look()).toBe("ok");
    stage.apply(ports("most", "web", 32));
    expect(look()).toBe("ax_policy is 84 % full (33 of 39)");
    look();
    expect(warnings.lines).toHaveLength(1);
    stage.apply(ports("large", "db", 20));
    expect(look()).toMatch(/; policies that are not enforced since there is no room for their rows: 1$/);
    stage.remove(ports("most", "web", 32));
    expect(look()).toBe("ok");
    expect(stage.open(2)).toHaveLength(20);
  });
});
