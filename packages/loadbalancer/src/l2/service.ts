import { type Ip, tryParseIp } from "@axoneme/base";
import { type LabelLookup, serviceLabels } from "../labelselector.ts";

/** The parts of a Service that matter here. */
export interface L2ServiceObject {
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec?: {
    readonly type?: string;
    readonly loadBalancerClass?: string;
    readonly externalTrafficPolicy?: string;
    readonly externalIPs?: readonly string[];
  };
  readonly status?: {
    readonly loadBalancer?: {
      readonly ingress?: readonly { readonly ip?: string; readonly ipMode?: string }[];
    };
  };
}

/** A Service as announcements see it. */
export interface L2Service {
  /** namespace/name. */
  readonly key: string;
  readonly labels: LabelLookup;
  readonly loadBalancerIPs: readonly Ip[];
  readonly externalIPs: readonly Ip[];
}

/** The class of load balancers that are announced; those without a class are too. */
const ourClass = "io.cilium/l2-announcer";

/**
 * Reads a Service. With externalTrafficPolicy Local the node that answers may have no pod of it, so it has no
 * addresses to announce; nor has one of another load balancer class. Addresses of mode Proxy are a proxy's.
 */
export function l2Service({ metadata = {}, spec = {}, status = {} }: L2ServiceObject): L2Service {
  const { namespace = "", name = "", labels = {} } = metadata;
  const { loadBalancerClass = ourClass, externalIPs = [] } = spec;
  const announced = spec.externalTrafficPolicy !== "Local" && loadBalancerClass === ourClass;
  const ingress = spec.type === "LoadBalancer" ? (status.loadBalancer?.ingress ?? []) : [];
  const direct = ingress.filter(({ ipMode }) => ipMode !== "Proxy").map(({ ip = "" }) => ip);
  return {
    key: `${namespace}/${name}`,
    labels: serviceLabels(namespace, name, labels),
    loadBalancerIPs: announced ? parsed(direct) : [],
    externalIPs: announced ? parsed(externalIPs) : [],
  };
}

function parsed(texts: readonly string[]): Ip[] {
  return texts.flatMap((text) => tryParseIp(text) ?? []);
}
