import { ipToBigInt, tryParseIp } from "@axoneme/base";
import { type LabelLookup, serviceLabels } from "../labelselector.ts";
import type { Family } from "./range.ts";

/** The parts of a Service that matter here. */
export interface LoadBalancedService {
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly creationTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: {
    readonly type?: string;
    readonly loadBalancerClass?: string;
    readonly loadBalancerIP?: string;
    readonly ipFamilies?: readonly string[];
    readonly selector?: Readonly<Record<string, string>>;
    readonly externalTrafficPolicy?: string;
    readonly ports?: readonly { readonly port?: number; readonly protocol?: string }[];
  };
  readonly status?: {
    readonly loadBalancer?: { readonly ingress?: readonly { readonly ip?: string }[] };
    readonly conditions?: readonly { readonly type?: string }[];
  };
}

/** The condition by which we tell how a Service fared; it also marks the Services whose addresses are ours. */
export const requestCondition = "cilium.io/IPAMRequestSatisfied";

/** Load balancer classes whose addresses come from pools; others are other controllers'. */
export const poolClasses: readonly string[] = ["io.cilium/l2-announcer", "io.cilium/bgp-control-plane"];

/** What a Service asks of the pools. */
export interface AddressRequest {
  /** namespace/name. */
  readonly key: string;
  readonly namespace: string;
  readonly created: string;
  readonly labels: LabelLookup;
  /** Whether it is ours to give addresses to. */
  readonly wanted: boolean;
  /** Whether it carries our condition. */
  readonly marked: boolean;
  /** Addresses of its status. */
  readonly assigned: readonly bigint[];
  /** Particular addresses it asks for; empty: one of each family. */
  readonly requested: readonly bigint[];
  /** What of the request cannot be read. */
  readonly problem: string | undefined;
  readonly families: readonly Family[];
  readonly sharing: Sharing;
}

/** What decides whether Services may have one address together. */
export interface Sharing {
  /** "": it shares with nobody. */
  readonly key: string;
  /** Namespaces it shares with besides its own; "*": all. */
  readonly namespaces: ReadonlySet<string>;
  /** "80/TCP". */
  readonly ports: ReadonlySet<string>;
  readonly local: boolean;
  /** Which pods it selects, as text; only for externalTrafficPolicy Local. */
  readonly pods: string;
}

/** Annotations and the names they had before. */
const annotations = {
  ips: ["lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips"],
  sharingKey: ["lbipam.cilium.io/sharing-key", "io.cilium/lb-ipam-sharing-key"],
  crossNamespace: ["lbipam.cilium.io/sharing-cross-namespace", "io.cilium/lb-ipam-sharing-cross-namespace"],
} as const;

/** Shared by all Services that are not ours, which are most. */
const nothing = {
  created: "",
  labels: () => undefined,
  wanted: false,
  requested: [],
  problem: undefined,
  families: [],
  sharing: { key: "", namespaces: new Set<string>(), ports: new Set<string>(), local: false, pods: "" },
};

/** Reads a Service's request. `classless`: Services that name no load balancer class are ours too. */
export function requestOf(service: LoadBalancedService, classless: boolean): AddressRequest {
  const { metadata = {}, spec = {}, status = {} } = service;
  const { namespace = "", name = "", labels = {} } = metadata;
  const marked = (status.conditions ?? []).some(({ type }) => type === requestCondition);
  const assigned = (status.loadBalancer?.ingress ?? []).flatMap(({ ip = "" }) => parse(ip) ?? []);
  const common = { key: `${namespace}/${name}`, namespace, marked, assigned };
  const wanted = spec.type === "LoadBalancer" && isOurs(spec.loadBalancerClass, classless);
  if (!wanted) return { ...nothing, ...common };
  const { addresses: requested, problem } = requestedAddresses(service);
  return {
    ...common,
    wanted,
    created: metadata.creationTimestamp ?? "",
    labels: serviceLabels(namespace, name, labels),
    requested,
    problem,
    families: spec.ipFamilies === undefined ? ["IPv4"] : (spec.ipFamilies.filter(isFamily) as Family[]),
    sharing: sharingOf(service),
  };
}

function isOurs(loadBalancerClass: string | undefined, classless: boolean): boolean {
  return loadBalancerClass === undefined ? classless : poolClasses.includes(loadBalancerClass);
}

function isFamily(text: string): boolean {
  return text === "IPv4" || text === "IPv6";
}

function parse(text: string): bigint | undefined {
  const ip = tryParseIp(text);
  return ip === undefined ? undefined : ipToBigInt(ip);
}

function annotation(service: LoadBalancedService, names: readonly string[]): string {
  const all = service.metadata?.annotations ?? {};
  return names.map((name) => all[name]).find((value) => value !== undefined && value !== "") ?? "";
}

function list(text: string): string[] {
  return text.split(",").flatMap((part) => part.trim() || []);
}

function requestedAddresses(service: LoadBalancedService): {
  addresses: bigint[];
  problem: string | undefined;
} {
  const texts = list(annotation(service, annotations.ips));
  const { loadBalancerIP = "" } = service.spec ?? {};
  if (loadBalancerIP !== "") texts.unshift(loadBalancerIP);
  const wrong = texts.find((text) => parse(text) === undefined);
  const problem = wrong === undefined ? undefined : `the requested "${wrong}" is not an address`;
  return { addresses: [...new Set(texts.flatMap((text) => parse(text) ?? []))], problem };
}

function sharingOf(service: LoadBalancedService): Sharing {
  const { ports = [], externalTrafficPolicy, selector = {} } = service.spec ?? {};
  const local = externalTrafficPolicy === "Local";
  const pods = Object.entries(selector).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    key: annotation(service, annotations.sharingKey),
    namespaces: new Set(list(annotation(service, annotations.crossNamespace))),
    ports: new Set(ports.map(({ port, protocol = "TCP" }) => `${port}/${protocol}`)),
    local,
    pods: local ? JSON.stringify(pods) : "",
  };
}

/** Whether two Services may have the same address. */
export function mayShare(a: AddressRequest, b: AddressRequest): boolean {
  if (a.sharing.key === "" || a.sharing.key !== b.sharing.key) return false;
  if (a.namespace !== b.namespace && !(admits(a, b.namespace) && admits(b, a.namespace))) return false;
  if (a.sharing.local !== b.sharing.local) return false;
  // With Local, the nodes that answer are those of the pods: both must have the same.
  if (a.sharing.local && (a.namespace !== b.namespace || a.sharing.pods !== b.sharing.pods)) return false;
  for (const port of a.sharing.ports) if (b.sharing.ports.has(port)) return false;
  return true;
}

/** Whether two states of a Service are the same to those who share with it. */
export function sameSharing({ sharing: a }: AddressRequest, { sharing: b }: AddressRequest): boolean {
  const same = (one: ReadonlySet<string>, other: ReadonlySet<string>): boolean =>
    one.size === other.size && [...one].every((each) => other.has(each));
  const plain = a.key === b.key && a.local === b.local && a.pods === b.pods;
  return plain && same(a.namespaces, b.namespaces) && same(a.ports, b.ports);
}

function admits({ sharing }: AddressRequest, namespace: string): boolean {
  return sharing.namespaces.has("*") || sharing.namespaces.has(namespace);
}
