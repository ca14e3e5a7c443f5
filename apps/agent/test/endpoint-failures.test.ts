import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Deferred, parsePrefix, waitFor } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { type CniRequest, EndpointStore, type PodNetwork } from "@axoneme/endpoint";
import { Ipcache, type Labels, type PodClaim } from "@axoneme/identity";
import { defaultPool, NodePools } from "@axoneme/ipam";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type EndpointDeps, EndpointManager } from "../src/endpoint/manager.ts";
import type { PodFacts } from "../src/endpoint/pods.ts";
import { quiet } from "./logger.ts";

/** The life of endpoints when a step fails: with everything below the manager played by the test. */

const labels = (app: string) => ({ "k8s:app": app, "k8s:io.kubernetes.pod.namespace": "default" });
const facts = (app: string): PodFacts => ({
  labels: labels(app),
  namedPorts: [],
  uid: "u",
  workload: undefined,
});

function request(containerId: string, more: Partial<CniRequest> = {}): CniRequest {
  return {
    command: "ADD",
    cniVersion: "1.1.0",
    networkName: "axoneme",
    containerId,
    netns: "/none",
    ifname: "eth0",
    pod: { namespace: "default", name: "p", uid: "u" },
    prevResult: undefined,
    validAttachments: undefined,
    bandwidth: undefined,
    ...more,
  };
}

const handover = { carry: () => undefined };

class Stage {
  readonly dir = mkdtempSync(join(tmpdir(), "axep-"));
  readonly pool = new NodePools("n");

  constructor() {
    this.pool.setCidrs(new Map([[defaultPool, [parsePrefix("10.1.0.0/29")]]]));
  }

  readonly endpoints = new Map<string, unknown>();
  readonly identities = new Map<number, Labels>();
  readonly attached: number[] = [];
  readonly detached: number[] = [];
  present = facts("a");
  identityOf: (app: string) => number = () => 1000;
  connect: () => Promise<void> = async () => undefined;
  destroy: () => Promise<void> = async () => undefined;
  veth: { name: string; index: number } | undefined = { name: "veth0", index: 70 };

  manager(): EndpointManager {
    const name = (ip: Uint8Array) => [...ip].join(".");
    const ready = new Deferred<void>();
    ready.resolve();
    const deps = {
      store: new EndpointStore(this.dir),
      network: {
        create: async () => 7,
        connect: () => this.connect(),
        destroy: () => this.destroy(),
        findVeth: async (names: string[]) => (names.includes(this.veth?.name ?? "") ? this.veth : undefined),
        removeLeftovers: () => undefined,
      } as unknown as PodNetwork,
      kernel: {
        maps: {
          endpoints: {
            put: (ip: Uint8Array, row: unknown) => void this.endpoints.set(name(ip), row),
            get: (ip: Uint8Array) => this.endpoints.get(name(ip)),
            delete: (ip: Uint8Array) => this.endpoints.delete(name(ip)),
            entries: () => [],
          },
        },
        attachments: {
          attachPod: (index: number) => void this.attached.push(index),
          detachPod: (index: number) => void this.detached.push(index),
          isPodAttached: (index: number) => this.attached.includes(index),
        },
        changed: () => undefined,
        settle: () => undefined,
      } as unknown as Kernel,
      pods: { facts: async () => this.present, known: () => this.present },
      identities: {
        idFor: async (l: Labels) => {
          const id = this.identityOf(l["k8s:app"] ?? "");
          this.identities.set(id, l);
          return id;
        },
      },
      podIdentities: {
        set: (_kind: string, _key: string, { published }: PodClaim) => published,
        delete: () => undefined,
        wanted: (l: Labels) => l,
        labelsOf: (id: number) => this.identities.get(id),
        onMove: () => undefined,
      },
      ipcache: new Ipcache(),
      ipcacheWriter: { flush: () => undefined },
      policy: {
        setEndpoint: () => undefined,
        removeEndpoint: () => undefined,
        policyOf: () => 0,
        places: { beforeEndpoint: () => undefined },
      },
      publisher: { publish: () => undefined, retract: () => undefined },
      namespaces: { put: () => undefined, remove: () => undefined, prune: () => undefined },
      log: quiet,
      nodeIp: () => "172.30.0.1",
      gateways: () => ({ v4: undefined, v6: undefined }),
      poolUsed: () => undefined,
      addressFreed: () => undefined,
      fixed: { open: () => undefined, giveBack: () => undefined },
      localPods: { endpointUp: () => undefined, endpointDown: () => undefined },
      timeoutMs: 1000,
    };
    const manager = new EndpointManager(deps as unknown as EndpointDeps);
    manager.load();
    manager.usePool(this.pool);
    manager.serveAfter(ready.promise);
    return manager;
  }

  get used(): number {
    return this.pool.usage().reduce((sum, { used }) => sum + used, 0);
  }
}

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => rmSync(stage.dir, { recursive: true, force: true }));

describe("a failed ADD", () => {
  test("that cannot even write its record gives its address back", async () => {
    const manager = stage.manager();
    const before = stage.used;
    rmSync(stage.dir, { recursive: true });
    await expect(manager.add(request("c1"))).rejects.toThrow(/ENOENT/);
    expect(stage.used).toBe(before);
  });

  test("whose undoing fails too is cleared away by the DEL that follows", async () => {
    const manager = stage.manager();
    const before = stage.used;
    stage.identityOf = () => {
      throw new Error("no identity");
    };
    stage.destroy = async () => {
      throw new Error("netlink is busy");
    };
    await expect(manager.add(request("c1"))).rejects.toThrow("no identity");
    stage.destroy = async () => undefined;
    await manager.del(request("c1", { command: "DEL" }));
    expect([stage.used, readdirSync(stage.dir)]).toEqual([before, []]);
  });

  test("or by GC", async () => {
    const manager = stage.manager();
    stage.identityOf = () => {
      throw new Error("no identity");
    };
    stage.destroy = async () => {
      throw new Error("netlink is busy");
    };
    await expect(manager.add(request("c1"))).rejects.toThrow("no identity");
    stage.destroy = async () => undefined;
    await manager.gc(request("", { command: "GC", validAttachments: [] }));
    expect(readdirSync(stage.dir)).toEqual([]);
  });

  test("after its device was known forgets the device's name", async () => {
    const manager = stage.manager();
    stage.connect = async () => {
      throw new Error("down");
    };
    await expect(manager.add(request("c1"))).rejects.toThrow("down");
    expect(manager.interfaceName(7)).toBeUndefined();
  });

  test("behind a plugin that made no veth pair costs no endpoint id", async () => {
    const manager = stage.manager();
    const prevResult = {
      cniVersion: "1.1.0",
      interfaces: [{ name: "tap0" }],
      ips: [{ address: "10.9.0.1/32" }],
    };
    await expect(manager.add(request("c1", { prevResult }))).rejects.toThrow("veth");
    await manager.add(request("c2"));
    expect(manager.endpoints().map(({ record }) => record.id)).toEqual([1]);
  });
});

describe("an endpoint behind another plugin", () => {
  const prevResult = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "veth0" }],
    ips: [{ address: "10.9.0.1/32" }],
  };

  test("whose device has gone leaves alone who has its index now", async () => {
    const manager = stage.manager();
    await manager.add(request("c1", { prevResult }));
    stage.veth = { name: "veth0", index: 71 };
    await manager.del(request("c1", { command: "DEL" }));
    expect(stage.detached).toEqual([]);
  });

  test("and whose device went while no agent ran is not adopted", async () => {
    await stage.manager().add(request("c1", { prevResult }));
    stage.veth = undefined;
    const next = stage.manager();
    await next.restore(handover);
    expect([next.endpoints(), readdirSync(stage.dir)]).toEqual([[], []]);
  });
});

test("an endpoint follows its pod's labels although the API failed at first", async () => {
  const manager = stage.manager();
  await manager.add(request("c1"));
  stage.present = facts("b");
  let failures = 1;
  stage.identityOf = () => {
    if (failures-- > 0) throw new Error("API away");
    return 2000;
  };
  manager.podChanged("default", "p");
  await waitFor(() => manager.get(1)?.identity === 2000, { timeoutMs: 10_000, what: "the new identity" });
});

test("an endpoint adopted while the API fails gets its pod's identity later", async () => {
  await stage.manager().add(
    request("c1", {
      prevResult: {
        cniVersion: "1.1.0",
        interfaces: [{ name: "veth0" }],
        ips: [{ address: "10.9.0.1/32" }],
      },
    }),
  );
  const next = stage.manager();
  stage.present = facts("b");
  let failures = 1;
  stage.identityOf = () => {
    if (failures-- > 0) throw new Error("API away");
    return 2000;
  };
  await next.restore(handover);
  expect(next.get(1)?.identity).toBe(1000);
  await waitFor(() => next.get(1)?.identity === 2000, { timeoutMs: 10_000, what: "the new identity" });
});
