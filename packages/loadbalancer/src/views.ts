import { type Ip, ipCompare, type Prefix } from "@axoneme/base";
import { isMarker } from "./addresses.ts";
import type { FrontendRecord } from "./frontends.ts";
import type { ListStore } from "./lists.ts";
import { protocolText } from "./objects.ts";
import type { Owner, OwnerKind } from "./problems.ts";
import { Algorithm, type BackendRow, type FrontendKey, Scope, ServiceFlag, type ServiceRow } from "./rows.ts";
import type { FrontendKind } from "./settings.ts";
import type { Entry, Unit } from "./unit.ts";

/** A backend for people. */
export interface BackendView extends BackendRow {
  readonly id: number;
  readonly node: string | undefined;
  readonly zone: string | undefined;
  readonly weight: number;
}

/** One frontend for people: `axon service list`, flows. */
export interface FrontendView {
  readonly owner: OwnerKind;
  readonly namespace: string;
  readonly name: string;
  readonly portName: string;
  readonly type: FrontendKind;
  readonly key: FrontendKey;
  readonly row: ServiceRow;
  /** Those new connections go to, by address. */
  readonly backends: readonly BackendView[];
  /** Those of the port that are kept for the connections they have, or that other frontends choose from. */
  readonly others: readonly BackendView[];
  /** Why just these. */
  readonly locality: string;
  readonly ranges: readonly Prefix[];
}

/** healthCheckNodePort of a Service. */
export interface HealthCheckView {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
  readonly localEndpoints: number;
}

/** A Maglev table for people. */
export interface MaglevView {
  /** As in `80/TCP`. */
  readonly port: string;
  readonly size: number;
  /** First of its slots in `ax_slots`; undefined = not written. */
  readonly offset: number | undefined;
  readonly backends: readonly { readonly backend: BackendView; readonly slots: number }[];
  /** Backend ids by entry. */
  readonly table: readonly number[];
}

/** Kind of a frontend by its flags. */
export function kindOf(flags: number): FrontendKind {
  if (flags & ServiceFlag.localRedirect) return "LocalRedirect";
  if (flags & ServiceFlag.clusterIp) return "ClusterIP";
  if (flags & ServiceFlag.nodePort) return "NodePort";
  if (flags & ServiceFlag.loadBalancer) return "LoadBalancer";
  return flags & ServiceFlag.externalIp ? "ExternalIP" : "HostPort";
}

/** A backend for people. */
export function backendView(unit: Unit, entry: Entry): BackendView {
  const { id, node, zone, weight } = entry;
  return { ...unit.rowOf(entry), id, node, zone, weight };
}

/** All frontends that are in the maps, sorted by object, address and port. */
export function frontendViews(
  records: Iterable<FrontendRecord>,
  wanted: (owner: Owner) => boolean = () => true,
): FrontendView[] {
  const views: FrontendView[] = [];
  for (const record of records) {
    if (record.holder !== undefined && !wanted(record.holder.owner)) continue;
    const view = frontendView(record);
    if (view !== undefined) views.push(view);
  }
  return views.sort(compareViews);
}

/** One frontend; undefined when nobody has it or it is not in the maps. */
export function frontendView({ key, row, holder, list }: FrontendRecord): FrontendView | undefined {
  if (holder === undefined || row === undefined || list === undefined || isMarker(key)) return undefined;
  const { owner, unit } = holder;
  const chosen = new Set(list.ids);
  const backends: BackendView[] = [];
  const others: BackendView[] = [];
  for (const entry of unit.entries) (chosen.has(entry.id) ? backends : others).push(backendView(unit, entry));
  return {
    owner: owner.kind,
    namespace: owner.namespace,
    name: owner.name,
    portName: unit.portName,
    type: kindOf(row.flags),
    key,
    row,
    backends: backends.sort(compareBackends),
    others: others.sort(compareBackends),
    locality: holder.locality.text,
    ranges: row.flags & ServiceFlag.sourceRanges ? unit.ranges : [],
  };
}

/** The Maglev tables of an object's ports. */
export function maglevViews(units: readonly Unit[], lists: ListStore): MaglevView[] {
  return units.flatMap((unit) =>
    unit.lists
      .filter(({ algorithm, size }) => algorithm === Algorithm.maglev && size > 0)
      .map((list) => {
        const table = Array.from(lists.tableOf(list, unit) ?? [], (index) => list.ids[index] ?? 0);
        const counts = new Map<number, number>();
        for (const id of table) counts.set(id, (counts.get(id) ?? 0) + 1);
        return {
          port: `${unit.port}/${protocolText(unit.proto)}`,
          size: list.size,
          offset: list.offset < 0 ? undefined : list.offset,
          backends: unit
            .entriesOf(list.ids)
            .map((entry) => ({ backend: backendView(unit, entry), slots: counts.get(entry.id) ?? 0 })),
          table,
        };
      }),
  );
}

/** For people: what a scope is for. */
export function scopeText(scope: number): string {
  if (scope === Scope.internal) return "internal";
  return scope === Scope.original ? "original" : "external";
}

type Socket = { readonly addr: Ip; readonly port: number };

function compareBackends(a: Socket, b: Socket): number {
  return ipCompare(a.addr, b.addr) || a.port - b.port;
}

function compareViews(a: FrontendView, b: FrontendView): number {
  if (a.namespace !== b.namespace) return a.namespace < b.namespace ? -1 : 1;
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return compareBackends(a.key, b.key) || a.key.proto - b.key.proto || a.key.scope - b.key.scope;
}
