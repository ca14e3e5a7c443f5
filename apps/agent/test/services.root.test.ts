import { rmSync } from "node:fs";
import { join } from "node:path";
import { formatIp, parseIp, silentLogger, waitFor } from "@axoneme/base";
import { Kernel } from "@axoneme/datapath";
import type { EventRecorder, EventSubject } from "@axoneme/kube";
import type { EndpointSliceObject, ServiceObject } from "@axoneme/loadbalancer";
import { afterEach, describe, expect, it } from "vitest";
import { kernelRows } from "../src/lb/kernel-rows.ts";
import { maglevViews } from "../src/lb/maglev-views.ts";
import { flush, statView } from "../src/lb/maintenance.ts";
import { serviceDetail, serviceViews } from "../src/lb/service-views.ts";
import { ServiceModule } from "../src/state/services.ts";

const bpffs = `/sys/fs/bpf/axsvc-${process.pid}`;
const objectDir = join(import.meta.dirname, "../../../build/bpf");

class Stage {
  readonly kernel: Kernel;
  readonly events: string[] = [];
  readonly module: ServiceModule;

  constructor(maxEntries: Record<string, number> = {}) {
    this.kernel = Kernel.open(
      { objectDir, bpffs, maxEntries: { ax_ct: 1024, ax_nat: 1024, ...maxEntries } },
      silentLogger,
    );
    const recorder = {
      record: ({ namespace, name }: EventSubject, type: string, reason: string) =>
        void this.events.push(`${namespace}/${name} ${type} ${reason}`),
    } as unknown as EventRecorder;
    this.module = new ServiceModule({
      kernel: this.kernel,
      settings: { node: { name: "node1" }, settings: { algorithm: "random" } },
      events: { shared: recorder, own: recorder },
      uidOf: () => "u1",
      servesHealthChecks: () => true,
      log: silentLogger,
    });
  }

  add(service: ServiceObject, slice?: EndpointSliceObject): void {
    this.module.services().onAdd?.(service);
    if (slice) this.module.slices().onAdd?.(slice);
  }

  /** Waits for the turn in which what was told is written. */
  async written(): Promise<void> {
    await Promise.resolve();
  }

  rows(): string[] {
    return this.kernel.maps.services
      .entries()
      .map(([key, row]) => `${formatIp(key.addr)}:${key.port} ${row.count}`)
      .sort();
  }
}

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.module.stop();
  stage?.kernel.close();
  rmSync(bpffs, { recursive: true, force: true });
});

function service(
  name: string,
  ip: string,
  more: Partial<NonNullable<ServiceObject["spec"]>> = {},
): ServiceObject {
  return {
    metadata: { namespace: "shop", name, uid: `uid-${name}` },
    spec: {
      type: "ClusterIP",
      clusterIPs: [ip],
      ports: [{ name: "", port: 80, protocol: "TCP" }],
      ...more,
    },
  };
}

function slice(name: string, addresses: readonly string[], protocol = "TCP"): EndpointSliceObject {
  return {
    metadata: {
      namespace: "shop",
      name: `${name}-1`,
      labels: { "kubernetes.io/service-name": name },
    },
    addressType: "IPv4",
    endpoints: addresses.map((address) => ({
      addresses: [address],
      nodeName: "node1",
      conditions: { ready: true },
    })),
    ports: [{ name: "", port: 8080, protocol }],
  };
}

const loadBalancer = (name: string, ip: string, ranges: readonly string[]): ServiceObject => ({
  ...service(name, `10.96.1.${ip.split(".")[3]}`, {
    type: "LoadBalancer",
    loadBalancerSourceRanges: ranges,
  }),
  status: { loadBalancer: { ingress: [{ ip }] } },
});

const epoch = (kernel: Kernel) => kernel.maps.config.get(0)?.epoch ?? 0;

describe("Services in the kernel", () => {
  it("are written in the turn they are told, and go with their object", async () => {
    stage = new Stage();
    stage.add(service("web", "10.96.0.1"), slice("web", ["10.0.0.1", "10.0.0.2"]));
    expect(stage.rows()).toEqual([]);
    await stage.written();
    expect(stage.rows()).toEqual(["10.96.0.1:80 2"]);
    stage.module.services().onDelete?.(service("web", "10.96.0.1"));
    await stage.written();
    expect([stage.rows(), stage.kernel.maps.backends.entries()]).toEqual([[], []]);
  });

  it("leave the epoch alone, unless a UDP backend goes or a UDP port comes", async () => {
    stage = new Stage();
    const { kernel, module } = stage;
    kernel.maps.config.put(0, { ...(kernel.maps.config.get(0) ?? never()), epoch: 5 });
    await module.stop();
    kernel.close();
    // The next agent goes on from a node that is configured.
    stage = new Stage();
    stage.add(service("web", "10.96.0.1"), slice("web", ["10.0.0.1", "10.0.0.2"]));
    const dns = service("dns", "10.96.0.2", { ports: [{ name: "", port: 53, protocol: "UDP" }] });
    stage.add(dns, slice("dns", ["10.0.0.3", "10.0.0.4"], "UDP"));
    await stage.written();
    const before = epoch(stage.kernel);
    const { onUpdate } = stage.module.slices();
    const tell = (object: EndpointSliceObject) => onUpdate?.(object, object);
    tell(slice("web", ["10.0.0.1"]));
    tell(slice("dns", ["10.0.0.3", "10.0.0.4", "10.0.0.5"], "UDP"));
    await stage.written();
    await stage.written();
    expect(epoch(stage.kernel)).toBe(before);
    tell(slice("dns", ["10.0.0.3"], "UDP"));
    await stage.written();
    await stage.written();
    expect(epoch(stage.kernel)).toBe(before + 1);
    stage.add(service("more", "10.96.0.3"), slice("more", ["10.0.0.9"]));
    await stage.written();
    await stage.written();
    expect(epoch(stage.kernel)).toBe(before + 1);
    const log = service("log", "10.96.0.4", { ports: [{ name: "", port: 514, protocol: "UDP" }] });
    stage.add(log, slice("log", ["10.0.0.8"], "UDP"));
    await stage.written();
    await stage.written();
    expect(epoch(stage.kernel)).toBe(before + 2);
  });

  it("that do not fit are said to, tried again, and in nobody's way", async () => {
    stage = new Stage({ ax_src_ranges: 2 });
    stage.add(loadBalancer("first", "203.0.113.1", ["192.0.2.0/24", "198.51.100.0/24"]));
    await stage.written();
    stage.add(loadBalancer("second", "203.0.113.2", ["10.0.0.0/8"]));
    stage.add(service("web", "10.96.0.1"), slice("web", ["10.0.0.1"]));
    await stage.written();
    expect(stage.rows()).toContain("10.96.0.1:80 1");
    expect(stage.rows()).not.toContain("203.0.113.2:80 0");
    const { module } = stage;
    const refused = serviceViews(module, { problems: true }, () => ({}));
    expect(new Set(refused.map(({ name, status }) => `${name} ${status}`))).toEqual(
      new Set(["second error"]),
    );
    expect(refused[0]?.message).toMatch(/could not be written: cannot write .* to ax_src_ranges/);
    const detail = serviceDetail(module, "shop", "second", () => ({}));
    expect(detail?.nextRetry).toBeDefined();
    expect(stage.events).toEqual(["shop/second Warning WriteFailed"]);
    module.services().onDelete?.(loadBalancer("first", "203.0.113.1", []));
    await waitFor(() => module.writer.failed().size === 0, { timeoutMs: 10_000, what: "the retry" });
    expect(stage.rows()).toContain("203.0.113.2:80 0");
    expect(serviceViews(module, { problems: true }, () => ({}))).toEqual([]);
    expect(stage.events).toEqual(["shop/second Warning WriteFailed", "shop/second Normal Written"]);
  });

  it("are taken over by the next agent, which removes what went meanwhile", async () => {
    stage = new Stage();
    stage.add(service("web", "10.96.0.1"), slice("web", ["10.0.0.1"]));
    stage.add(service("old", "10.96.0.2"), slice("old", ["10.0.0.2"]));
    await stage.written();
    await stage.module.stop();
    stage.kernel.close();
    stage = new Stage();
    stage.add(service("web", "10.96.0.1"), slice("web", ["10.0.0.1"]));
    await stage.written();
    expect(stage.rows()).toEqual(["10.96.0.1:80 1", "10.96.0.2:80 1"]);
    stage.module.prune();
    expect(stage.rows()).toEqual(["10.96.0.1:80 1"]);
    expect(stage.module.proxyHealth().healthy).toBe(true);
  });

  it("show their Maglev tables, how full the maps are, and forget what they are told to", async () => {
    stage = new Stage();
    const annotated = service("hash", "10.96.0.3", {
      type: "NodePort",
      ports: [{ name: "", port: 80, protocol: "TCP", nodePort: 30080 }],
    });
    const annotations = { "service.cilium.io/lb-algorithm": "maglev" };
    stage.add({ ...annotated, metadata: { ...annotated.metadata, annotations } });
    stage.module.slices().onAdd?.(slice("hash", ["10.0.0.1", "10.0.0.2"]));
    await stage.written();
    const { module, kernel } = stage;
    const [table] = maglevViews(module.compiler.views(), kernelRows(kernel.maps));
    expect(table?.frontends).toContain("0.0.0.0:30080/TCP");
    expect(table?.backends.map(({ address }) => address).sort()).toEqual(["10.0.0.1", "10.0.0.2"]);
    expect(table?.backends.reduce((sum, { slots }) => sum + slots, 0)).toBe(table?.size);
    const sources = { kernel, services: module, sweep: () => kernel.sweep(1) };
    kernel.maps.affinity.put({ client: parseIp("10.0.0.9"), serviceId: 1 }, { backendId: 1, lastS: 1 });
    const { maps, figures } = statView("lb", sources);
    expect(maps.find(({ name }) => name === "ax_affinity")?.entries).toBe(1);
    expect(maps.find(({ name }) => name === "ax_services")?.limit).toBeGreaterThan(1000);
    expect(figures["rows_written"]).toBeGreaterThan(3);
    expect(statView("ct", sources).maps).toEqual([{ name: "ax_ct", entries: 0, capacity: 1024 }]);
    expect(statView("nat", sources).maps[0]?.capacity).toBe(1024);
    expect(flush("lb", sources).removed).toMatchObject({ ax_affinity: 1 });
    expect(kernel.maps.affinity.entries()).toEqual([]);
    expect(flush("nat", sources).removed).toMatchObject({ ax_nat: 0 });
  });
});

function never(): never {
  throw new Error("the kernel has no configuration row");
}
