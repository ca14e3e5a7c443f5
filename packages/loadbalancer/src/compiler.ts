import { ChangeSet } from "./changes.ts";
import type { Desired, DesiredUnit, NodeContext } from "./desired.ts";
import { type Explanation, explainFrontend, type FrontendQuery } from "./explain.ts";
import { FrontendTable } from "./frontends.ts";
import { compileHostPorts } from "./hostports.ts";
import { IdCounter } from "./ids.ts";
import { ListStore } from "./lists.ts";
import { checkMaglevSize } from "./maglev.ts";
import {
  type EndpointSliceObject,
  type HostPort,
  type LocalPod,
  type LocalRedirectPolicyObject,
  objectKey,
  type ServiceObject,
  serviceOf,
} from "./objects.ts";
import { type Owner, type OwnerKind, ownerOf, ownerText, type Problem, ProblemBook } from "./problems.ts";
import { type RedirectEffect, RedirectTable } from "./redirects.ts";
import { type ExistingRows, type FrontendKey, frontendText, type LbChange } from "./rows.ts";
import { compileService } from "./service.ts";
import { defaultSettings, type LoadBalancerSettings } from "./settings.ts";
import type { SlotList } from "./slotlist.ts";
import { type TrimmedSlice, trimSlice } from "./trim.ts";
import { Unit } from "./unit.ts";
import {
  type FrontendView,
  frontendViews,
  type HealthCheckView,
  type MaglevView,
  maglevViews,
} from "./views.ts";

/** Slots there may be: 16 Mi of 32 bytes. */
const defaultMaxSlots = 1 << 24;

export interface ServiceCompilerOptions {
  /** This node; without a name every endpoint counts as local, without a zone zone hints are ignored. */
  readonly node?: { readonly name?: string | undefined; readonly zone?: string | undefined };
  /** The cluster's defaults, where they differ from `defaultSettings`. */
  readonly settings?: Partial<LoadBalancerSettings>;
  /** Slots there may be at all. */
  readonly maxSlots?: number;
  /** Source of randomness in [0, 1); tests pin it. */
  readonly random?: () => number;
}

/** Sizes for people and metrics. */
export interface CompilerStats {
  readonly services: number;
  readonly frontends: number;
  readonly backends: number;
  readonly slotsUsed: number;
  readonly slotsQuarantined: number;
  readonly slotsNeeded: number;
}

/**
 * Services, EndpointSlices, hostPorts and local redirect policies to the rows of the datapath, in proportion to
 * each change: an event compiles the objects it concerns, and only what differs is written. A changed list of
 * backends gets a fresh range of slots, so that one write of the service row flips all at once; what it named
 * before goes afterwards. Ids are stable while their object lives and never used again. No I/O, no clock.
 */
export class ServiceCompiler {
  readonly #random: () => number;
  readonly #settings: LoadBalancerSettings;
  #node: NodeContext;
  readonly #services = new Map<string, ServiceObject>();
  /** Slices by Service, each list sorted by name: what comes out does not depend on the order of events. */
  readonly #slices = new Map<string, TrimmedSlice[]>();
  readonly #sliceService = new Map<string, string>();
  readonly #hostPorts = new Map<string, readonly HostPort[]>();
  readonly #redirects = new RedirectTable();
  /** Services whose endpoints have hints. */
  readonly #hinted = new Set<string>();
  readonly #healthChecks = new Map<string, { port: number; localEndpoints: number }>();
  /** What each owner has in the maps. */
  readonly #units = new Map<string, readonly Unit[]>();
  readonly #problems = new ProblemBook();
  readonly #lists: ListStore;
  readonly #frontends: FrontendTable;
  readonly #dirty = new Map<string, Owner>();
  readonly #touched = new Set<Unit>();
  /** Units of the maps at start, and those of them nobody has taken over. */
  readonly #restored = new Set<Unit>();
  readonly #unclaimed = new Map<number, Unit>();
  readonly #serviceIds = new IdCounter();
  readonly #backendIds = new IdCounter();
  #batching = false;

  constructor(options: ServiceCompilerOptions = {}) {
    this.#random = options.random ?? Math.random;
    this.#settings = { ...defaultSettings, ...options.settings };
    checkMaglevSize(this.#settings.maglevTableSize);
    this.#node = { name: options.node?.name, zone: options.node?.zone };
    this.#lists = new ListStore(this.#settings, options.maxSlots ?? defaultMaxSlots);
    this.#frontends = new FrontendTable(this.#lists, this.#problems);
  }

  /** Runs several events and commits once: for lists of many objects. */
  batch(run: () => void): LbChange[] {
    this.#batching = true;
    try {
      run();
    } finally {
      this.#batching = false;
    }
    return this.#commit();
  }

  /** What is known of this node changed: Services that look at it are compiled again. */
  setNode(node: { readonly name?: string | undefined; readonly zone?: string | undefined }): LbChange[] {
    const before = this.#node;
    this.#node = { name: node.name, zone: node.zone };
    const renamed = before.name !== node.name;
    if (renamed) for (const key of this.#services.keys()) this.#mark("Service", key);
    else if (before.zone !== node.zone) for (const key of this.#hinted) this.#mark("Service", key);
    return this.#commit();
  }

  /** A Service was added or changed. It is kept: give what `trimService` leaves. */
  upsertService(service: ServiceObject): LbChange[] {
    this.#services.set(objectKey(service), service);
    return this.#changed("Service", objectKey(service));
  }

  /** A Service was deleted. Its slices may outlive it. */
  deleteService(namespace: string, name: string): LbChange[] {
    const key = `${namespace}/${name}`;
    return this.#services.delete(key) ? this.#changed("Service", key) : this.#commit();
  }

  /** A slice was added or changed. A slice that names no Service is nobody's. */
  upsertSlice(object: EndpointSliceObject): LbChange[] {
    const slice = trimSlice(object);
    const key = objectKey(slice);
    const service = serviceOf(slice);
    if (this.#sliceService.get(key) !== service) this.#removeSlice(key);
    if (service === undefined) return this.#commit();
    const slices = this.#slices.get(service);
    if (slices === undefined) this.#slices.set(service, [slice]);
    else putSlice(slices, slice);
    this.#sliceService.set(key, service);
    return this.#changed("Service", service);
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
    const rest = (this.#slices.get(service) ?? []).filter((slice) => objectKey(slice) !== key);
    if (rest.length === 0) this.#slices.delete(service);
    else this.#slices.set(service, rest);
    this.#mark("Service", service);
  }

  /** States the hostPorts of a pod of this node (`namespace/name`) that runs; none = it has none any more. */
  upsertHostPorts(pod: string, ports: readonly HostPort[]): LbChange[] {
    if (ports.length === 0 && !this.#hostPorts.has(pod)) return this.#commit();
    if (ports.length === 0) this.#hostPorts.delete(pod);
    else this.#hostPorts.set(pod, ports);
    return this.#changed("Pod", pod);
  }

  /** A CiliumLocalRedirectPolicy was added or changed. */
  upsertRedirect(policy: LocalRedirectPolicyObject): LbChange[] {
    return this.#redirected(this.#redirects.upsertPolicy(policy));
  }

  /** A CiliumLocalRedirectPolicy was deleted. */
  deleteRedirect(namespace: string, name: string): LbChange[] {
    const key = `${namespace}/${name}`;
    this.#mark("CiliumLocalRedirectPolicy", key);
    return this.#redirected(this.#redirects.deletePolicy(key));
  }

  /** A pod of this node was added or changed: policies may choose it. */
  upsertLocalPod(pod: LocalPod): LbChange[] {
    return this.#redirected(this.#redirects.upsertPod(pod));
  }

  /** A pod of this node is gone. */
  deleteLocalPod(namespace: string, name: string): LbChange[] {
    return this.#redirected(this.#redirects.deletePod(namespace, name));
  }

  #redirected({ policies, services }: RedirectEffect): LbChange[] {
    for (const key of policies) this.#mark("CiliumLocalRedirectPolicy", key);
    for (const key of services) this.#mark("Service", key);
    return this.#commit();
  }

  /**
   * Takes over what the maps hold, before anything else: ids go on, and a service that is still the same costs
   * no write. Rows nobody claims stay until `prune`. New ids go on from a number far away: connections may
   * remember ids whose rows went before the restart, and these must not come again.
   */
  restore(rows: ExistingRows): void {
    const serviceRows = rows.services.map(({ row }) => row);
    const lists = this.#lists.restore(serviceRows, rows);
    for (const { key, row } of rows.services) {
      this.#restoredUnit(row.serviceId);
      const list = row.slots > 0 ? lists.get(row.slotsOff) : undefined;
      this.#frontends.restore(key, row, list ?? this.#lists.empty);
    }
    for (const { id, row } of rows.backends) {
      this.#restoredUnit(row.serviceId).restoreBackend(id, row);
      this.#backendIds.restore(id);
    }
    for (const { serviceId, prefix } of rows.ranges) this.#restoredUnit(serviceId).restoreRange(prefix);
    for (const { serviceId, client } of rows.skips) this.#restoredUnit(serviceId).restoreSkip(client);
    this.#serviceIds.jump(this.#random());
    this.#backendIds.jump(this.#random());
  }

  #restoredUnit(id: number): Unit {
    const known = this.#unclaimed.get(id);
    if (known !== undefined) return known;
    const unit = new Unit(id);
    unit.restored = true;
    this.#unclaimed.set(id, unit);
    this.#restored.add(unit);
    this.#serviceIds.restore(id);
    return unit;
  }

  /**
   * All sources have synced: restored rows come to what is wanted now, and those nobody claimed go. Until then a
   * restored row is left as it is: its Service may be known already, and its slices not yet.
   */
  prune(): LbChange[] {
    this.#frontends.settleOrphans();
    for (const unit of this.#unclaimed.values()) unit.abandon();
    this.#unclaimed.clear();
    for (const unit of this.#restored) {
      unit.restored = false;
      this.#touched.add(unit);
    }
    this.#restored.clear();
    return this.#commit();
  }

  /**
   * Lets freed slots be used again a second after they were freed; call it about once a second. `nowMs` is any
   * clock that only goes forward. The writes are those of Services that had found no room.
   */
  reclaim(nowMs: number): LbChange[] {
    if (!this.#lists.allocator.reclaim(nowMs)) return [];
    for (const text of this.#frontends.starved) {
      const owner = this.#units.get(text)?.[0]?.owner;
      if (owner !== undefined) this.#dirty.set(text, owner);
    }
    return this.#commit();
  }

  /** `ax_slots` must have this many rows before the changes handed out so far are written. */
  get slotsNeeded(): number {
    return this.#lists.allocator.slotsNeeded;
  }

  #changed(kind: OwnerKind, key: string): LbChange[] {
    this.#mark(kind, key);
    return this.#commit();
  }

  #mark(kind: OwnerKind, key: string): void {
    const owner = this.#units.get(ownerText(kind, key))?.[0]?.owner ?? ownerOf(kind, key);
    this.#dirty.set(owner.text, owner);
  }

  /** The writes that bring the maps to what is known now, in order. */
  #commit(): LbChange[] {
    if (this.#batching) return [];
    const changes = new ChangeSet();
    for (const owner of this.#dirty.values()) this.#compile(owner, changes);
    this.#dirty.clear();
    this.#frontends.settle(changes);
    for (const unit of this.#touched) if (!unit.restored) unit.dropUnwanted(changes);
    this.#touched.clear();
    return changes.ordered();
  }

  #compile(owner: Owner, changes: ChangeSet): void {
    const desired = this.#desiredOf(owner);
    if (this.#frontends.starved.delete(owner.text)) this.#problems.set(owner, "slots", []);
    this.#problems.set(owner, "compile", desired.findings);
    const before = this.#units.get(owner.text) ?? [];
    const units: Unit[] = [];
    for (const wanted of desired.units) {
      if (units.some(({ key }) => key === wanted.key)) continue;
      const unit = before.find(({ key }) => key === wanted.key) ?? this.#newUnit(wanted);
      unit.owner = owner;
      unit.sync(wanted, this.#backendIds, changes);
      this.#claim(owner, unit, wanted);
      this.#touched.add(unit);
      units.push(unit);
    }
    for (const unit of before) if (!units.includes(unit)) this.#giveUp(unit);
    if (units.length === 0) this.#units.delete(owner.text);
    else this.#units.set(owner.text, units);
  }

  #desiredOf({ kind, namespace, name }: Owner): Desired {
    const key = `${namespace}/${name}`;
    if (kind === "Pod") return compileHostPorts(this.#hostPorts.get(key) ?? [], this.#settings);
    if (kind === "CiliumLocalRedirectPolicy") {
      const desired = this.#redirects.compile(key);
      return this.#settings.kinds.has("LocalRedirect") ? desired : { ...desired, units: [] };
    }
    const service = compileService(this.#services.get(key), {
      slices: this.#slices.get(key) ?? [],
      node: this.#node,
      settings: this.#settings,
      redirect: (port, onlyPort) => this.#redirects.redirectOf(key, port, onlyPort),
    });
    if (service.hinted) this.#hinted.add(key);
    else this.#hinted.delete(key);
    if (service.healthCheck !== undefined) this.#healthChecks.set(key, service.healthCheck);
    else this.#healthChecks.delete(key);
    return service;
  }

  /** After a restart a unit is known by any of its frontends. */
  #newUnit({ frontends }: DesiredUnit): Unit {
    if (this.#unclaimed.size > 0) {
      for (const { key } of frontends) {
        const record = this.#frontends.get(frontendText(key));
        const unit = record?.orphan === true ? this.#unclaimed.get(record.row?.serviceId ?? 0) : undefined;
        if (unit === undefined) continue;
        this.#unclaimed.delete(unit.id);
        return unit;
      }
    }
    return new Unit(this.#serviceIds.next());
  }

  #claim(owner: Owner, unit: Unit, wanted: DesiredUnit): void {
    const texts = wanted.frontends.map(({ key }) => frontendText(key));
    const restored = unit.restored
      ? texts.flatMap((text) => this.#frontends.get(text)?.list ?? []).filter(({ content }) => content)
      : [];
    const lists: SlotList[] = [];
    const entries = unit.entriesFor(wanted.frontends.map(({ list }) => list.backends));
    for (const [i, { key, flags, algorithm, forwarding, list }] of wanted.frontends.entries()) {
      const known = [...lists, ...unit.lists];
      const slots = this.#lists.listOf(entries[i] ?? [], algorithm, known, restored, unit);
      if (!lists.includes(slots)) lists.push(slots);
      const { locality } = list;
      this.#frontends.claim(texts[i] ?? "", key, {
        owner,
        unit,
        flags,
        algorithm,
        forwarding,
        locality,
        list: slots,
      });
    }
    const kept = new Set(texts);
    for (const text of unit.frontends) if (!kept.has(text)) this.#frontends.withdraw(text, unit);
    unit.frontends = texts;
    unit.lists = lists;
  }

  #giveUp(unit: Unit): void {
    for (const text of unit.frontends) this.#frontends.withdraw(text, unit);
    unit.abandon();
    // Its rows stay until all has synced, and so its object may come and take it up again.
    if (unit.restored) this.#unclaimed.set(unit.id, unit);
    this.#touched.add(unit);
  }

  /** The object behind a Service id; a look at all of them, for when something went wrong. */
  ownerOf(serviceId: number): Owner | undefined {
    for (const units of this.#units.values()) {
      for (const { id, owner } of units) if (id === serviceId) return owner;
    }
    return undefined;
  }

  /** All frontends, or those of the objects that are wanted, sorted by object, address and port. */
  views(wanted?: (owner: Owner) => boolean): FrontendView[] {
    return frontendViews(this.#frontends.records(), wanted);
  }

  /** The Maglev tables of a Service, one for each list of backends. */
  maglevOf(namespace: string, name: string): MaglevView[] {
    const units = this.#units.get(ownerText("Service", `${namespace}/${name}`)) ?? [];
    return maglevViews(units, this.#lists);
  }

  /** Which row a client finds under a key, what it chooses from and why. */
  explain(query: FrontendQuery): Explanation {
    return explainFrontend(this.#frontends, query);
  }

  /** Ready endpoints of this node, for each Service with a healthCheckNodePort. */
  healthChecks(): HealthCheckView[] {
    return [...this.#healthChecks].map(([key, { port, localEndpoints }]) => {
      const { namespace, name } = ownerOf("Service", key);
      return { namespace, name, port, localEndpoints };
    });
  }

  /** All that could not be programmed, or not as it says. */
  problems(): Problem[] {
    return this.#problems.all();
  }

  /** The problems of one object. */
  problemsOf(kind: OwnerKind, namespace: string, name: string): Problem[] {
    return this.#problems.of(ownerText(kind, `${namespace}/${name}`));
  }

  /** Objects whose problems changed since the last call, with what they have now: for events. */
  drainProblems(): { owner: Owner; problems: Problem[] }[] {
    return this.#problems.drain();
  }

  /** The Service whose frontend is dialled; any protocol when `proto` is 0. */
  serviceAt(key: FrontendKey): { namespace: string; name: string } | undefined {
    for (const proto of key.proto === 0 ? [6, 17, 132] : [key.proto]) {
      const owner = this.#frontends.get(frontendText({ ...key, proto }))?.holder?.owner;
      if (owner?.kind === "Service") return { namespace: owner.namespace, name: owner.name };
    }
    return undefined;
  }

  /** Number of Services with at least one frontend. */
  get size(): number {
    let count = 0;
    for (const text of this.#units.keys()) if (text.startsWith("Service ")) count++;
    return count;
  }

  stats(): CompilerStats {
    let backends = 0;
    for (const units of this.#units.values()) for (const unit of units) backends += unit.entries.length;
    const { used, quarantined, slotsNeeded } = this.#lists.allocator;
    return {
      services: this.size,
      frontends: this.#frontends.size,
      backends,
      slotsUsed: used,
      slotsQuarantined: quarantined,
      slotsNeeded,
    };
  }
}

/** Puts a slice in its place by name, over its former state. */
function putSlice(slices: TrimmedSlice[], slice: TrimmedSlice): void {
  const name = slice.metadata?.name ?? "";
  const at = slices.findIndex((other) => (other.metadata?.name ?? "") >= name);
  if (at < 0) slices.push(slice);
  else slices.splice(at, slices[at]?.metadata?.name === name ? 1 : 0, slice);
}
