import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type AddressRequest,
  type LoadBalancedService,
  LoadBalancerIpam,
  type PoolObject,
  requestOf,
} from "../../src/ipam/index.ts";
import { mayShare } from "../../src/ipam/request.ts";

/** Random pools and Services over so few addresses that everything collides. */

const blocks = [
  { cidr: "10.0.0.0/31" },
  { cidr: "10.0.0.0/30" },
  { cidr: "10.0.0.4/30" },
  { start: "10.0.0.3", stop: "10.0.0.5" },
  { start: "10.0.0.9" },
  { cidr: "2001:db8::/127" },
  { start: "2001:db8::1", stop: "2001:db8::4" },
];
const addresses = ["10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.9", "2001:db8::1", "192.0.2.1"];
const colors = [undefined, "red", "blue"];

const poolEvent = fc.record({
  kind: fc.constant("pool" as const),
  name: fc.constantFrom("p", "q", "r"),
  gone: fc.boolean(),
  color: fc.constantFrom(...colors),
  disabled: fc.boolean(),
  allowFirstLastIPs: fc.constantFrom("Yes", "No"),
  blocks: fc.uniqueArray(fc.constantFrom(...blocks), { maxLength: 3 }),
});
const serviceEvent = fc.record({
  kind: fc.constant("service" as const),
  key: fc.constantFrom("d/a", "d/b", "d/c", "d/e", "e/a", "e/b"),
  gone: fc.nat(4).map((n) => n === 0),
  type: fc.constantFrom("LoadBalancer", "LoadBalancer", "LoadBalancer", "ClusterIP"),
  color: fc.constantFrom(...colors),
  families: fc.constantFrom(["IPv4"], ["IPv6"], ["IPv4", "IPv6"]),
  requested: fc.oneof(
    { weight: 3, arbitrary: fc.constant("") },
    { weight: 1, arbitrary: fc.constantFrom(...addresses, "nonsense") },
  ),
  sharing: fc.constantFrom(undefined, undefined, "k", "l"),
  across: fc.constantFrom(undefined, "*", "e"),
  ports: fc.constantFrom([80], [443], [80, 443]),
  local: fc.nat(3).map((n) => n === 0),
});
type PoolEvent = typeof poolEvent extends fc.Arbitrary<infer T> ? T : never;
type ServiceEvent = typeof serviceEvent extends fc.Arbitrary<infer T> ? T : never;

function poolObject(event: PoolEvent, created: string): PoolObject {
  const { name, color, disabled, allowFirstLastIPs, blocks: parts } = event;
  const selector = color === undefined ? {} : { serviceSelector: { matchLabels: { color } } };
  return {
    metadata: { name, creationTimestamp: created },
    spec: { blocks: parts, disabled, allowFirstLastIPs, ...selector },
  };
}

function serviceObject(event: ServiceEvent): LoadBalancedService {
  const [namespace = "", name = ""] = event.key.split("/");
  const annotations = {
    "lbipam.cilium.io/ips": event.requested,
    ...(event.sharing === undefined ? {} : { "lbipam.cilium.io/sharing-key": event.sharing }),
    ...(event.across === undefined ? {} : { "lbipam.cilium.io/sharing-cross-namespace": event.across }),
  };
  return {
    metadata: {
      namespace,
      name,
      annotations,
      labels: event.color === undefined ? {} : { color: event.color },
    },
    spec: {
      type: event.type,
      ipFamilies: event.families,
      externalTrafficPolicy: event.local ? "Local" : "Cluster",
      ports: event.ports.map((port) => ({ port })),
    },
  };
}

/** What is there, beside the allocator under test. */
class World {
  readonly ipam = new LoadBalancerIpam();
  readonly pools = new Map<string, PoolObject>();
  readonly services = new Map<string, LoadBalancedService>();
  #clock = 1000;

  apply(event: PoolEvent | ServiceEvent): void {
    if (event.kind === "pool") this.#pool(event);
    else this.#service(event);
  }

  #service(event: ServiceEvent): void {
    if (event.gone) {
      this.services.delete(event.key);
      this.ipam.deleteService(event.key);
      return;
    }
    this.services.set(event.key, serviceObject(event));
    this.ipam.putService(this.request(event.key));
  }

  #pool(event: PoolEvent): void {
    if (event.gone) {
      this.pools.delete(event.name);
      this.ipam.deletePool(event.name);
      return;
    }
    const created = this.pools.get(event.name)?.metadata?.creationTimestamp ?? String(this.#clock++);
    const object = poolObject(event, created);
    this.pools.set(event.name, object);
    this.ipam.putPool(object);
  }

  /** As the operator reads it from the API server after its writes. */
  request(key: string): AddressRequest {
    const state = this.ipam.serviceState(key);
    const ingress = (state?.addresses ?? []).map((ip) => ({ ip }));
    const conditions = state?.verdict === undefined ? [] : [{ type: "cilium.io/IPAMRequestSatisfied" }];
    return requestOf({ ...this.services.get(key), status: { loadBalancer: { ingress }, conditions } }, true);
  }

  assignments(): Record<string, readonly string[]> {
    return Object.fromEntries(
      [...this.services.keys()].map((key) => [key, this.ipam.serviceState(key)?.addresses ?? []]),
    );
  }

  view(of: LoadBalancerIpam): object {
    const services = [...this.services.keys()].map((key) => {
      const state = of.serviceState(key);
      return [key, state?.addresses ?? [], state?.verdict?.reason];
    });
    return { services, pools: [...this.pools.keys()].map((name) => [name, of.poolState(name)]) };
  }
}

const history = fc.array(
  fc.oneof({ weight: 1, arbitrary: poolEvent }, { weight: 3, arbitrary: serviceEvent }),
  {
    minLength: 1,
    maxLength: 40,
  },
);

test("an address is never given to two Services that do not share it", () => {
  fc.assert(
    fc.property(history, (events) => {
      const world = new World();
      for (const event of events) {
        world.apply(event);
        const holders = new Map<string, AddressRequest[]>();
        for (const [key, held] of Object.entries(world.assignments())) {
          for (const address of held) {
            const request = world.request(key);
            for (const other of holders.get(address) ?? []) expect(mayShare(request, other)).toBe(true);
            holders.set(address, [...(holders.get(address) ?? []), request]);
          }
        }
      }
    }),
    { numRuns: 400 },
  );
});

test("an event of a Service moves no other; one of a pool moves only what a pool no longer has", () => {
  fc.assert(
    fc.property(history, (events) => {
      const world = new World();
      for (const event of events) {
        const before = world.assignments();
        world.apply(event);
        for (const [key, held] of Object.entries(world.assignments())) {
          if (event.kind === "pool" || key === event.key) continue;
          for (const address of before[key] ?? []) expect(held).toContain(address);
        }
      }
    }),
    { numRuns: 400 },
  );
});

test("events end where an operator ends that starts anew on what is there", () => {
  fc.assert(
    fc.property(history, (events) => {
      const world = new World();
      for (const event of events) {
        world.apply(event);
        const fresh = new LoadBalancerIpam();
        fresh.restore(
          world.pools.values(),
          [...world.services.keys()].map((key) => world.request(key)),
        );
        expect(world.view(fresh)).toEqual(world.view(world.ipam));
      }
    }),
    { numRuns: 400 },
  );
});
