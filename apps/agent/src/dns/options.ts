import type { OptionSet } from "@axoneme/app";
import type { CacheLimits } from "@axoneme/dns";

/** The agent's options that are about DNS names, named after the field's. */
export const dnsOptions = {
  tofqdnsMinTTL: {
    default: 0,
    doc: "seconds that learned addresses count at least, whatever their TTL",
    unit: "s",
    liveness: "restart",
    min: 0,
    max: 604_800,
  },
  tofqdnsEndpointMaxIpPerHostname: {
    default: 1000,
    doc: "addresses of one name that one pod may use; the one that ends first gives way",
    liveness: "restart",
    min: 1,
    max: 65_536,
  },
  tofqdnsEndpointMaxIps: {
    default: 10_000,
    doc: "addresses that one pod has learned in all, those kept for their connections included; the oldest dead one gives way",
    liveness: "restart",
    min: 16,
    max: 1_000_000,
  },
  tofqdnsIdleConnectionGracePeriod: {
    default: 5,
    doc: "seconds an address stays after its TTL though no connection uses it",
    unit: "s",
    liveness: "restart",
    min: 0,
    max: 86_400,
  },
  tofqdnsDNSRejectResponseCode: {
    default: "refused",
    doc: "what a pod hears about a name it may not ask for",
    liveness: "restart",
    oneOf: ["refused", "nameError"] as const,
  },
  tofqdnsProxyResponseMaxDelay: {
    default: 100,
    doc: "milliseconds an answer waits at most until its addresses are allowed",
    unit: "ms",
    liveness: "restart",
    min: 1,
    max: 10_000,
  },
} as const satisfies OptionSet;

/** The part of the configuration that the cache needs. */
export interface CacheConfig {
  readonly tofqdnsMinTTL: number;
  readonly tofqdnsEndpointMaxIpPerHostname: number;
  readonly tofqdnsEndpointMaxIps: number;
  readonly tofqdnsIdleConnectionGracePeriod: number;
}

/** The limits that a configuration asks for. */
export function cacheLimits(config: CacheConfig): CacheLimits {
  return {
    perName: config.tofqdnsEndpointMaxIpPerHostname,
    perEndpoint: config.tofqdnsEndpointMaxIps,
    minTtlMs: config.tofqdnsMinTTL * 1000,
    graceMs: config.tofqdnsIdleConnectionGracePeriod * 1000,
  };
}
