import { formatIp } from "@axoneme/base";
import type { PolicyService } from "@axoneme/policy";
import { beforeEach, describe, expect, it } from "vitest";
import { PolicyObjects, type ServiceLike, trimSelecting } from "../src/state/policy-objects.ts";

const slice = (name: string, service: string, ...addresses: string[]) => ({
  metadata: { namespace: "shop", name, labels: { "kubernetes.io/service-name": service } },
  endpoints: addresses.map((address) => ({ addresses: [address] })),
});
const service = (name: string, selector: Record<string, string> = {}): ServiceLike => ({
  metadata: { namespace: "shop", name },
  spec: { selector },
});
const none = { services: [], slices: [] };

describe("what policies name", () => {
  let told: string[] = [];
  let objects: PolicyObjects;
  beforeEach(() => {
    told = [];
    objects = new PolicyObjects(
      {
        setCidrGroup: ({ name, prefixes }) => void told.push(`group ${name} ${prefixes.length}`),
        deleteCidrGroup: (name) => void told.push(`no group ${name}`),
        setService: ({ name, selector, addresses }: PolicyService) =>
          void told.push(`${name} ${JSON.stringify(selector)} ${addresses.map(formatIp).join()}`),
        deleteService: (_, name) => void told.push(`no ${name}`),
      },
      "default",
    );
  });

  it("Services are told from the first rule on that names one, those that were there before too", () => {
    objects.services().onAdd?.(service("web", { app: "web" }));
    objects.slices().onAdd?.(slice("a", "ext", "192.0.2.1"));
    objects.services().onDelete?.(service("gone"));
    expect(told).toEqual([]);
    objects.wake({
      services: [service("web", { app: "web" }), service("ext")],
      slices: [slice("a", "ext", "192.0.2.1")],
    });
    objects.wake({ services: [service("twice")], slices: [] });
    expect(told).toEqual(['web {"app":"web"} ', "ext {} 192.0.2.1"]);
  });

  it("a Service without a selector is its slices, whichever comes first", () => {
    objects.wake(none);
    objects.slices().onAdd?.(slice("a", "ext", "192.0.2.1", "192.0.2.2"));
    expect(told).toEqual([]);
    objects.services().onAdd?.(service("ext"));
    objects.slices().onAdd?.(slice("b", "ext", "2001:db8::1", "192.0.2.1"));
    objects.slices().onUpdate?.(slice("a", "ext", "192.0.2.3"), slice("a", "ext", "192.0.2.1"));
    objects.slices().onDelete?.(slice("b", "ext"));
    objects.services().onDelete?.(service("ext"));
    expect(told).toEqual([
      "ext {} 192.0.2.1,192.0.2.2",
      "ext {} 192.0.2.1,192.0.2.2,2001:db8::1",
      "ext {} 192.0.2.3,2001:db8::1,192.0.2.1",
      "ext {} 192.0.2.3",
      "no ext",
    ]);
  });

  it("a Service with a selector is its pods: slices say nothing, until the selector goes", () => {
    objects.wake(none);
    objects.services().onAdd?.(service("web", { app: "web" }));
    objects.slices().onAdd?.(slice("a", "web", "10.0.0.1"));
    objects.services().onUpdate?.(service("web"), service("web", { app: "web" }));
    expect(told).toEqual(['web {"app":"web"} ', "web {} 10.0.0.1"]);
  });

  it("an ExternalName stands for nothing", () =>
    expect(trimSelecting({ spec: { type: "ExternalName", selector: { app: "web" } } }).selector).toEqual({}));

  it("groups come, change and go", () => {
    const group = (...externalCIDRs: string[]) => ({ metadata: { name: "g" }, spec: { externalCIDRs } });
    objects.groups().onAdd?.(group("10.0.0.0/8", "10.0.0.0/8", "nonsense"));
    objects.groups().onDelete?.(group());
    expect(told).toEqual(["group g 1", "no group g"]);
  });
});
