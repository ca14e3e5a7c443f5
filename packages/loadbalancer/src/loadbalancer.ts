import { type Ip, ipKey } from "@axoneme/base";
import { BackendTable } from "./backends.ts";
import { compileService, type DesiredFrontend, type DesiredService, type NodeContext } from "./compile.ts";
import { type EndpointSliceLike, objectKey, type ServiceLike, serviceOf } from "./objects.ts";
import {
  type BackendRow,
  type LbChange,
  type LbRows,
  type ServiceKey,
  type ServiceRow,
  sameService,
  serviceKey,
} from "./rows.ts";

export interface LoadBalancerOptions {
  /** This node's name, for traffic policy Local. */
  nodeName?: string;
  /** Addresses on which NodePorts are served (default none: no NodePort rows). */
  nodeAddresses?: readonly Ip[];
}

/** A list of slots in the maps or about to be. */
interface SlotList {
  slotsId: number;
  backendIds: readonly number[];
  written: boolean;
  /** Service rows in the maps that name it. */
  users: number;
}

/** A service's wish for a frontend. */
interface Claim {
  service: string;
  frontend: DesiredFrontend;
  list: SlotList;
}

/** A row of `ax_services` in the maps. */
interface Written {
  key: ServiceKey;
  row: ServiceRow;
  list: SlotList;
  /** Found in the maps at start, and nobody has claimed it so far. */
  orphan: boolean;
}

interface ServiceState {
  lists: Map<string, SlotList>;
  frontendKeys: Set<string>;
}

/** One frontend for `axon service list`. */
export interface FrontendView {
  /** `namespace/name`. */
  service: string;
  portName: string;
  frontendId: number;
  key: ServiceKey;
  flags: number;
  backends: { id: number; row: BackendRow }[];
}

/**
 * Services and EndpointSlices to the rows of the datapath, in proportion to each change. A changed list of
 * backends gets a fresh `slots_id`, so that one write of the service row flips all at once; what it named
 * before goes afterwards. Ids are stable while their object lives and not used again.
 */
export class LoadBalancer {
  #node: NodeContext;
  readonly #services = new Map<string, ServiceLike>();
  /** Slices by service, by slice. */
  readonly #slices = new Map<string, Map<string, EndpointSliceLike>>();
  readonly #sliceService = new Map<string, string>();
  readonly #states = new Map<string, ServiceState>();
  readonly #claims = new Map<string, Map<string, Claim>>();
  readonly #written = new Map<string, Written>();
  readonly #frontendIds = new Map<string, number>();
  readonly #frontendServices = new Map<number, string>();
  readonly #backends = new BackendTable();
  readonly #dirty = new Set<string>();
  #nextSlotsId = 1;
  #nextFrontendId = 1;
  #orphanLists: SlotList[] = [];
  #orphanFrontends = new Set<number>();
  #pruneWanted = false;

  constructor(options: LoadBalancerOptions = {}) {
    this.#node = { nodeName: options.nodeName ?? "", nodeAddresses: options.nodeAddresses ?? [] };
  }

  /** Changes the node's addresses; every service with a NodePort is compiled again. */
  setNodeAddresses(addresses: readonly Ip[]): void {
    if (addresses.map(ipKey).join() === this.#node.nodeAddresses.map(ipKey).join()) return;
    this.#node = { ...this.#node, nodeAddresses: addresses };
    for (const [key, { spec }] of this.#services) {
      if (spec?.ports?.some((port) => (port.nodePort ?? 0) > 0)) this.#dirty.add(key);
    }
  }

  upsertService(service: ServiceLike): void {
    this.#services.set(objectKey(service), service);
    this.#dirty.add(objectKey(service));
  }

  deleteService(namespace: string, name: string): void {
    if (this.#services.delete(`${namespace}/${name}`)) this.#dirty.add(`${namespace}/${name}`);
  }

  upsertEndpointSlice(slice: EndpointSliceLike): void {
    const key = objectKey(slice);
    const service = serviceOf(slice);
    if (this.#sliceService.get(key) !== service) this.#removeSlice(key);
    if (service === undefined) return;
    const slices = this.#slices.get(service) ?? new Map<string, EndpointSliceLike>();
    this.#slices.set(service, slices.set(key, slice));
    this.#sliceService.set(key, service);
    this.#dirty.add(service);
  }

  deleteEndpointSlice(namespace: string, name: string): void {
    this.#removeSlice(`${namespace}/${name}`);
  }

  #removeSlice(key: string): void {
    const service = this.#sliceService.get(key);
    if (service === undefined) return;
    this.#sliceService.delete(key);
    const slices = this.#slices.get(service);
    slices?.delete(key);
    if (slices?.size === 0) this.#slices.delete(service);
    this.#dirty.add(service);
  }

  /**
   * Takes over what the maps hold, before anything else: ids go on, and a service that is still the same costs
   * no write. Rows nobody claims stay until `prune`.
   */
  restore(rows: LbRows): void {
    const lists = new Map<number, number[]>();
    for (const { slotsId, slot, backendId } of rows.slots) {
      const list = lists.get(slotsId) ?? [];
      list[slot] = backendId;
      lists.set(slotsId, list);
    }
    const byId = new Map<number, SlotList>();
    for (const [slotsId, backendIds] of lists) {
      byId.set(slotsId, { slotsId, backendIds, written: true, users: 0 });
      this.#nextSlotsId = Math.max(this.#nextSlotsId, slotsId + 1);
    }
    this.#backends.restore(rows.backends);
    for (const { id } of rows.frontends) {
      this.#orphanFrontends.add(id);
      this.#nextFrontendId = Math.max(this.#nextFrontendId, id + 1);
    }
    for (const { key, row } of rows.services) {
      const list = byId.get(row.slotsId) ?? emptyList();
      list.users++;
      this.#written.set(serviceKey(key), { key, row, list, orphan: true });
      this.#frontendIds.set(serviceKey(key), row.frontendId);
      this.#orphanFrontends.delete(row.frontendId);
      this.#nextFrontendId = Math.max(this.#nextFrontendId, row.frontendId + 1);
    }
    this.#orphanLists = [...byId.values()].filter((list) => list.users === 0);
  }

  /** From the next commit on, rows found at start that nobody claimed go. Call it once all sources have synced. */
  prune(): void {
    this.#pruneWanted = true;
  }

  /** The writes that bring the maps from the last commit to what is known now, in order. */
  commit(): LbChange[] {
    const before: LbChange[] = [];
    const flips: LbChange[] = [];
    const after: LbChange[] = [];
    const keys = new Set<string>();
    for (const service of this.#dirty) this.#compile(service, keys);
    this.#dirty.clear();
    if (this.#pruneWanted) for (const [text, { orphan }] of this.#written) if (orphan) keys.add(text);
    for (const text of keys) this.#settle(text, before, flips, after);
    if (this.#pruneWanted) this.#dropOrphans(after);
    this.#pruneWanted = false;
    const { puts, deletes } = this.#backends.commit();
    return [...puts, ...before, ...flips, ...after, ...deletes];
  }

  #compile(service: string, keys: Set<string>): void {
    const slices = this.#slices.get(service)?.values() ?? [];
    const desired = compileService(this.#services.get(service), slices, this.#node);
    const old = this.#states.get(service);
    this.#backends.claim(service, desired.backends);
    const lists = this.#lists(desired, old);
    const frontendKeys = new Set<string>();
    for (const frontend of desired.frontends) {
      const text = serviceKey(frontend.key);
      const list = lists.get(frontend.list.key);
      // A service that names one frontend twice (a NodePort as external IP): the first stands.
      if (list === undefined || frontendKeys.has(text)) continue;
      frontendKeys.add(text);
      const claims = this.#claims.get(text) ?? new Map<string, Claim>();
      this.#claims.set(text, claims.set(service, { service, frontend, list }));
      keys.add(text);
    }
    for (const text of old?.frontendKeys ?? []) {
      if (frontendKeys.has(text)) continue;
      this.#claims.get(text)?.delete(service);
      if (this.#claims.get(text)?.size === 0) this.#claims.delete(text);
      keys.add(text);
    }
    if (frontendKeys.size === 0) this.#states.delete(service);
    else this.#states.set(service, { lists, frontendKeys });
  }

  /** The service's lists of slots: one that did not change is kept, another gets a fresh id. */
  #lists(desired: DesiredService, old: ServiceState | undefined): Map<string, SlotList> {
    const lists = new Map<string, SlotList>();
    for (const { key, list } of desired.frontends) {
      if (lists.has(list.key)) continue;
      const backendIds = list.backends.map((backend) => this.#backends.idOf(backend));
      const known = old?.lists.get(list.key) ?? this.#written.get(serviceKey(key))?.list;
      const same = known !== undefined && known.backendIds.join() === backendIds.join();
      lists.set(list.key, same ? known : this.#newList(backendIds));
    }
    return lists;
  }

  #newList(backendIds: readonly number[]): SlotList {
    if (backendIds.length === 0) return emptyList();
    return { slotsId: this.#nextSlotsId++, backendIds, written: false, users: 0 };
  }

  /** Brings one row of `ax_services` to what the winning claim wants. */
  #settle(text: string, before: LbChange[], flips: LbChange[], after: LbChange[]): void {
    const claim = winnerOf(this.#claims.get(text));
    const old = this.#written.get(text);
    if (claim === undefined) {
      if (old !== undefined) this.#remove(text, old, after);
      return;
    }
    const { frontend, list } = claim;
    const { key, flags, affinityTimeoutS } = frontend;
    const frontendId = this.#frontendId(text, frontend, before);
    this.#frontendServices.set(frontendId, claim.service);
    const count = list.backendIds.length;
    const row: ServiceRow = {
      frontendId,
      slotsId: list.slotsId,
      count,
      affinityTimeoutS,
      flags,
      algorithm: 0,
    };
    if (old !== undefined) old.orphan = false;
    if (old !== undefined && old.list === list && sameService(old.row, row)) return;
    writeList(list, before);
    flips.push({ op: "putService", key, row });
    this.#written.set(text, { key, row, list, orphan: false });
    list.users++;
    if (old !== undefined) dropList(old.list, after);
  }

  #remove(text: string, old: Written, after: LbChange[]): void {
    after.push({ op: "deleteService", key: old.key });
    after.push({ op: "deleteFrontend", id: old.row.frontendId });
    this.#frontendIds.delete(text);
    this.#frontendServices.delete(old.row.frontendId);
    this.#written.delete(text);
    dropList(old.list, after);
  }

  #frontendId(text: string, { key }: DesiredFrontend, before: LbChange[]): number {
    const known = this.#frontendIds.get(text);
    if (known !== undefined) return known;
    const id = this.#nextFrontendId++;
    this.#frontendIds.set(text, id);
    before.push({ op: "putFrontend", id, row: { addr: key.addr, port: key.port, proto: key.proto } });
    return id;
  }

  #dropOrphans(after: LbChange[]): void {
    for (const list of this.#orphanLists) {
      list.users = 1;
      dropList(list, after);
    }
    for (const id of this.#orphanFrontends) after.push({ op: "deleteFrontend", id });
    this.#orphanLists = [];
    this.#orphanFrontends.clear();
    this.#backends.prune();
  }

  /** `namespace/name` of the service a frontend id of an event belongs to. */
  serviceOfFrontend(frontendId: number): string | undefined {
    return this.#frontendServices.get(frontendId);
  }

  /** A backend by its id. */
  backend(id: number): BackendRow | undefined {
    return this.#backends.get(id);
  }

  /** Every frontend in force. */
  *frontends(): Generator<FrontendView> {
    for (const [text, { key, row, list }] of this.#written) {
      const claim = winnerOf(this.#claims.get(text));
      if (claim === undefined) continue;
      const backends = list.backendIds.flatMap((id) => {
        const backend = this.#backends.get(id);
        return backend === undefined ? [] : [{ id, row: backend }];
      });
      const { service, frontend } = claim;
      const { frontendId, flags } = row;
      yield { service, portName: frontend.portName, frontendId, key, flags, backends };
    }
  }
}

/** Two services that want one frontend (an external IP given twice): the first by name has it. */
function winnerOf(claims: ReadonlyMap<string, Claim> | undefined): Claim | undefined {
  let first: Claim | undefined;
  for (const claim of claims?.values() ?? []) {
    if (first === undefined || claim.service < first.service) first = claim;
  }
  return first;
}

function emptyList(): SlotList {
  return { slotsId: 0, backendIds: [], written: true, users: 0 };
}

function writeList(list: SlotList, changes: LbChange[]): void {
  if (list.written) return;
  list.written = true;
  for (const [slot, backendId] of list.backendIds.entries()) {
    changes.push({ op: "putSlot", slotsId: list.slotsId, slot, backendId });
  }
}

function dropList(list: SlotList, changes: LbChange[]): void {
  if (--list.users > 0) return;
  for (const slot of list.backendIds.keys()) changes.push({ op: "deleteSlot", slotsId: list.slotsId, slot });
  // Never to be named again under this id: a list that comes back is a new one.
  list.written = false;
}
