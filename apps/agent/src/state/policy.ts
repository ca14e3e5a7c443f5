import { backoff, errorText, type Logger, type Prefix } from "@axoneme/base";
import {
  applyPolicyChanges,
  type Kernel,
  lockPolicy,
  type PolicyTables,
  prunePolicy,
} from "@axoneme/datapath";
import { type Ipcache, type Labels, type LocalIdentities, reserved, reservedLabels } from "@axoneme/identity";
import type { KubeObject, ListWatchHandlers } from "@axoneme/kube";
import {
  type CidrGroup,
  type CidrMatch,
  type ParseContext,
  type Policy,
  type PolicyChange,
  type PolicyCommit,
  type PolicyEngine,
  type PolicyRow,
  type PolicyRowKey,
  type PolicyService,
  parseCiliumPolicy,
  parseNetworkPolicy,
  parseTierPolicy,
  peerKeys,
  policyKey,
} from "@axoneme/policy";
import { noNames, type PolicyNames, type Redirects } from "../dns/policy-names.ts";
import type { NamedPort } from "../endpoint/pods.ts";
import { containerPorts, type PeerPortClaim } from "./container-ports.ts";
import type { IpcacheWriter } from "./ipcache.ts";
import { NamedKeys } from "./named-keys.ts";
import { AddressPlaces } from "./places.ts";
import type { PolicyRoom } from "./policy-room.ts";
import { NamedPrefixes, type PrefixTables } from "./prefixes.ts";

/** A row of a policy with its key. */
export interface RowOfPolicy {
  readonly key: PolicyRowKey;
  readonly row: PolicyRow;
}

/** A policy object and what became of it. */
export interface KnownPolicy {
  readonly policy: Policy;
  readonly object: KubeObject;
}

/** What the policy module works with. */
export interface PolicyDeps {
  readonly engine: PolicyEngine;
  readonly kernel: Pick<Kernel, "changed"> & { readonly maps: PolicyTables & PrefixTables };
  readonly localIdentities: LocalIdentities;
  readonly ipcache: Ipcache;
  readonly ipcacheWriter: Pick<IpcacheWriter, "flush" | "places">;
  /** DNS names in policies; default none. */
  readonly names?: PolicyNames;
  /** Whether rows find room before they are written; default always. */
  readonly room?: PolicyRoom;
  readonly cluster: string;
  /** Whom rules on prefixes match by address; default everybody. */
  readonly cidrMatch?: CidrMatch;
  readonly log: Logger;
}

type Parse = (object: KubeObject) => Policy;

/** A policy that found no room, and how many rows were in use then. */
interface Refused {
  readonly policy: Policy;
  readonly why: string;
  readonly used: number;
}

/**
 * Policies from the API to the kernel. Until `open` is called everything is only taken in: rows an earlier agent left
 * stay in force until all policies and identities are known; then one commit brings the kernel up to date.
 */
export class PolicyModule {
  readonly #deps: PolicyDeps;
  readonly #names: PolicyNames;
  readonly #known = new Map<string, KnownPolicy & { readonly parse: Parse }>();
  readonly #refused = new Map<string, Refused>();
  readonly #keys = new NamedKeys();
  readonly #inForce = new Map<string, Policy>();
  readonly #auditedNamespaces = new Set<string>();
  #open = false;
  /** Several things are being taken in that belong together: nothing is written meanwhile. */
  #held = false;
  #namesOpen = false;
  /** Between what is in force and what is to come: identities get rows, but no endpoint gets other rules. */
  #rowsOnly = false;
  readonly #retry = backoff({ baseMs: 100, maxMs: 10_000 });
  #retryTimer: NodeJS.Timeout | undefined;
  /** The last write that failed; rows are then written again as a whole. */
  problem: string | undefined;
  /** Tells the owner of endpoint rows that an endpoint falls under another policy id now. */
  onEndpoint: (endpointId: number) => void = () => undefined;
  /** Sees to policies about this node; undefined: they are in force at once. */
  hostPolicies: { takes(policy: Policy): boolean; changed(key: string): void } | undefined;
  /** Told what this node is: by it, host policies select it. */
  onHost: (labels: Readonly<Record<string, string>>, isApiServer: boolean) => void = () => undefined;
  /** A rule names Services, for the first time: they are to be told from now on. */
  onServicesNamed: () => void = () => undefined;
  /** Policies that send queries to the DNS proxy wait for one that serves; undefined: they do not. */
  redirects: Redirects | undefined;
  /** Told of a policy before it is put in force, and after it is out of force. */
  nodes: { coming(policy: Policy): void; gone(policy: Policy): void } | undefined;
  #host: { apiServer: boolean; labels: Readonly<Record<string, string>> } = { apiServer: false, labels: {} };
  #servicesNamed = false;
  /** Rules are about to tell pods apart by these label keys: every pod must go by a number that has them. */
  beforeNaming: (keys: readonly string[]) => void = () => undefined;

  /** Who is where, as rules on prefixes look at it. */
  readonly places: AddressPlaces;
  /** The prefixes that rules name. */
  readonly prefixes: NamedPrefixes;

  constructor(deps: PolicyDeps) {
    this.#deps = deps;
    this.#names = deps.names ?? noNames;
    const { cidrMatch: match = "address" } = deps;
    this.places = new AddressPlaces({ ...deps, match, commitRows: () => this.#commitRows() });
    this.prefixes = new NamedPrefixes({ ...deps, names: this.#names, places: this.places });
    deps.ipcacheWriter.places = this.places;
  }

  // ---- what the API says ----------------------------------------------------------------------------------------

  /** For a ListWatch of NetworkPolicy. */
  networkPolicies(): ListWatchHandlers<KubeObject> {
    return this.#handlers((object) => parseNetworkPolicy(object, this.#context));
  }

  /** For a ListWatch of CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy. */
  ciliumPolicies(
    kind: "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy",
  ): ListWatchHandlers<KubeObject> {
    return this.#handlers((object) => parseCiliumPolicy({ ...object, kind }, this.#context));
  }

  /** For a ListWatch of a kind of policy.networking.k8s.io. */
  tierPolicies(kind: string): ListWatchHandlers<KubeObject> {
    return this.#handlers((object) => parseTierPolicy({ ...object, kind }, this.#context));
  }

  get #context(): ParseContext {
    return {
      cluster: this.#deps.cluster,
      isAudited: (namespace) => this.#auditedNamespaces.has(namespace),
    };
  }

  #handlers(parse: Parse): ListWatchHandlers<KubeObject> {
    const upsert = (object: KubeObject) => this.#upsert(object, parse);
    return { onAdd: upsert, onUpdate: upsert, onDelete: (object) => this.#delete(parse(object)) };
  }

  /** Puts the policies of a namespace on trial, or in force again: all at once, or some would miss what others allow. */
  setNamespaceAudited(namespace: string, audited: boolean): void {
    if (this.#auditedNamespaces.has(namespace) === audited) return;
    if (audited) this.#auditedNamespaces.add(namespace);
    else this.#auditedNamespaces.delete(namespace);
    for (const [key, known] of this.#known) {
      if (known.policy.ref.namespace !== namespace) continue;
      const policy = known.parse(known.object);
      this.#known.set(key, { ...known, policy });
      this.#deps.engine.upsertPolicy(policy);
    }
    this.#commit();
  }

  #upsert(object: KubeObject, parse: Parse): void {
    const { log } = this.#deps;
    const policy = parse(object);
    this.#known.set(policyKey(policy.ref), { policy, object, parse });
    for (const problem of policy.problems) {
      log.warn({ policy: policyKey(policy.ref), ...problem }, "a part of the policy selects nothing");
    }
    this.#changed(policy);
  }

  /** Policies about this node have somebody else who sees to them. */
  #changed(policy: Policy): void {
    const key = policyKey(policy.ref);
    const isKnown = this.#known.has(key);
    if (this.hostPolicies?.takes(policy)) this.hostPolicies.changed(key);
    else if (isKnown && this.#open && this.redirects?.holds(policy)) return;
    else if (isKnown) this.enforce(policy);
    else this.withdraw(policy.ref);
  }

  /** Reads a cluster-wide policy as those of the API are read. */
  parseClusterwide(object: KubeObject): Policy {
    return parseCiliumPolicy({ ...object, kind: "CiliumClusterwideNetworkPolicy" }, this.#context);
  }

  /** Puts a policy in force. When there is no room for its rows, what was in force before stays: see `refusalOf`. */
  enforce(policy: Policy): void {
    const key = policyKey(policy.ref);
    const before = this.#inForce.get(key);
    this.#names.hold(key, policy);
    this.settleNames();
    this.#keys.replace(before, policy);
    this.#tellApart(peerKeys(policy));
    this.nodes?.coming(policy);
    this.#inForce.set(key, policy);
    this.#deps.engine.upsertPolicy(policy);
    const why = this.#refusal();
    if (why === undefined) this.#refused.delete(key);
    else this.#takeBack(policy, before, why);
    this.#commit();
    const gone = why === undefined ? before : policy;
    if (gone) this.nodes?.gone(gone);
    this.#names.keepOnly(key, this.#inForce.get(key));
    this.settleNames();
  }

  /** Takes a policy out of force. */
  withdraw(ref: Policy["ref"]): void {
    const key = policyKey(ref);
    this.redirects?.forget(key);
    const before = this.#inForce.get(key);
    this.#inForce.delete(key);
    this.#refused.delete(key);
    this.#keys.replace(before, undefined);
    this.#deps.engine.deletePolicy(ref);
    this.#commit();
    if (before) this.nodes?.gone(before);
    this.#names.keepOnly(key, undefined);
    this.settleNames();
  }

  /** Why what was taken in last finds no room. At the start it is not known yet what will be needed. */
  #refusal(): string | undefined {
    const { engine, room } = this.#deps;
    if (room === undefined || !this.#open) return undefined;
    const why = room.forPrefixes(engine.countMissing());
    if (why !== undefined) return why;
    this.#prepare();
    return room.forRows();
  }

  /** Puts a policy back to the form it had, before anything of the new one was written. */
  #takeBack(policy: Policy, before: Policy | undefined, why: string): void {
    const { engine, room, log } = this.#deps;
    const key = policyKey(policy.ref);
    if (before === undefined) {
      this.#inForce.delete(key);
      engine.deletePolicy(policy.ref);
    } else {
      this.#inForce.set(key, before);
      engine.upsertPolicy(before);
    }
    this.#keys.replace(policy, before);
    if (!this.#refused.has(key)) {
      log.error({ policy: key }, `the policy is not enforced: ${why}`);
      room?.refused(policy.ref, why);
    }
    this.#refused.set(key, { policy, why, used: room?.used ?? 0 });
  }

  /** How many policies found no room. */
  get refused(): number {
    return this.#refused.size;
  }

  /** Why a policy is not in force as it is; undefined: it is. */
  refusalOf(ref: Policy["ref"]): string | undefined {
    return this.#refused.get(policyKey(ref))?.why;
  }

  /** Tries again to enforce what found no room, policies and those of endpoints, where there is more of it now. */
  reconsider(): void {
    const used = this.#deps.room?.used ?? 0;
    for (const refused of [...this.#refused.values()]) {
      if (used < refused.used) this.enforce(refused.policy);
    }
    if (this.#deps.engine.withdrawn.length > 0) this.#commit();
  }

  /** Gives learned addresses the identities they are to have: their rows first, then the ipcache. */
  settleNames(): void {
    if (!this.#namesOpen || !this.#names.plan()) return;
    this.#apply(this.#deps.engine.commitRows());
    const { ipcacheWriter } = this.#deps;
    ipcacheWriter.flush(); // what others have changed
    ipcacheWriter.flush(this.#names.publish());
  }

  /** Identities that nobody carries any more were deleted. */
  identitiesGone(): void {
    this.#commit();
  }

  /** Whether a policy, or a Service that a policy of this node names, tells peers apart by this label key. */
  namesKey(key: string): boolean {
    return this.#keys.has(key) || this.#deps.engine.namesKey(key);
  }

  // ---- what policies name ---------------------------------------------------------------------------------------

  /** Whether an API server runs on this node: then rules that name it mean the host, too. */
  setHostIsApiServer(own: boolean): void {
    this.#setHost({ ...this.#host, apiServer: own });
  }

  /** Labels of this node's Node object: rules may name this node by them, too. */
  setHostLabels(labels: Readonly<Record<string, string>>): void {
    this.#setHost({ ...this.#host, labels });
  }

  #setHost(host: { apiServer: boolean; labels: Readonly<Record<string, string>> }): void {
    this.#host = host;
    const own = Object.entries(host.labels).map(([key, value]) => [`node:${key}`, value]);
    const labels = { ...reservedLabels(reserved.host), ...Object.fromEntries(own) };
    if (host.apiServer) labels["reserved:kube-apiserver"] = "";
    this.#deps.engine.addIdentity(reserved.host, labels);
    this.#commit();
    this.onHost(host.labels, host.apiServer);
  }

  /** Takes in identities of nodes and pods: when this returns, their rows are in the kernel. */
  addIdentities(identities: readonly { readonly id: number; readonly labels: Labels }[]): void {
    for (const { id, labels } of identities) this.#deps.engine.addIdentity(id, labels);
    this.#commit();
  }

  /** Gives up identities that no address has any more. */
  deleteIdentities(ids: readonly number[]): void {
    for (const id of ids) this.#deps.engine.deleteIdentity(id);
    this.#commit();
  }

  /** A CIDR group came or changed. */
  setCidrGroup(group: CidrGroup): void {
    this.#deps.engine.upsertCidrGroup(group);
    this.#commit();
  }

  /** A CIDR group went. */
  deleteCidrGroup(name: string): void {
    this.#deps.engine.deleteCidrGroup(name);
    this.#commit();
  }

  /** A Service came or changed. */
  setService(service: PolicyService): void {
    this.#tellApart(this.#deps.engine.keysNamedByService(service));
    this.#deps.engine.upsertService(service);
    this.#commit();
  }

  /** A Service went. */
  deleteService(namespace: string, name: string): void {
    this.#deps.engine.deleteService(namespace, name);
    this.#commit();
  }

  #delete(policy: Policy): void {
    this.#known.delete(policyKey(policy.ref));
    this.#changed(policy);
  }

  // ---- endpoints ------------------------------------------------------------------------------------------------

  /** States a local endpoint. When this returns, the rows of its policy are in the kernel. */
  setEndpoint(endpoint: {
    id: number;
    identity: number;
    labels: Labels;
    namedPorts: readonly NamedPort[];
  }): void {
    const { namedPorts, ...rest } = endpoint;
    this.#deps.engine.upsertEndpoint({ ...rest, namedPorts: containerPorts(namedPorts) });
    this.#commit();
  }

  /** Forgets a local endpoint. Its row must be gone from the kernel already. */
  removeEndpoint(id: number): void {
    this.#deps.engine.deleteEndpoint(id);
    this.#commit();
    this.#names.endpointGone(id);
    this.settleNames();
  }

  /** States the named ports of pods, for egress rules that name ports. */
  setPeerPorts(pods: readonly PeerPortClaim[]): void {
    if (pods.length === 0) return;
    for (const { pod, identity, ports } of pods)
      this.#deps.engine.setPeerPorts(pod, identity, containerPorts(ports));
    this.#commit();
  }

  /** Takes back what `setPeerPorts` stated. */
  deletePeerPorts(pods: readonly string[]): void {
    if (pods.length === 0) return;
    for (const pod of pods) this.#deps.engine.deletePeerPorts(pod);
    this.#commit();
  }

  /** The id of the policy an endpoint falls under; 0: none selects it. */
  policyOf(endpointId: number): number {
    return this.#deps.engine.policyIdOf(endpointId);
  }

  // ---- to the kernel --------------------------------------------------------------------------------------------

  /** Resolves when what is about to be opened may be: its queries, if it redirects any, find a proxy. */
  async beforeOpen(): Promise<void> {
    await this.redirects?.ready([...this.#inForce.values()]);
  }

  /** Everything is known now: writes it, and from here on each change at once. */
  open(): void {
    this.#open = true;
    this.#commit();
  }

  /** All endpoints are adopted: learned addresses may get other identities than an earlier agent gave them. */
  openNames(): void {
    this.#namesOpen = true;
    this.settleNames();
  }

  /** Removes rows that no policy of this agent has: those of an earlier one. Call when all endpoints were adopted. */
  prune(): void {
    const removed = prunePolicy(this.#deps.kernel.maps, this.#deps.engine);
    if (removed === 0) return;
    this.#deps.kernel.changed();
    this.#deps.log.info({ rows: removed }, "policy rows of an earlier agent removed");
  }

  #commit(): void {
    if (!this.#open) return;
    if (this.#rowsOnly) this.#apply(this.#deps.engine.commitRows());
    if (this.#rowsOnly || this.#held) return;
    this.#prepare();
    for (;;) {
      const { added, removed } = this.#commitOnce();
      if (added.length > 0) this.#introduce(added);
      if (removed.length === 0) return;
      for (const prefix of removed) this.prefixes.forget(prefix);
    }
  }

  #commitRows(): void {
    if (!this.#open) return;
    const rows = this.#deps.engine.commitRows();
    if (rows.changes.length + rows.dns.added.length + rows.dns.removed.length > 0) this.#apply(rows);
  }

  /** What rules will name has its number first, and Services are known before a rule relies on them. */
  #prepare(): void {
    const { engine } = this.#deps;
    const missing = engine.prepare();
    this.#tellApart(engine.takeNamedKeys());
    if (engine.namesServices && !this.#servicesNamed) {
      this.#servicesNamed = true;
      this.#held = true;
      try {
        this.onServicesNamed();
      } finally {
        this.#held = false;
      }
    }
    if (missing.length > 0) this.#introduce(missing);
  }

  /** Prefixes get numbers: rows that match them first, then addresses count for them. */
  #introduce(prefixes: readonly Prefix[]): void {
    for (const prefix of prefixes) this.prefixes.learn(prefix);
    const moves = this.#namesOpen && this.#names.plan();
    this.#apply(this.#deps.engine.commitRows());
    this.prefixes.announce(prefixes);
    if (moves) this.#names.publish();
    this.#deps.ipcacheWriter.flush();
  }

  /** Rules that come into force name these keys, by a Service perhaps: pods that differ in them get their own number. */
  #tellApart(keys: readonly string[]): void {
    if (keys.length === 0) return;
    this.#rowsOnly = true;
    try {
      this.beforeNaming(keys);
    } finally {
      this.#rowsOnly = false;
    }
  }

  #commitOnce(): PolicyCommit["cidrs"] {
    const { cidrs, ...rows } = this.#deps.engine.commit();
    this.#apply(rows);
    return cidrs;
  }

  /** The proxy knows a set of rules before a row names it, and as long as one does. */
  #apply({ changes, dns }: Omit<PolicyCommit, "cidrs">): void {
    this.#names.rulesAdded(dns.added);
    if (this.problem !== undefined) this.#repair();
    else this.#write(changes);
    this.#names.rulesRemoved(dns.removed);
  }

  #write(changes: readonly PolicyChange[]): void {
    if (changes.length === 0) return;
    const { kernel } = this.#deps;
    try {
      applyPolicyChanges(kernel.maps, changes, this.onEndpoint);
      kernel.changed();
    } catch (error) {
      this.#lock(changes, error);
    }
  }

  /**
   * A write failed half-way: a row that should deny may be missing. Without its head a policy denies everything, so
   * the heads of what was being changed go; the epoch stays, so that live connections are not judged by a half.
   */
  #lock(changes: readonly PolicyChange[], error: unknown): void {
    const { kernel, log } = this.#deps;
    this.problem = errorText(error);
    const ids = new Set(changes.map(policyIdOf).filter((id) => id !== 0));
    log.error(
      { err: error, policies: ids.size },
      "policy rows could not be written: their endpoints accept nothing new",
    );
    for (const id of ids) lockPolicy(kernel.maps, id);
    this.#retryLater();
  }

  /** Writes everything again, and removes what is not of it. */
  #repair(): void {
    const { engine, kernel, log } = this.#deps;
    try {
      prunePolicy(kernel.maps, engine);
      applyPolicyChanges(kernel.maps, engine.resync(), this.onEndpoint);
      kernel.changed();
      this.problem = undefined;
      this.#retry.reset();
      log.info({}, "policy rows written again");
    } catch (error) {
      this.problem = errorText(error);
      this.#retryLater();
    }
  }

  #retryLater(): void {
    if (this.#retryTimer !== undefined) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      if (this.problem !== undefined) this.#repair();
    }, this.#retry.next());
    this.#retryTimer.unref();
  }

  // ---- questions ------------------------------------------------------------------------------------------------

  /** All policy objects. */
  policies(): KnownPolicy[] {
    return [...this.#known.values()];
  }

  /** One policy by its key. */
  known(key: string): KnownPolicy | undefined {
    return this.#known.get(key);
  }

  get engine(): PolicyEngine {
    return this.#deps.engine;
  }

  /** The rows of a policy id, as they should be in the kernel. */
  rowsOf(policyId: number): RowOfPolicy[] {
    return [...this.#deps.engine.rowsOf(policyId)];
  }

  /** In which directions a policy id denies by default. */
  enforced(policyId: number): { ingress: boolean; egress: boolean } {
    return this.#deps.engine.enforcementOf(policyId);
  }

  /** `namespace/name` of the policy behind a rule id. */
  policyNamesOf(ruleId: number): string[] {
    const ref = this.#deps.engine.rule(ruleId)?.policy;
    if (!ref) return [];
    return [ref.namespace === undefined ? ref.name : `${ref.namespace}/${ref.name}`];
  }

  /** Ids of the local endpoints a policy object selects. */
  endpointsOf(ref: Policy["ref"]): number[] {
    return this.#deps.engine.endpointsOf(ref);
  }
}

/** The policy a write belongs to; 0 for endpoints, whose rows are not the policy's. */
function policyIdOf(change: PolicyChange): number {
  if (change.op === "putRow" || change.op === "deleteRow") return change.key.policyId;
  return change.op === "setEndpoint" ? 0 : change.policyId;
}
