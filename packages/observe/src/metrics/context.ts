import type { FlowEndpoint } from "@axoneme/flow";
import type { ContextLabel, ContextSpec, Identifier, SideContext } from "./spec.ts";

export type Side = "source" | "destination";

/** Directions of a flow as numbers, and the value of `traffic_direction` for each. */
export const direction = { unknown: 0, ingress: 1, egress: 2 } as const;
export const directionTexts = ["unknown", "ingress", "egress"] as const;

/** What is known of one side of a flow. */
export interface PeerFacts {
  readonly endpoint: FlowEndpoint;
  readonly ip: string;
  /** DNS names of the address, as the other side has learnt them. */
  readonly names: readonly string[];
}

const joined = (namespace: string | undefined, name: string | undefined): string => {
  if (name === undefined || name === "") return "";
  return namespace === undefined || namespace === "" ? name : `${namespace}/${name}`;
};
const workloadOf = ({ endpoint }: PeerFacts): string => endpoint.workloads?.[0]?.name ?? "";

const identifierTexts: Readonly<Record<Identifier, (facts: PeerFacts) => string>> = {
  identity: ({ endpoint }) => (endpoint.labels ?? []).join(","),
  namespace: ({ endpoint }) => endpoint.namespace ?? "",
  pod: ({ endpoint }) => joined(endpoint.namespace, endpoint.pod_name),
  "pod-name": ({ endpoint }) => endpoint.pod_name ?? "",
  dns: ({ names }) => names.join(","),
  ip: ({ ip }) => ip,
  "reserved-identity": ({ endpoint }) => reservedLabel(endpoint.labels ?? []),
  workload: (facts) => joined(facts.endpoint.namespace, workloadOf(facts)),
  "workload-name": workloadOf,
  app: ({ endpoint }) => appOf(endpoint.labels ?? []),
};

/** `reserved:kube-apiserver` says more than the `reserved:remote-node` beside it. */
function reservedLabel(labels: readonly string[]): string {
  if (labels.includes("reserved:kube-apiserver")) return "reserved:kube-apiserver";
  return labels.find((label) => label.startsWith("reserved:")) ?? "";
}

function appOf(labels: readonly string[]): string {
  for (const key of ["app.kubernetes.io/name", "k8s-app", "app"]) {
    const prefix = `k8s:${key}=`;
    const label = labels.find((candidate) => candidate.startsWith(prefix));
    if (label !== undefined) return label.slice(prefix.length);
  }
  return "";
}

/** By the part of the label's name behind the side. */
const labelTexts: Readonly<Record<string, (facts: PeerFacts) => string>> = {
  ip: identifierTexts.ip,
  pod: identifierTexts["pod-name"],
  namespace: identifierTexts.namespace,
  workload: workloadOf,
  workload_kind: ({ endpoint }) => endpoint.workloads?.[0]?.kind ?? "",
  app: identifierTexts.app,
};

/** Values that end with the pod they name. */
const ofPods = new Set(["pod", "pod-name", "ip"]);

interface Text {
  readonly of: (facts: PeerFacts) => string;
  readonly ofPod: boolean;
}

/** Values of a side's labels, and the pod (`namespace/name`) that they end with. */
export interface SideValues {
  readonly texts: readonly string[];
  readonly pod: string | undefined;
}

/** The labels that a metric has about one side of a flow. */
export class SideLabels {
  /** Names of the labels, in the order of the values. */
  readonly names: readonly string[];
  /** Whether values differ by direction. */
  readonly directed: boolean;
  /** Whether values depend on the address itself, or on its names. */
  readonly needsIp: boolean;
  readonly needsNames: boolean;
  readonly #labels: readonly Text[];
  readonly #byDirection: readonly (readonly Text[] | undefined)[];

  constructor(side: Side, spec: ContextSpec) {
    const own = spec.labels.filter((label) => label.startsWith(`${side}_`));
    const { any, egress, ingress }: SideContext = spec[side];
    const lists = [any, ingress ?? any, egress ?? any];
    const used = new Set<string>(lists.flatMap((list) => list ?? []));
    this.names = [...own, ...(used.size > 0 ? [side] : [])];
    this.directed = egress !== undefined || ingress !== undefined;
    this.needsIp = used.has("ip") || own.includes(`${side}_ip`);
    this.needsNames = used.has("dns");
    this.#labels = own.map((label) => labelText(label, side));
    this.#byDirection = used.size === 0 ? [] : lists.map((list) => (list ?? []).map(identifierText));
  }

  valuesOf(facts: PeerFacts, directionOf: number): SideValues {
    const texts: string[] = [];
    let ofPod = false;
    for (const text of this.#labels) {
      texts.push(text.of(facts));
      ofPod ||= text.ofPod;
    }
    const list = this.#byDirection[directionOf];
    if (list !== undefined) {
      const found = list.find((text) => text.of(facts) !== "");
      texts.push(found?.of(facts) ?? "");
      ofPod ||= found?.ofPod === true;
    }
    const { endpoint } = facts;
    const pod = ofPod ? joined(endpoint.namespace, endpoint.pod_name) : "";
    return { texts, pod: pod === "" ? undefined : pod };
  }
}

function identifierText(identifier: Identifier): Text {
  return { of: identifierTexts[identifier], ofPod: ofPods.has(identifier) };
}

function labelText(label: ContextLabel, side: Side): Text {
  const key = label.slice(side.length + 1);
  return { of: labelTexts[key] ?? (() => ""), ofPod: ofPods.has(key) };
}
