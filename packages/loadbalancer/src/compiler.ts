import { ipCompare, ipKey, isV4 } from "@axoneme/base";
import {
  type EndpointSliceObject,
  type ParsedEndpoint,
  type ParsedService,
  type ParsedSlice,
  parseService,
  parseSlice,
  type ServiceObject,
  type ServicePort,
  serviceNameLabel,
} from "./objects.ts";
import { BackendRegistry } from "./registry.ts";
import {
  type BackendRow,
  type ExistingRows,
  type FrontendKey,
  type LbChange,
  ServiceFlag,
  type ServiceRow,
} from "./rows.ts";

/** A frontend as it stands in the maps. */
interface FrontendState {
  readonly key: FrontendKey;
  readonly portName: string;
  row: ServiceRow;
  backendIds: readonly number[];
}

interface ServiceState {
  service: ParsedService | undefined;
  readonly slices: Map<string, ParsedSlice>;
  readonly frontends: Map<string, FrontendState>;
}

/** One frontend for people: `axon service list`, flows. */
export interface FrontendView {
  readonly namespace: string;
  readonly name: string;
  readonly portName: string;
  readonly key: FrontendKey;
  readonly row: ServiceRow;
  readonly backends: readonly BackendRow[];
}

/**
 * Keeps the rows of all Services and says, for each event, which rows change and in which order: backends and slots
 * first, then the row that makes them visible, then what the old row needed.
 */
export class ServiceCompiler {
  readonly #services = new Map<string, ServiceState>();
  readonly #backends = new BackendRegistry();
  /** Rows found at start that no Service has claimed yet, by frontend. */
  readonly #unclaimed = new Map<string, FrontendState>();
  /** Which Service a frontend belongs to: two Services cannot have one address and port. */
  readonly #owners = new Map<string, string>();
  #nextFrontendId = 1;
  #nextSlotsId = 1;

  /** Takes over what an earlier agent left in the maps, ids included. Call before the first event. */
  restore(rows: ExistingRows): void {
    for (const { id, row } of rows.backends) this.#backends.restore(id, row);
    const slots = new Map<number, number[]>();
    for (const { slotsId, slot, backendId } of rows.slots) {
      const list = slots.get(slotsId) ?? [];
      list[slot] = backendId;
      slots.set(slotsId, list);
      this.#nextSlotsId = Math.max(this.#nextSlotsId, slotsId + 1);
    }
    for (const { id } of rows.frontends) this.#nextFrontendId = Math.max(this.#nextFrontendId, id + 1);
    for (const { key, row } of rows.services) {
      this.#nextFrontendId = Math.max(this.#nextFrontendId, row.frontendId + 1);
      this.#nextSlotsId = Math.max(this.#nextSlotsId, row.slotsId + 1);
      const backendIds = (slots.get(row.slotsId) ?? []).slice(0, row.count);
      this.#unclaimed.set(frontendText(key), { key, portName: "", row, backendIds });
    }
  }

  /** A Service was added or changed. */
  upsertService(object: ServiceObject): LbChange[] {
    const name = nameOf(object.metadata);
    const state = this.#state(name);
    state.service = parseService(object);
    return this.#compile(name, state);
  }

  /** A Service was deleted. Its slices may outlive it. */
  deleteService(namespace: string, name: string): LbChange[] {
    const full = `${namespace}/${name}`;
    const state = this.#services.get(full);
    if (!state) return [];
    state.service = undefined;
    return this.#compile(full, state);
  }

  /** A slice was added or changed. A slice that names no Service is nobody's. */
  upsertSlice(object: EndpointSliceObject): LbChange[] {
    const owner = object.metadata?.labels?.[serviceNameLabel];
    if (!owner) return [];
    const name = `${object.metadata?.namespace ?? ""}/${owner}`;
    const state = this.#state(name);
    state.slices.set(object.metadata?.name ?? "", parseSlice(object));
    return this.#compile(name, state);
  }

  /** A slice was deleted. */
  deleteSlice(object: EndpointSliceObject): LbChange[] {
    const owner = object.metadata?.labels?.[serviceNameLabel];
    const name = `${object.metadata?.namespace ?? ""}/${owner ?? ""}`;
    const state = this.#services.get(name);
    if (!state?.slices.delete(object.metadata?.name ?? "")) return [];
    return this.#compile(name, state);
  }

  /** Removes restored rows that no Service claimed. Call once everything was listed. */
  prune(): LbChange[] {
    const changes: LbChange[] = [];
    for (const state of this.#unclaimed.values()) this.#drop(state, [], changes);
    this.#unclaimed.clear();
    this.#backends.prune(changes);
    return changes;
  }

  /** All frontends, sorted by Service, address and port. */
  *views(): Generator<FrontendView> {
    for (const full of [...this.#services.keys()].sort()) {
      const [namespace = "", name = ""] = full.split("/");
      const frontends = [...(this.#services.get(full)?.frontends.values() ?? [])];
      for (const { key, portName, row, backendIds } of frontends.sort((a, b) => compareKeys(a.key, b.key))) {
        const backends = backendIds.flatMap((id) => this.#backends.row(id) ?? []);
        yield { namespace, name, portName, key, row, backends };
      }
    }
  }

  /** The Service whose frontend is dialled; any protocol when `proto` is 0. */
  serviceAt(key: FrontendKey): { namespace: string; name: string } | undefined {
    const protos = key.proto === 0 ? [6, 17, 132] : [key.proto];
    for (const proto of protos) {
      const owner = this.#owners.get(frontendText({ ...key, proto }));
      if (owner === undefined) continue;
      const [namespace = "", name = ""] = owner.split("/");
      return { namespace, name };
    }
    return undefined;
  }

  /** Number of Services with at least one frontend. */
  get size(): number {
    let count = 0;
    for (const { frontends } of this.#services.values()) if (frontends.size > 0) count++;
    return count;
  }

  #state(name: string): ServiceState {
    let state = this.#services.get(name);
    if (!state) {
      state = { service: undefined, slices: new Map(), frontends: new Map() };
      this.#services.set(name, state);
    }
    return state;
  }

  #compile(name: string, state: ServiceState): LbChange[] {
    const changes: LbChange[] = [];
    const wanted = state.service ? wantedFrontends(state.service) : [];
    const kept = new Set<string>();
    for (const { key, port } of wanted) {
      const text = frontendText(key);
      const owner = this.#owners.get(text);
      if (owner !== undefined && owner !== name) continue;
      kept.add(text);
      this.#owners.set(text, name);
      this.#update(state, text, key, port, changes);
    }
    for (const [text, frontend] of state.frontends) {
      if (kept.has(text)) continue;
      state.frontends.delete(text);
      this.#owners.delete(text);
      this.#drop(frontend, frontend.backendIds, changes);
    }
    if (!state.service && state.slices.size === 0) this.#services.delete(name);
    return changes;
  }

  #update(state: ServiceState, text: string, key: FrontendKey, port: ServicePort, changes: LbChange[]): void {
    const service = state.service;
    if (!service) return;
    const rows = backendsOf(service, state.slices.values(), isV4(key.addr), port);
    const claimed = state.frontends.get(text);
    const before = claimed ?? this.#unclaimed.get(text);
    this.#unclaimed.delete(text);
    const ids = rows.map((row) => this.#backends.acquire(row, changes));
    const flags = ServiceFlag.clusterIp | (service.affinityTimeoutS > 0 ? ServiceFlag.affinity : 0);
    const same = before !== undefined && sameList(before.backendIds, ids);
    const slotsId = same ? before.row.slotsId : this.#nextSlotsId++;
    const frontendId = before?.row.frontendId ?? this.#nextFrontendId++;
    const row = { frontendId, slotsId, count: ids.length, affinityTimeoutS: service.affinityTimeoutS, flags };
    if (!same)
      for (const [slot, backendId] of ids.entries())
        changes.push({ op: "put-slot", slotsId, slot, backendId });
    if (!before) changes.push({ op: "put-frontend", id: frontendId, key });
    if (!before || !sameRow(before.row, row)) changes.push({ op: "put-service", key, row });
    if (before && !same)
      changes.push({ op: "delete-slots", slotsId: before.row.slotsId, count: before.row.count });
    if (claimed) for (const id of claimed.backendIds) this.#backends.release(id, changes);
    state.frontends.set(text, { key, portName: port.name, row, backendIds: ids });
  }

  #drop(frontend: FrontendState, held: readonly number[], changes: LbChange[]): void {
    const { key, row } = frontend;
    changes.push({ op: "delete-service", key });
    changes.push({ op: "delete-frontend", id: row.frontendId });
    changes.push({ op: "delete-slots", slotsId: row.slotsId, count: row.count });
    for (const id of held) this.#backends.release(id, changes);
  }
}

function wantedFrontends(service: ParsedService): { key: FrontendKey; port: ServicePort }[] {
  return service.clusterIps.flatMap((addr) =>
    service.ports.map((port) => ({ key: { addr, port: port.port, proto: port.proto, scope: 0 }, port })),
  );
}

/** The usable backends of a port in one family: ready ones, or, when there is none, terminating ones that still serve. */
function backendsOf(
  service: ParsedService,
  slices: Iterable<ParsedSlice>,
  v4: boolean,
  port: ServicePort,
): BackendRow[] {
  const found = new Map<string, { endpoint: ParsedEndpoint; row: BackendRow }>();
  for (const slice of slices) {
    const target = slice.ports.find((p) => p.name === port.name && p.proto === port.proto);
    if (!target) continue;
    for (const endpoint of slice.endpoints) {
      if (isV4(endpoint.ip) !== v4) continue;
      const row = {
        addr: endpoint.ip,
        port: target.port,
        proto: port.proto,
        state: endpoint.terminating ? 1 : 0,
      };
      found.set(`${ipKey(endpoint.ip)}|${target.port}`, { endpoint, row });
    }
  }
  const all = [...found.values()].sort(
    (a, b) => ipCompare(a.row.addr, b.row.addr) || a.row.port - b.row.port,
  );
  const ready = all.filter(
    ({ endpoint }) => endpoint.ready || (service.publishNotReady && !endpoint.terminating),
  );
  const usable =
    ready.length > 0 ? ready : all.filter(({ endpoint }) => endpoint.serving && endpoint.terminating);
  return usable.map(({ row }) => row);
}

function nameOf(metadata: { namespace?: string; name?: string } | undefined): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}

function frontendText({ addr, port, proto, scope }: FrontendKey): string {
  return `${ipKey(addr)}|${port}|${proto}|${scope}`;
}

function compareKeys(a: FrontendKey, b: FrontendKey): number {
  return ipCompare(a.addr, b.addr) || a.port - b.port || a.proto - b.proto;
}

function sameList(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}

function sameRow(a: ServiceRow, b: ServiceRow): boolean {
  return (
    a.frontendId === b.frontendId &&
    a.slotsId === b.slotsId &&
    a.count === b.count &&
    a.affinityTimeoutS === b.affinityTimeoutS &&
    a.flags === b.flags
  );
}
