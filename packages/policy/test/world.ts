/** The engine with what stands around it: identities of pods and CIDRs, an ipcache, a copy of the maps. */
import { isV4, Lpm, type Prefix, parseIp } from "@axoneme/base";
import { identityKey, LocalIdentities, podLabels, reserved } from "@axoneme/identity";
import {
  type Decision,
  Direction,
  decide,
  type ParseContext,
  type Policy,
  type PolicyChange,
  PolicyEngine,
  type PolicyEngineOptions,
  PolicyMaps,
  parseCidrGroup,
  parseCiliumPolicy,
  parseNetworkPolicy,
  parseTierPolicy,
} from "../src/index.ts";
import type { RawPolicy } from "./generate.ts";
import type { Objects, Party, Pod } from "./oracle.ts";

/** Each single thing the agent would write to the kernel. */
export type Write =
  | PolicyChange
  | { op: "putPod"; pod: Pod; id: number; identity: number; policyId: number }
  | { op: "deletePod"; pod: Pod }
  | { op: "putIpcache"; prefix: Prefix; identity: number }
  | { op: "deleteIpcache"; prefix: Prefix };

export function parse(raw: RawPolicy, context: ParseContext = {}): Policy {
  if (raw.kind === "NetworkPolicy") return parseNetworkPolicy(raw, context);
  return raw.kind.startsWith("Cilium") ? parseCiliumPolicy(raw, context) : parseTierPolicy(raw, context);
}

export class World {
  readonly engine: PolicyEngine;
  readonly maps = new PolicyMaps();
  readonly policies = new Map<string, RawPolicy>();
  readonly pods = new Map<string, { pod: Pod; id: number; identity: number }>();
  readonly groups = new Map<string, Objects["groups"][number]>();
  readonly auditedNamespaces = new Set<string>();
  readonly services = new Map<string, Objects["services"][number]>();
  readonly #ids = new Map<string, number>();
  readonly #local = new LocalIdentities({ dualStack: true });
  readonly ipcache = new Lpm<number>();
  #nextEndpoint = 1;
  /** Called before and after each single write. */
  onChange: ((change: PolicyChange) => void) | undefined;
  onCommit: { before: () => void; after: () => void } | undefined;
  /** Told of each single write, those of pods and of the ipcache too. */
  onWrite: ((write: Write) => void) | undefined;

  constructor(options: PolicyEngineOptions = {}) {
    this.engine = new PolicyEngine(options);
  }

  identityOf(pod: Pod): number {
    const labels = this.labelsOf(pod);
    const key = identityKey(labels);
    const id = this.#ids.get(key) ?? 256 + this.#ids.size;
    this.#ids.set(key, id);
    return id;
  }

  labelsOf(pod: Pod) {
    const { namespace, labels, namespaceLabels, serviceAccount } = pod;
    return podLabels(
      { metadata: { namespace, labels }, spec: { serviceAccountName: serviceAccount } },
      { metadata: { name: namespace, labels: namespaceLabels } },
      "default",
    );
  }

  setPod(pod: Pod, commit = true): void {
    const identity = this.identityOf(pod);
    const labels = this.labelsOf(pod);
    const old = this.pods.get(pod.name);
    const id = old?.id ?? this.#nextEndpoint++;
    this.engine.addIdentity(identity, labels);
    if (commit) this.commit(); // an identity has its rows before anybody carries it
    this.pods.set(pod.name, { pod, id, identity });
    this.engine.upsertEndpoint({ id, identity, labels, namedPorts: pod.ports });
    if (commit) this.commit();
    this.#writePod(id);
    if (old !== undefined) this.#forget(old.identity);
    if (commit) this.commit();
  }

  /** The row of an endpoint, as the agent writes it: under the policy it has by now. */
  #writePod(id: number): void {
    const found = [...this.pods.values()].find((pod) => pod.id === id);
    if (found === undefined) return;
    this.onWrite?.({ op: "putPod", ...found, policyId: this.maps.endpoints.get(id) ?? 0 });
  }

  #setIpcache(prefix: Prefix, identity: number): void {
    this.ipcache.set(prefix, identity);
    this.onWrite?.({ op: "putIpcache", prefix, identity });
  }

  deletePod(name: string, commit = true): void {
    const found = this.pods.get(name);
    if (found === undefined) return;
    this.pods.delete(name);
    this.onWrite?.({ op: "deletePod", pod: found.pod });
    this.engine.deleteEndpoint(found.id);
    this.maps.endpoints.delete(found.id);
    this.#forget(found.identity);
    if (commit) this.commit();
  }

  #forget(identity: number): void {
    if ([...this.pods.values()].some((pod) => pod.identity === identity)) return;
    this.engine.deleteIdentity(identity);
  }

  setPolicy(raw: RawPolicy, commit = true): void {
    const policy = parse(raw, { isAudited: (namespace) => this.auditedNamespaces.has(namespace) });
    this.policies.set(keyOf(raw), raw);
    this.engine.upsertPolicy(policy);
    if (commit) this.commit();
  }

  deletePolicy(raw: RawPolicy, commit = true): void {
    this.policies.delete(keyOf(raw));
    this.engine.deletePolicy(parse(raw).ref);
    if (commit) this.commit();
  }

  setGroup(group: Objects["groups"][number], commit = true): void {
    this.groups.set(group.name, group);
    const { name, labels, cidrs } = group;
    const object = { metadata: { name, labels }, spec: { externalCIDRs: cidrs } };
    this.engine.upsertCidrGroup(parseCidrGroup(object).group);
    if (commit) this.commit();
  }

  deleteGroup(name: string, commit = true): void {
    this.groups.delete(name);
    this.engine.deleteCidrGroup(name);
    if (commit) this.commit();
  }

  setService(service: Objects["services"][number], commit = true): void {
    this.services.set(`${service.namespace}/${service.name}`, service);
    const addresses = service.addresses.map(parseIp);
    this.engine.upsertService({ ...service, addresses, cluster: "default" });
    if (commit) this.commit();
  }

  deleteService({ namespace, name }: { namespace: string; name: string }, commit = true): void {
    this.services.delete(`${namespace}/${name}`);
    this.engine.deleteService(namespace, name);
    if (commit) this.commit();
  }

  auditNamespace(namespace: string, on: boolean, commit = true): void {
    if (on) this.auditedNamespaces.add(namespace);
    else this.auditedNamespaces.delete(namespace);
    for (const raw of this.policies.values()) {
      if (raw.metadata.namespace === namespace) this.setPolicy(raw, false);
    }
    if (commit) this.commit();
  }

  objects(): Objects {
    return {
      auditedNamespaces: [...this.auditedNamespaces],
      groups: [...this.groups.values()],
      services: [...this.services.values()],
    };
  }

  /** What rules will name is told apart before they rely on it. */
  #prepare(): void {
    const identities = this.engine.prepare().map((prefix) => ({ prefix, ...this.#local.acquire(prefix) }));
    if (identities.length === 0) return;
    for (const { prefix, id, labels } of identities) this.engine.addIdentity(id, labels, prefix);
    this.#write(this.engine.commitRows().changes);
    for (const { prefix, id } of identities) this.#setIpcache(prefix, id);
  }

  #write(changes: readonly PolicyChange[]): void {
    this.onCommit?.before();
    for (const change of changes) {
      this.maps.apply(change);
      this.onWrite?.(change);
      if (change.op === "setEndpoint") this.#writePod(change.endpointId);
      this.onChange?.(change);
    }
    this.onCommit?.after();
  }

  commit(): void {
    this.#prepare();
    const { changes, cidrs } = this.engine.commit();
    this.#write(changes);
    // A new identity has its rows before the ipcache gives it to packets.
    const fresh = cidrs.added.filter((prefix) => this.ipcache.get(prefix) === undefined);
    const identities = fresh.map((prefix) => ({ prefix, ...this.#local.acquire(prefix) }));
    for (const { prefix, id, labels } of identities) this.engine.addIdentity(id, labels, prefix);
    if (identities.length > 0) this.commit();
    for (const { prefix, id } of identities) this.#setIpcache(prefix, id);
    for (const prefix of cidrs.removed) {
      const id = this.ipcache.get(prefix);
      this.ipcache.delete(prefix);
      this.onWrite?.({ op: "deleteIpcache", prefix });
      this.#local.release(prefix);
      if (id !== undefined) this.engine.deleteIdentity(id);
    }
    if (cidrs.removed.length > 0) this.commit();
  }

  /** The identity a packet of this party carries. */
  carried(party: Party): number {
    if (party.kind === "pod") return this.pods.get(party.name)?.identity ?? reserved.unmanaged;
    if (party.kind === "host") return reserved.host;
    if (party.kind === "remote-node") return reserved.remoteNode;
    if (party.kind === "apiserver") return reserved.kubeApiserver;
    if (party.kind !== "world") return reserved[party.kind];
    const ip = parseIp(party.ip);
    // `::/0` never is in this ipcache, so that the families cannot mix.
    return this.ipcache.lookup(ip)?.value ?? (isV4(ip) ? reserved.worldIpv4 : reserved.worldIpv6);
  }

  decide(pod: Pod, peer: Party, ingress: boolean, proto: number, port: number): Decision {
    const policyId = this.maps.endpoints.get(this.pods.get(pod.name)?.id ?? 0) ?? 0;
    const direction = ingress ? Direction.INGRESS : Direction.EGRESS;
    return decide(this.maps, { policyId, direction, identity: this.carried(peer), proto, port });
  }

  /** What the maps say, without numbers that depend on history. */
  dump(): Record<string, string[]> {
    const ruleName = (id: number) => this.engine.rule(id)?.name ?? `rule ${id}`;
    const identityName = (id: number) =>
      [...this.#ids].find(([, number]) => number === id)?.[0] ??
      [...this.#local.all()].find((local) => local.id === id)?.labels ??
      id;
    const result: Record<string, string[]> = {};
    for (const { pod, id } of this.pods.values()) {
      const policyId = this.maps.endpoints.get(id) ?? 0;
      const lines = [...this.maps.rows()]
        .filter(({ key }) => key.policyId === policyId)
        .map(({ key, row }) =>
          JSON.stringify([
            { ...key, policyId: 0, identity: identityName(key.identity) },
            { ...row, ruleId: ruleName(row.ruleId) },
          ]),
        );
      for (const direction of [Direction.INGRESS, Direction.EGRESS]) {
        const head = this.maps.head(policyId, direction);
        lines.push(JSON.stringify([direction, head && { ...head, defaultRule: ruleName(head.defaultRule) }]));
      }
      const sharing = [...this.pods.values()].filter(
        (other) => this.maps.endpoints.get(other.id) === policyId,
      );
      lines.push(`shared by ${sharing.map((other) => other.pod.name).sort()}`);
      result[pod.name] = lines.sort();
    }
    return result;
  }
}

export function keyOf(raw: RawPolicy): string {
  return `${raw.kind}/${raw.metadata.namespace ?? ""}/${raw.metadata.name}`;
}
