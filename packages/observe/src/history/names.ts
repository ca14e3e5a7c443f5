import { toHex } from "@axoneme/base";
import type { FlowResolver } from "@axoneme/flow";

/** What was asked about a record, as text: the key under which a segment keeps the answer. */
export type NameKey = string;

type Questions = Required<Omit<FlowResolver, "nodeName" | "nodeLabels">>;

/** The keys of all questions that a resolver answers. */
export const nameKey: { readonly [K in keyof Questions]: (...args: Parameters<Questions[K]>) => NameKey } = {
  endpointById: (id, identity) => `e${id}.${identity}`,
  byIp: (ip, identity) => `a${toHex(ip)}.${identity}`,
  identityById: (identity) => `i${identity}`,
  serviceByAddr: (ip, port, proto) => `s${toHex(ip)}.${port}.${proto}`,
  ruleById: (rule) => `r${rule}`,
  interfaceName: (ifindex) => `d${ifindex}`,
  layer7: (number) => `l${number}`,
  namesOf: (ip, endpoint) => `n${toHex(ip)}.${endpoint}`,
  processById: (id) => `p${id}`,
};

/**
 * A resolver that passes questions on and shows every answer to `note`; or, as `ask` wants it, answers them itself.
 */
export function resolverOf(
  nodeName: string,
  ask: <K extends keyof Questions>(name: K, args: Parameters<Questions[K]>) => ReturnType<Questions[K]>,
): Required<Omit<FlowResolver, "nodeLabels">> {
  return {
    nodeName,
    endpointById: (...args) => ask("endpointById", args),
    byIp: (...args) => ask("byIp", args),
    identityById: (...args) => ask("identityById", args),
    serviceByAddr: (...args) => ask("serviceByAddr", args),
    ruleById: (...args) => ask("ruleById", args),
    interfaceName: (...args) => ask("interfaceName", args),
    layer7: (...args) => ask("layer7", args),
    namesOf: (...args) => ask("namesOf", args),
    processById: (...args) => ask("processById", args),
  };
}

/** Whether two answers are the same; cheap when they share what is large. */
export function sameAnswer(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a))
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => sameAnswer(item, b[i]));
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => sameAnswer(left[key], right[key]));
}
