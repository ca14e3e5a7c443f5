import type { PodClaim } from "@axoneme/identity";
import type { RemoteEndpointDeps } from "../src/remote-endpoints.ts";

/** Pods go by what they were published with, as where every identity says all there is to say. */
export function asPublished(): RemoteEndpointDeps["podIdentities"] {
  const numbers = new Map<string, number>();
  return {
    set: (_kind, key: string, { published }: PodClaim) => {
      numbers.set(key, published);
      return published;
    },
    delete: (_kind, key) => void numbers.delete(key),
    numberOf: (_kind, key) => numbers.get(key),
    onMove: () => undefined,
  };
}
