import { type Ip, ipCompare, ipKey } from "@axoneme/base";
import { BackendTable } from "./backends.ts";
import { compileService, type DesiredFrontend, type DesiredService, type NodeContext } from "./desired.ts";
import { type EndpointSliceObject, objectKey, type ServiceObject, serviceOf } from "./objects.ts";
import {
  type BackendRow,
  type ExistingRows,
  type FrontendKey,
  frontendText,
  type LbChange,
  type ServiceRow,
  sameRow,
} from "./rows.ts";

export interface ServiceCompilerOptions {
  /** This node's name, for traffic policy Local (default: Local means all). */
  nodeName?: string;
  /** Addresses on which NodePorts are served (default none: no NodePort rows). */
  nodeAddresses?: readonly Ip[];
  /** Source of randomness in [0, 1); tests pin it. */
  random?: () => number;
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
  key: FrontendKey;
  row: ServiceRow;
  list: SlotList;
  /** Found in the maps at start, and nobody has claimed it so far. */
  orphan: boolean;
}

interface ServiceState {
  lists: Map<string, SlotList>;
  frontendKeys: Set<string>;
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
 * Services and EndpointSlices to the rows of the datapath, in proportion to each change. A changed list of
 * backends gets a fresh `slots_id`, so that one write of the service row flips all at once; what it named
 * before goes afterwards. Ids are stable while their object lives and not used again.
 */
export class ServiceCompiler {
  readonly #random: () => number;
  #node: NodeContext;
  readonly #services = new Map<string, ServiceObject>();
  /** Slices by service, by slice. */
  readonly #slices = new Map<string, Map<string, EndpointSliceObject>>();
  readonly #sliceService = new Map<string, string>();
  readonly #states = new Map<string, ServiceState>();
  readonly #claims = new Map<string, Map<string, Claim>>();
  readonly #written = new Map<string, Written>();
  readonly #frontendIds = new Map<string, number>();
  readonly #backends = new BackendTable();
  readonly #dirty = new Set<string>();
  readonly #dirtyFrontends = new Set<string>();
  #nextSlotsId = 1;
  #nextFrontendId = 1;
  #synced = false;

  constructor(options: ServiceCompilerOptions = {}) {
    this.#random = options.random ?? Math.random;
    this.#node = { nodeName: options.nodeName, nodeAddresses: options.nodeAddresses ?? [] };
  }

  /** Changes the node's addresses; every service with a NodePort is compiled again. */
  setNodeAddresses(addresses: readonly Ip[]): LbChange[] {
    if (addresses.map(ipKey).join() === this.#node.nodeAddresses.map(ipKey).join()) return [];
    this.#node = { ...this.#node, nodeAddresses: addresses };
    for (const [key, { spec }] of this.#services) {
      if (spec?.ports?.some((port) => (port.nodePort ?? 0) > 0)) this.#dirty.add(key);
    }
    return this.#commit();
  }

  /** A Service was added or changed. */
  upsertService(service: ServiceObject): LbChange[] {
    this.#services.set(objectKey(service), service);
    this.#dirty.add(objectKey(service));
    return this.#commit();
  }

  /** A Service was deleted. Its slices may outlive it. */
  deleteService(namespace: string, name: string): LbChange[] {
    if (this.#services.delete(`${namespace}/${name}`)) this.#dirty.add(`${namespace}/${name}`);
    return this.#commit();
  }

  /** A slice was added or changed. A slice that names no Service is nobody's. */
  upsertSlice(slice: EndpointSliceObject): LbChange[] {
    const key = objectKey(slice);
    const service = serviceOf(slice);
    if (this.#sliceService.get(key) !== service) this.#removeSlice(key);
    if (service === undefined) return this.#commit();
    const slices = this.#slices.get(service) ?? new Map<string, EndpointSliceObject>();
    this.#slices.set(service, slices.set(key, slice));
    this.#sliceService.set(key, service);
    this.#dirty.add(service);
    return this.#commit();
  }

  /** A slice was deleted. */
  deleteSlice(slice: EndpointSliceObject): LbChange[] {
    this.#removeSlice(objectKey(slice));
    return this.#commit();
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
   * no write. Rows nobody claims stay until `prune`. New ids go on from a number far away: connections may
   * remember ids whose rows went before the restart, and these must not come again.
   */
  restore(rows: ExistingRows): void {
    const lists = new Map<number, number[]>();
    for (const { row } of rows.services) {
      if (row.slots > 0)
        lists.set(row.slotsOff, [...rows.slots.subarray(row.slotsOff, row.slotsOff + row.slots)]);
    }
    const byId = new Map<number, SlotList>();
    for (const [slotsId, backendIds] of lists) {
      byId.set(slotsId, { slotsId, backendIds, written: true, users: 0 });
      this.#nextSlotsId = Math.max(this.#nextSlotsId, slotsId + backendIds.length);
    }
    this.#backends.restore(rows.backends);
    for (const { key, row } of rows.services) {
      const list = byId.get(row.slotsOff) ?? emptyList();
      list.users++;
      this.#written.set(frontendText(key), { key, row, list, orphan: true });
      this.#frontendIds.set(frontendText(key), row.serviceId);
      this.#nextFrontendId = Math.max(this.#nextFrontendId, row.serviceId + 1);
    }
    if (this.#nextFrontendId === 1 && this.#nextSlotsId === 1) return;
    const far = Math.floor(this.#random() * 2 ** 31);
    this.#nextFrontendId = Math.max(this.#nextFrontendId, far);
    this.#backends.startAt(far);
  }

  /**
   * All sources have synced: restored rows come to what is wanted now, and those nobody claimed go. Until then a
   * restored row is left as it is: its Service may be known already, and its slices not yet.
   */
  prune(): LbChange[] {
    this.#synced = true;
    for (const [text, { orphan }] of this.#written) if (orphan) this.#dirtyFrontends.add(text);
    this.#backends.prune();
    return this.#commit();
  }

  /** The writes that bring the maps to what is known now, in order. */
  #commit(): LbChange[] {
    const before: LbChange[] = [];
    const flips: LbChange[] = [];
    const after: LbChange[] = [];
    for (const service of this.#dirty) this.#compile(service);
    this.#dirty.clear();
    for (const text of this.#dirtyFrontends) this.#settle(text, before, flips, after);
    this.#dirtyFrontends.clear();
    const { puts, deletes } = this.#backends.commit();
    return [...puts, ...before, ...flips, ...after, ...deletes];
  }

  #compile(service: string): void {
    const slices = this.#slices.get(service)?.values() ?? [];
    const desired = compileService(this.#services.get(service), slices, this.#node);
    const old = this.#states.get(service);
    this.#backends.claim(service, desired.backends);
    const lists = this.#lists(desired, old);
    const frontendKeys = new Set<string>();
    for (const frontend of desired.frontends) {
      const text = frontendText(frontend.key);
      const list = lists.get(frontend.list.key);
      // A service that names one frontend twice (a NodePort as external IP): the first stands.
      if (list === undefined || frontendKeys.has(text)) continue;
      frontendKeys.add(text);
      const claims = this.#claims.get(text) ?? new Map<string, Claim>();
      this.#claims.set(text, claims.set(service, { service, frontend, list }));
      this.#dirtyFrontends.add(text);
    }
    for (const text of old?.frontendKeys ?? []) {
      if (frontendKeys.has(text)) continue;
      this.#claims.get(text)?.delete(service);
      if (this.#claims.get(text)?.size === 0) this.#claims.delete(text);
      this.#dirtyFrontends.add(text);
    }
    if (frontendKeys.size === 0) this.#states.delete(service);
    else this.#states.set(service, { lists, frontendKeys });
  }

  /** The service's lists of slots: one that did not change is kept, another gets a fresh id. */
  #lists(desired: DesiredService, old: ServiceState | undefined): Map<string, SlotList> {
    const lists = new Map<string, SlotList>();
    for (const { key, list } of desired.frontends) {
      const made = lists.get(list.key);
      if (made?.written || (made !== undefined && old !== undefined)) continue;
      const backendIds = list.backends.map((backend) => this.#backends.idOf(backend));
      // After a restart the list may be known by any of its frontends.
      const known = [old?.lists.get(list.key), this.#written.get(frontendText(key))?.list];
      const same = known.find((candidate) => candidate?.backendIds.join() === backendIds.join());
      lists.set(list.key, same ?? made ?? this.#newList(backendIds));
    }
    return lists;
  }

  #newList(backendIds: readonly number[]): SlotList {
    if (backendIds.length === 0) return emptyList();
    const slotsId = this.#nextSlotsId;
    this.#nextSlotsId += backendIds.length;
    return { slotsId, backendIds, written: false, users: 0 };
  }

  /** Brings one row of `ax_services` to what the winning claim wants. */
  #settle(text: string, before: LbChange[], flips: LbChange[], after: LbChange[]): void {
    const claim = winnerOf(this.#claims.get(text));
    const old = this.#written.get(text);
    if (old?.orphan && !this.#synced) return;
    if (claim === undefined) {
      if (old !== undefined) this.#remove(text, old, after);
      return;
    }
    const { frontend, list } = claim;
    const { key, flags, affinityTimeoutS } = frontend;
    const frontendId = this.#frontendId(text);
    const count = list.backendIds.length;
    const row: ServiceRow = {
      serviceId: frontendId,
      slotsOff: list.slotsId,
      slots: count,
      count,
      affinityTimeoutS,
      flags,
      algorithm: 0,
      forwarding: 0,
    };
    if (old !== undefined) old.orphan = false; // claimed
    if (old !== undefined && sameRow(old.row, row)) return;
    writeList(list, before);
    flips.push({ op: "put-service", key, row });
    this.#written.set(text, { key, row, list, orphan: false });
    list.users++;
  }

  #remove(text: string, old: Written, after: LbChange[]): void {
    after.push({ op: "delete-service", key: old.key });
    this.#frontendIds.delete(text);
    this.#written.delete(text);
  }

  #frontendId(text: string): number {
    const known = this.#frontendIds.get(text);
    if (known !== undefined) return known;
    const id = this.#nextFrontendId++;
    this.#frontendIds.set(text, id);
    return id;
  }

  /** All frontends, sorted by Service, address and port. */
  *views(): Generator<FrontendView> {
    const views: FrontendView[] = [];
    for (const [text, { key, row, list }] of this.#written) {
      const claim = winnerOf(this.#claims.get(text));
      if (claim === undefined) continue;
      const [namespace = "", name = ""] = claim.service.split("/");
      const backends = list.backendIds.flatMap((id) => this.#backends.get(id) ?? []);
      views.push({ namespace, name, portName: claim.frontend.portName, key, row, backends });
    }
    yield* views.sort(compareViews);
  }

  /** The Service whose frontend is dialled; any protocol when `proto` is 0. */
  serviceAt(key: FrontendKey): { namespace: string; name: string } | undefined {
    for (const proto of key.proto === 0 ? [6, 17, 132] : [key.proto]) {
      const claim = winnerOf(this.#claims.get(frontendText({ ...key, proto })));
      if (claim === undefined) continue;
      const [namespace = "", name = ""] = claim.service.split("/");
      return { namespace, name };
    }
    return undefined;
  }

  /** Number of Services with at least one frontend. */
  get size(): number {
    return this.#states.size;
  }
}

function compareViews(a: FrontendView, b: FrontendView): number {
  const [left, right] = [`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`];
  if (left !== right) return left < right ? -1 : 1;
  return ipCompare(a.key.addr, b.key.addr) || a.key.port - b.key.port || a.key.proto - b.key.proto;
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
  changes.push({ op: "put-slots", offset: list.slotsId, backendIds: list.backendIds });
}
