import { tryParseIp } from "@axoneme/base";
import type { CiliumCIDRGroup, ListWatchHandlers } from "@axoneme/kube";
import { type EndpointSliceObject, serviceNameLabel } from "@axoneme/loadbalancer";
import { type PolicyService, parseCidrGroup } from "@axoneme/policy";

/** What the agent keeps of a Service for policies. */
export interface SelectingService {
  readonly metadata: {
    readonly namespace: string;
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  /** Empty: its addresses are those of its EndpointSlices. */
  readonly selector: Readonly<Record<string, string>>;
}

/** A Service as the agent keeps it. */
export interface ServiceLike {
  readonly metadata?: {
    readonly namespace?: string;
    readonly name?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec?: { readonly type?: string; readonly selector?: Readonly<Record<string, string>> };
}

/** Keeps of a Service what policies look at. An ExternalName stands for nothing. */
export function trimSelecting({ metadata, spec }: ServiceLike): SelectingService {
  const selector = spec?.type === "ExternalName" ? {} : (spec?.selector ?? {});
  const { namespace = "", name = "", labels = {} } = metadata ?? {};
  return { metadata: { namespace, name, labels }, selector };
}

/** Where what policies name goes: the policy module. */
export interface ReferenceSink {
  setCidrGroup(group: ReturnType<typeof parseCidrGroup>["group"]): void;
  deleteCidrGroup(name: string): void;
  setService(service: PolicyService): void;
  deleteService(namespace: string, name: string): void;
}

/** The agent's copies of Services and EndpointSlices. */
export interface ServiceCopies {
  readonly services: Iterable<ServiceLike>;
  readonly slices: Iterable<EndpointSliceObject>;
}

/**
 * CIDR groups, Services and EndpointSlices from the API to the policy engine, for rules that name them. Services are
 * looked at from the first rule on that names one: hardly a cluster has such a rule, and many have thousands of Services.
 */
export class PolicyObjects {
  readonly #sink: ReferenceSink;
  readonly #cluster: string;
  readonly #services = new Map<string, SelectingService>();
  /** Slices by Service, whether the Service is known or not: either may come first. */
  readonly #slices = new Map<string, Map<string, EndpointSliceObject>>();
  #awake = false;

  constructor(sink: ReferenceSink, cluster: string) {
    this.#sink = sink;
    this.#cluster = cluster;
  }

  /** For a ListWatch of CiliumCIDRGroup. */
  groups(): ListWatchHandlers<CiliumCIDRGroup> {
    const upsert = (object: CiliumCIDRGroup) => this.#sink.setCidrGroup(parseCidrGroup(object).group);
    return {
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: ({ metadata }) => this.#sink.deleteCidrGroup(metadata?.name ?? ""),
    };
  }

  /** A rule names Services: from now on they are told. Does nothing the second time. */
  wake({ services, slices }: ServiceCopies): void {
    if (this.#awake) return;
    this.#awake = true;
    for (const slice of slices) this.slices().onAdd?.(slice);
    for (const service of services) this.services().onAdd?.(service);
  }

  /** For a ListWatch of Service. */
  services(): ListWatchHandlers<ServiceLike> {
    const upsert = (object: ServiceLike) => {
      if (!this.#awake) return;
      const service = trimSelecting(object);
      const key = keyOf(service.metadata.namespace, service.metadata.name);
      this.#services.set(key, service);
      this.#told(key);
    };
    return {
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: ({ metadata }) => {
        const { namespace = "", name = "" } = metadata ?? {};
        if (this.#services.delete(keyOf(namespace, name))) this.#sink.deleteService(namespace, name);
      },
    };
  }

  /** For a ListWatch of EndpointSlice. */
  slices(): ListWatchHandlers<EndpointSliceObject> {
    const upsert = (slice: EndpointSliceObject, before?: EndpointSliceObject) => {
      if (!this.#awake) return;
      if (before !== undefined && serviceOf(before) !== serviceOf(slice)) this.#withoutSlice(before);
      const key = serviceOf(slice);
      const slices = this.#slices.get(key) ?? new Map<string, EndpointSliceObject>();
      this.#slices.set(key, slices.set(slice.metadata?.name ?? "", slice));
      this.#slicesTold(key);
    };
    return { onAdd: upsert, onUpdate: upsert, onDelete: (slice) => this.#withoutSlice(slice) };
  }

  #withoutSlice(slice: EndpointSliceObject): void {
    const key = serviceOf(slice);
    const slices = this.#slices.get(key);
    slices?.delete(slice.metadata?.name ?? "");
    if (slices?.size === 0) this.#slices.delete(key);
    this.#slicesTold(key);
  }

  /** Pods behind a selector come and go without a word to the engine: their labels say it. */
  #slicesTold(key: string): void {
    const service = this.#services.get(key);
    if (service !== undefined && Object.keys(service.selector).length === 0) this.#told(key);
  }

  #told(key: string): void {
    const service = this.#services.get(key);
    if (service === undefined) return;
    const { metadata, selector } = service;
    const slices = Object.keys(selector).length > 0 ? [] : [...(this.#slices.get(key)?.values() ?? [])];
    const texts = new Set(
      slices.flatMap(({ endpoints }) => endpoints ?? []).flatMap((e) => e.addresses ?? []),
    );
    const addresses = [...texts].flatMap((text) => tryParseIp(text) ?? []);
    this.#sink.setService({ ...metadata, selector, addresses, cluster: this.#cluster });
  }
}

function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

function serviceOf({ metadata }: EndpointSliceObject): string {
  return keyOf(metadata?.namespace ?? "", metadata?.labels?.[serviceNameLabel] ?? "");
}
