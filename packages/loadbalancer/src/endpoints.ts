import type { DesiredBackend, NodeContext } from "./desired.ts";
import type { ServicePort, SliceEndpoint, SlicePort } from "./objects.ts";
import { type TrimmedSlice, weightAnnotation } from "./trim.ts";

/** Weight of the slice's backends; undefined when the annotation is no weight. */
function weightOf(slice: TrimmedSlice): number | undefined {
  const text = slice.metadata?.annotations?.[weightAnnotation];
  if (text === undefined) return 1;
  return /^[0-9]{1,5}$/.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;
}

/** What of the slices cannot be used, for the Service's problems. */
export function sliceFindings(slices: readonly TrimmedSlice[]): string[] {
  const found: string[] = [];
  for (const slice of slices) {
    const name = `EndpointSlice ${slice.metadata?.name ?? ""}`;
    for (const text of slice.badAddresses ?? [])
      found.push(`${name}: "${text}" is no ${slice.addressType} address`);
    if (weightOf(slice) === undefined)
      found.push(
        `${name}: annotation ${weightAnnotation}: "${slice.metadata?.annotations?.[weightAnnotation]}" is no number from 0 to 65535`,
      );
  }
  return found;
}

/**
 * The endpoints' sockets behind a Service port: ports pair up by name and protocol. An endpoint that two slices
 * list (it is moving between them) counts once, and the better of its two states holds.
 */
export function backendsOf(
  port: ServicePort,
  slices: readonly TrimmedSlice[],
  node: NodeContext,
  publishNotReady: boolean,
): DesiredBackend[] {
  const found: DesiredBackend[] = [];
  for (const slice of slices) {
    const targets = targetsOf(port, slice.ports ?? []);
    if (targets.length === 0) continue;
    const weight = weightOf(slice) ?? 1;
    const v4 = slice.addressType === "IPv4";
    for (const target of targets)
      for (const endpoint of slice.endpoints)
        found.push(toBackend(endpoint, target, v4, weight, node, publishNotReady));
  }
  return hasDuplicates(found) ? merge(found) : found;
}

function targetsOf(port: ServicePort, ports: readonly SlicePort[]): number[] {
  const name = port.name ?? "";
  const protocol = port.protocol ?? "TCP";
  const targets: number[] = [];
  for (const candidate of ports) {
    if ((candidate.name ?? "") !== name || (candidate.protocol ?? "TCP") !== protocol) continue;
    if ((candidate.port ?? 0) > 0) targets.push(candidate.port ?? 0);
  }
  return targets;
}

function toBackend(
  { addresses, conditions, nodeName, zone, hints }: SliceEndpoint,
  port: number,
  v4: boolean,
  weight: number,
  node: NodeContext,
  publishNotReady: boolean,
): DesiredBackend {
  // Absent conditions mean ready; absent serving follows ready (API doc of EndpointConditions).
  const ready = conditions?.ready ?? true;
  const terminating = conditions?.terminating ?? false;
  return {
    address: addresses?.[0] ?? "",
    v4,
    port,
    ready: ready || (publishNotReady && !terminating),
    serving: conditions?.serving ?? ready,
    terminating,
    local: node.name === undefined || nodeName === node.name,
    node: nodeName,
    zone,
    hints,
    weight,
  };
}

const keyOf = ({ address, port }: DesiredBackend): string => `${address} ${port}`;

/** Lists up to this length are compared pair by pair: cheaper than an index, and most lists are short. */
const shortList = 8;

function hasDuplicates(backends: readonly DesiredBackend[]): boolean {
  if (backends.length > shortList) return new Set(backends.map(keyOf)).size < backends.length;
  return backends.some(({ address, port }, i) =>
    backends.slice(i + 1).some((other) => other.address === address && other.port === port),
  );
}

const goodness = ({ ready, serving }: DesiredBackend): number => (ready ? 2 : serving ? 1 : 0);

function merge(backends: readonly DesiredBackend[]): DesiredBackend[] {
  const byKey = new Map<string, DesiredBackend>();
  for (const backend of backends) {
    const key = keyOf(backend);
    const known = byKey.get(key);
    if (known === undefined || goodness(known) < goodness(backend)) byKey.set(key, backend);
  }
  return [...byKey.values()];
}

/** Backends of both lists, each once. */
export function mergeBackends(
  a: readonly DesiredBackend[],
  b: readonly DesiredBackend[],
): readonly DesiredBackend[] {
  return b.length === 0 ? a : merge([...a, ...b]);
}
