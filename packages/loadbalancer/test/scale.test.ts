import { describe, expect, it } from "vitest";
import { ServiceCompiler, trimService, trimSlice } from "../src/index.ts";
import { endpoint, service, slice } from "./objects.ts";

const count = 20_000;
const web = (i: number) =>
  service(`s${i}`, { clusterIPs: [`10.96.${i >> 8}.${i & 255}`], ports: [{ port: 80 }] });
const part = (i: number, from = 0) =>
  slice(
    `s${i}-x`,
    `s${i}`,
    [0, 1, 2, 3].map((k) => endpoint(`10.${k + from}.${i >> 8}.${i & 255}`, undefined, `n${k + from}`)),
  );

describe("20,000 Services of 4 endpoints", () => {
  const compiler = new ServiceCompiler({ node: { name: "n1" } });

  it("are compiled in one commit, each written once", { timeout: 60_000 }, () => {
    const changes = compiler.batch(() => {
      for (let i = 0; i < count; i++) {
        compiler.upsertService(trimService(web(i)));
        compiler.upsertSlice(trimSlice(part(i)));
      }
    });
    expect(changes.length).toBe(count * 6); // 4 backends, 1 list, 1 row
    expect(compiler.slotsNeeded).toBe(count * 4);
    expect(compiler.stats()).toMatchObject({ services: count, backends: count * 4 });
  });

  it("cost a change of one slice what it changes", () => {
    const ops = compiler.upsertSlice(part(7, 1)).map(({ op }) => op);
    expect(ops).toEqual(["put-backend", "put-slots", "put-service", "delete-backend"]);
    expect(compiler.upsertSlice(part(7, 1))).toEqual([]);
  });

  it("do not change because one more appears", () => {
    expect(compiler.upsertService(web(count)).map(({ op }) => op)).toEqual(["put-service"]);
  });
});

describe("trimmed objects", () => {
  it("compile to the same rows", () => {
    const spec = {
      type: "NodePort",
      clusterIPs: ["10.96.0.1", "fd00::1"],
      clusterIP: "10.96.0.1",
      ipFamilies: ["IPv4", "IPv6"],
      sessionAffinity: "ClientIP",
      internalTrafficPolicy: "Cluster",
      externalTrafficPolicy: "Local",
      healthCheckNodePort: 0,
      externalIPs: [],
      ports: [{ name: "x", port: 80, protocol: "TCP", nodePort: 30080, targetPort: "http" }],
    };
    const object = {
      ...service("web", spec, { annotations: { "service.cilium.io/lb-algorithm": "maglev", other: "x" } }),
      status: { loadBalancer: {} },
    };
    const parts = slice(
      "s",
      "web",
      [endpoint("10.0.0.1"), endpoint("10.0.0.2", { ready: false })],
      [{ name: "x", port: 8080, protocol: "TCP" }],
    );
    const rows = [false, true].map((trim) => {
      const compiler = new ServiceCompiler();
      compiler.upsertService(trim ? trimService(object) : object);
      compiler.upsertSlice(trim ? trimSlice(parts) : parts);
      return compiler.views();
    });
    expect(rows[1]).toEqual(rows[0]);
    expect(trimSlice(trimSlice(parts))).toEqual(trimSlice(parts));
    expect(JSON.parse(JSON.stringify(trimService(object)))).toEqual({
      metadata: {
        name: "web",
        namespace: "shop",
        annotations: { "service.cilium.io/lb-algorithm": "maglev" },
      },
      spec: {
        type: "NodePort",
        clusterIPs: ["10.96.0.1", "fd00::1"],
        sessionAffinity: "ClientIP",
        externalTrafficPolicy: "Local",
        ports: spec.ports,
      },
    });
  });

  it("hold canonical addresses, each endpoint once by its first", () => {
    const object = slice("s", "web", [
      { addresses: ["FD00:0:0::1", "fd00::9"] },
      { addresses: ["fd00::2"], hints: { forZones: [] } },
    ]);
    expect(trimSlice({ ...object, addressType: "IPv6" }).endpoints.map(({ addresses }) => addresses)).toEqual(
      [["fd00::1"], ["fd00::2"]],
    );
    expect(trimSlice({ ...object, addressType: "FQDN" }).endpoints).toEqual([]);
  });
});
