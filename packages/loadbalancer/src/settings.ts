import { Algorithm, Forwarding } from "./rows.ts";

/** Kinds of frontends; in partial mode only some of them are compiled. */
export const frontendKinds = [
  "ClusterIP",
  "NodePort",
  "LoadBalancer",
  "ExternalIP",
  "HostPort",
  "LocalRedirect",
] as const;

/** A kind of frontend. */
export type FrontendKind = (typeof frontendKinds)[number];

/** The cluster's defaults. */
export interface LoadBalancerSettings {
  /** For frontends that are served from outside; a Service's annotation decides for all of its frontends. */
  readonly algorithm: "random" | "maglev";
  /** `hybrid`: DSR for TCP, SNAT for the rest. */
  readonly forwarding: "snat" | "dsr" | "hybrid";
  /** Largest Maglev table; one of `maglevSizes`. */
  readonly maglevTableSize: number;
  /** Seed of the Maglev hashes: the same on all nodes of a cluster. */
  readonly maglevSeed: number;
  /** Kinds that are compiled at all. */
  readonly kinds: ReadonlySet<FrontendKind>;
  /** Whether hints of EndpointSlices narrow the choice to this zone or node. */
  readonly topology: boolean;
}

/** What holds where nothing else is said. */
export const defaultSettings: LoadBalancerSettings = {
  algorithm: "random",
  forwarding: "snat",
  maglevTableSize: 16_381,
  maglevSeed: 0x61786e6d,
  kinds: new Set(frontendKinds),
  topology: true,
};

/** The annotations a Service may carry. */
export const serviceAnnotations = {
  algorithm: "service.cilium.io/lb-algorithm",
  forwarding: "service.cilium.io/forwarding-mode",
  type: "service.cilium.io/type",
  sourceRanges: "service.beta.kubernetes.io/load-balancer-source-ranges",
} as const;

/** The choices that hold for one Service. */
export interface ServiceChoices {
  /** `Algorithm` by annotation; undefined = the cluster's default. */
  readonly algorithm: number | undefined;
  readonly forwarding: "snat" | "dsr" | "hybrid";
  readonly kinds: ReadonlySet<FrontendKind>;
}

/** Reads a Service's annotations. What cannot be read goes to `report`, and the cluster's default holds. */
export function choicesOf(
  annotations: Readonly<Record<string, string>> | undefined,
  settings: LoadBalancerSettings,
  report: (reason: string) => void,
): ServiceChoices {
  const algorithm = oneOf(annotations, serviceAnnotations.algorithm, ["random", "maglev"] as const, report);
  const forwarding = oneOf(annotations, serviceAnnotations.forwarding, ["snat", "dsr"] as const, report);
  return {
    algorithm: algorithm && Algorithm[algorithm],
    forwarding: forwarding ?? settings.forwarding,
    kinds: kindsOf(annotations?.[serviceAnnotations.type], settings.kinds, report),
  };
}

function oneOf<T extends string>(
  annotations: Readonly<Record<string, string>> | undefined,
  name: string,
  values: readonly T[],
  report: (reason: string) => void,
): T | undefined {
  const text = annotations?.[name];
  if (text === undefined) return undefined;
  const value = values.find((candidate) => candidate === text.trim().toLowerCase());
  if (value === undefined) report(`annotation ${name}: "${text}" is none of ${values.join(", ")}`);
  return value;
}

function kindsOf(
  text: string | undefined,
  served: ReadonlySet<FrontendKind>,
  report: (reason: string) => void,
): ReadonlySet<FrontendKind> {
  if (text === undefined) return served;
  const kinds = new Set<FrontendKind>();
  for (const word of text.split(",").map((part) => part.trim())) {
    const name = word.toLowerCase() === "externalips" ? "externalip" : word.toLowerCase();
    const kind = frontendKinds.find((candidate) => candidate.toLowerCase() === name);
    if (kind === undefined)
      report(
        `annotation ${serviceAnnotations.type}: "${word}" is no kind of frontend (${frontendKinds.join(", ")})`,
      );
    else kinds.add(kind);
  }
  return kinds.size === 0 ? served : new Set([...kinds].filter((kind) => served.has(kind)));
}

/** `Forwarding` of a protocol. */
export function forwardingOf(mode: ServiceChoices["forwarding"], proto: number): number {
  if (mode === "hybrid") return proto === 6 ? Forwarding.dsr : Forwarding.snat;
  return Forwarding[mode];
}
