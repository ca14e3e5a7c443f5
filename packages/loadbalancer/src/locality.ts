import type { DesiredBackend, DesiredList, Locality, NodeContext } from "./desired.ts";

const locality = (text: string, localOnly: boolean, topology: boolean): Locality => ({
  text,
  localOnly,
  topology,
});

/** Every reason a list can have. */
const reasons = {
  all: locality("all ready endpoints", false, false),
  zone: locality("ready endpoints hinted for this node's zone", false, true),
  node: locality("ready endpoints hinted for this node", false, true),
  noZone: locality("all ready endpoints; zone hints ignored: this node has no zone", false, false),
  notForZone: locality("all ready endpoints; zone hints ignored: none is for this node's zone", false, false),
  someHints: locality("all ready endpoints; hints ignored: not every endpoint has one", false, false),
  draining: locality("no ready endpoint: those that still serve while terminating", false, false),
  local: locality("policy Local: ready endpoints of this node", true, false),
  localDraining: locality(
    "policy Local: no ready endpoint on this node, those that still serve while terminating",
    true,
    false,
  ),
  none: locality("no endpoint is usable", false, false),
  noneLocal: locality("policy Local: no endpoint of this node is usable", true, false),
} as const;

/** The reason of lists that are not chosen by policies of locality. */
export const localityOf = {
  hostPort: locality("the pod that has the host port", false, false),
  redirect: locality("local redirect policy: ready pods of this node", false, false),
  marker: locality("an address of Services: no port of theirs", false, false),
} as const;

const isUsable = (backend: DesiredBackend): boolean => backend.ready && backend.weight > 0;
const isDraining = (backend: DesiredBackend): boolean =>
  !backend.ready && backend.serving && backend.terminating && backend.weight > 0;

/** Endpoints under policy Local: the ready ones of this node, else those of it that drain (KEP-1669). */
export function localList(backends: readonly DesiredBackend[]): DesiredList {
  const here = backends.filter(({ local }) => local);
  const ready = here.filter(isUsable);
  if (ready.length > 0) return { backends: ready, locality: reasons.local };
  const draining = here.filter(isDraining);
  if (draining.length > 0) return { backends: draining, locality: reasons.localDraining };
  return { backends: [], locality: reasons.noneLocal };
}

/** Endpoints under policy Cluster, narrowed by hints as kube-proxy does; without a ready one those that drain. */
export function clusterList(
  backends: readonly DesiredBackend[],
  node: NodeContext,
  topology: boolean,
): DesiredList {
  const ready = backends.filter(isUsable);
  if (ready.length > 0)
    return topology ? hintedList(ready, node) : { backends: ready, locality: reasons.all };
  const draining = backends.filter(isDraining);
  return { backends: draining, locality: draining.length > 0 ? reasons.draining : reasons.none };
}

/** Hints count only when every ready endpoint has one and one of them is for us; those for nodes go first. */
function hintedList(ready: readonly DesiredBackend[], node: NodeContext): DesiredList {
  let nodeHints = 0;
  let zoneHints = 0;
  for (const { hints } of ready) {
    if (hints === undefined) continue;
    if ((hints.forNodes?.length ?? 0) > 0) nodeHints++;
    if ((hints.forZones?.length ?? 0) > 0) zoneHints++;
  }
  if (nodeHints + zoneHints === 0) return { backends: ready, locality: reasons.all };
  if (nodeHints === ready.length && node.name !== undefined) {
    const here = ready.filter(({ hints }) => hints?.forNodes?.some(({ name }) => name === node.name));
    if (here.length > 0) return { backends: here, locality: reasons.node };
  }
  if (zoneHints < ready.length) return { backends: ready, locality: reasons.someHints };
  if (node.zone === undefined || node.zone === "") return { backends: ready, locality: reasons.noZone };
  const near = ready.filter(({ hints }) => hints?.forZones?.some(({ name }) => name === node.zone));
  if (near.length > 0) return { backends: near, locality: reasons.zone };
  return { backends: ready, locality: reasons.notForZone };
}
