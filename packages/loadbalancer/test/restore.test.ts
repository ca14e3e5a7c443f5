import { parseIp, parsePrefix } from "@axoneme/base";
import { describe, expect, it } from "vitest";
import { IdCounter } from "../src/ids.ts";
import { ServiceCompiler, type ServiceObject, slotsTaken } from "../src/index.ts";
import { Maps } from "./maps.ts";
import { endpoint, ingress, service, slice } from "./objects.ts";

const spec: NonNullable<ServiceObject["spec"]> = {
  type: "LoadBalancer",
  clusterIPs: ["10.96.0.1"],
  loadBalancerSourceRanges: ["192.0.2.0/24"],
  externalTrafficPolicy: "Local",
  ports: [{ port: 80, nodePort: 30080 }],
};
const more = { status: ingress("203.0.113.1"), annotations: { "service.cilium.io/lb-algorithm": "maglev" } };
const web = service("web", spec, more);
const endpoints = slice("s", "web", [endpoint("10.0.0.1"), endpoint("10.0.0.2", undefined, "n2")]);

function written(): Maps {
  const maps = new Maps();
  const compiler = new ServiceCompiler({ node: { name: "n1" } });
  maps.apply(compiler.upsertService(web));
  maps.apply(compiler.upsertSlice(endpoints));
  return maps;
}

function restored(maps: Maps): ServiceCompiler {
  const compiler = new ServiceCompiler({ node: { name: "n1" } });
  compiler.restore(maps.rows());
  return compiler;
}

describe("a restart", () => {
  it.each([
    ["Services first", true],
    ["slices first", false],
  ])("writes nothing when nothing changed: tables, lists, ranges are known again (%s)", (_, first) => {
    const maps = written();
    const compiler = restored(maps);
    if (first) expect(compiler.upsertService(web)).toEqual([]);
    expect(compiler.upsertSlice(endpoints)).toEqual([]);
    if (!first) expect(compiler.upsertService(web)).toEqual([]);
    expect(compiler.prune()).toEqual([]);
    compiler.reclaim(0);
    compiler.reclaim(10_000);
    const ranges = new Map(
      [...maps.services.values()].flatMap(({ row }) =>
        row.slots > 0 ? [[row.slotsOff, slotsTaken(row)]] : [],
      ),
    );
    expect(compiler.stats().slotsUsed).toBe([...ranges.values()].reduce((sum, slots) => sum + slots, 0));
  });

  it("takes nothing away before all has synced, and then what nobody claims", () => {
    const maps = written();
    const compiler = restored(maps);
    const stays = compiler.upsertService(
      service("web", { ...spec, loadBalancerSourceRanges: ["198.51.100.0/24"] }, more),
    );
    expect(stays.map(({ op }) => op)).toEqual(["put-range"]);
    maps.apply(stays);
    maps.apply(compiler.deleteService("shop", "web"));
    expect(maps.services.size).toBe(6);
    maps.apply(compiler.prune());
    expect([maps.services.size, maps.backends.size, maps.ranges.size]).toEqual([0, 0, 0]);
  });

  it("prunes what a crash left half written", () => {
    const compiler = new ServiceCompiler();
    const row = { addr: parseIp("10.0.0.1"), port: 80, proto: 6, state: 0, serviceId: 7, flags: 0 };
    compiler.restore({
      services: [],
      slots: { ids: () => Uint32Array.of(0, 3), table: () => new Uint16Array() },
      slotsUsed: 2,
      backends: [{ id: 3, row }],
      ranges: [{ serviceId: 9, prefix: parsePrefix("10.0.0.0/8") }],
      skips: [{ serviceId: 9, client: parseIp("10.0.0.1") }],
    });
    expect(compiler.prune().map(({ op }) => op)).toEqual(["delete-range", "delete-skip", "delete-backend"]);
  });

  it("writes a row anew whose slots run into another's", () => {
    const maps = written();
    const rows = maps.rows();
    const broken = rows.services.map(({ key, row }, i) => ({
      key,
      row: { ...row, slotsOff: row.slotsOff + i },
    }));
    const compiler = new ServiceCompiler({ node: { name: "n1" } });
    compiler.restore({ ...rows, services: broken });
    compiler.upsertService(web);
    compiler.upsertSlice(endpoints);
    expect(compiler.prune().filter(({ op }) => op === "put-service").length).toBeGreaterThan(0);
  });
});

describe("IdCounter", () => {
  it("goes on far from what was restored, and turns before the end", () => {
    const ids = new IdCounter();
    ids.restore(5);
    ids.jump(0.5);
    expect(ids.next()).toBe(6 + 1.5 * 2 ** 20);
    const late = new IdCounter();
    late.restore(0xf000_0000);
    late.restore(1);
    late.jump(0);
    expect([late.next(), late.next()]).toEqual([2, 3]);
  });
});
