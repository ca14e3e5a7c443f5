import type { CiliumEndpointSlice, CoreCiliumEndpoint } from "./crds/endpointslice.ts";

/**
 * Name of an empty slice that says: every CiliumEndpoint is in a slice, and somebody sees to it that it stays so. Readers
 * of the field find nothing in it.
 */
export const completeSlice = "axoneme-complete";

/** An endpoint as a slice has it, its labels as lines; undefined: whoever wrote the slice does not say. */
export interface SliceMember {
  readonly core: Omit<CoreCiliumEndpoint, "axoneme-labels">;
  readonly labels: readonly string[] | undefined;
}

/** The lists of a slice with these endpoints: each label line once, however many of them have it. */
export function packSlice(
  members: Iterable<SliceMember>,
): Required<Pick<CiliumEndpointSlice, "endpoints" | "axoneme-labels">> {
  const places = new Map<string, number>();
  const placeOf = (line: string): number => {
    const place = places.get(line) ?? places.size;
    places.set(line, place);
    return place;
  };
  const endpoints = [...members].map(({ core, labels }) =>
    labels === undefined ? { ...core } : { ...core, "axoneme-labels": labels.map(placeOf) },
  );
  return { endpoints, "axoneme-labels": [...places.keys()] };
}

/** The endpoints of a slice. Labels that point nowhere count as not said: half of them would be another pod's. */
export function unpackSlice(slice: CiliumEndpointSlice): SliceMember[] {
  const lines = slice["axoneme-labels"] ?? [];
  return (slice.endpoints ?? []).map(({ "axoneme-labels": places, ...core }) => {
    const labels = places?.flatMap((place) => lines[place] ?? []);
    return { core, labels: labels?.length === places?.length ? labels : undefined };
  });
}
