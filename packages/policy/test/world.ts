/** The engine with what stands around it: identities of pods and CIDRs, an ipcache, a copy of the maps. */
import { type Ip, isV4, Lpm, type Prefix, parseIp, parsePrefix } from "@axoneme/base";
import { identityKey, LocalIdentities, podLabels, reserved } from "@axoneme/identity";
import {
  type CidrMatch,
  type Decision,
  Direction,
  decide,
  isMatchedByCidr,
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
import { outsiders, type RawPolicy } from "./generate.ts";
import type { Objects, Party, Pod } from "./oracle.ts";

/** Each single thing the agent would write to the kernel. */
export type Write =
  | PolicyChange
  | { op: "putPod"; pod: Pod; id: number; identity: number; policyId: number }
  | { op: "deletePod"; pod: Pod }
  | { op: "putCidr"; prefix: Prefix; number: number }
  | { op: "deleteCidr"; prefix: Prefix };

const numbers = new Map<string, number>();

/** The addresses of a pod: always the same for one name; p1 to p5 have those that `insidePrefixes` part. */
export function addressesOf({ name }: Pick<Pod, "name">): [v4: Ip, v6: Ip] {
  const own = /^p([1-9])$/.exec(name)?.[1];
  const number = own === undefined ? (numbers.get(name) ?? numbers.size + 10) : Number(own);
  if (own === undefined) numbers.set(name, number);
  return [parseIp(`10.244.0.${number}`), parseIp(`fd44::${number}`)];
}

const everything = { v4: parsePrefix("0.0.0.0/0"), v6: parsePrefix("::/0") };

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
  readonly #match: CidrMatch;
  /** Prefixes with their numbers, as in the kernel. */
  readonly cidrs = new Lpm<number>();
  readonly #placed = new Map<string, readonly [identity: number, cidr: number]>();
  #nextEndpoint = 1;
  /** Called before and after each single write. */
  onChange: ((change: PolicyChange) => void) | undefined;
  onCommit: { before: () => void; after: () => void } | undefined;
  /** Told of each single write, those of pods and of the ipcache too. */
  onWrite: ((write: Write) => void) | undefined;

  constructor(options: PolicyEngineOptions & { cidrMatch?: CidrMatch } = {}) {
    this.engine = new PolicyEngine(options);
    this.#match = options.cidrMatch ?? "address";
    this.cidrs.set(everything.v4, reserved.worldIpv4);
    this.cidrs.set(everything.v6, reserved.worldIpv6);
  }

  /** What rules on prefixes know an address of an identity by. */
  #cidrOf(ip: Ip, identity: number, cidrs: Lpm<number>): number {
    return isMatchedByCidr(this.#match, identity) ? (cidrs.lookup(ip)?.value ?? 0) : 0;
  }

  /** Tells the engine who is where, before it is so in the kernel. */
  #place(cidrs: Lpm<number> = this.cidrs): void {
    for (const [key, place] of this.#places(cidrs)) {
      if (this.#placed.has(key)) continue;
      this.#placed.set(key, place);
      this.engine.addPlacement(...place);
    }
  }

  /** Takes back what is so no more. */
  #displace(): void {
    const places = this.#places(this.cidrs);
    for (const [key, place] of this.#placed) {
      if (places.has(key)) continue;
      this.#placed.delete(key);
      this.engine.deletePlacement(...place);
    }
  }

  #places(cidrs: Lpm<number>): Map<string, readonly [identity: number, cidr: number]> {
    const places = new Map<string, readonly [number, number]>();
    const add = (identity: number, ip: Ip): void => {
      const cidr = this.#cidrOf(ip, identity, cidrs);
      if (cidr !== 0) places.set(`${identity} ${cidr}`, [identity, cidr]);
    };
    for (const { pod, identity } of this.pods.values()) for (const ip of addressesOf(pod)) add(identity, ip);
    for (const party of outsiders)
      if (party.kind !== "world" && party.ip) add(this.carried(party), parseIp(party.ip));
    for (const { prefix, value } of cidrs.entries()) {
      const world = isV4(prefix.ip) ? reserved.worldIpv4 : reserved.worldIpv6;
      places.set(`${world} ${value}`, [world, value]);
    }
    return places;
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
    if (commit) this.#place();
    if (commit) this.#write(this.engine.commitRows().changes);
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
      cidrMatch: this.#match,
    };
  }

  /** What rules will name is told apart before they rely on it. */
  #prepare(): void {
    this.#introduce(this.engine.prepare());
  }

  /** Rows first, then the addresses count for the prefixes. */
  #introduce(prefixes: readonly Prefix[]): void {
    if (prefixes.length === 0) return;
    const next = new Lpm<number>();
    for (const { prefix, value } of this.cidrs.entries()) next.set(prefix, value);
    for (const prefix of prefixes) {
      const { id } = this.#local.acquire(prefix);
      this.engine.addPrefix(prefix, id);
      next.set(prefix, id);
      this.#place(next);
      this.#write(this.engine.commitRows().changes);
      this.cidrs.set(prefix, id);
      this.onWrite?.({ op: "putCidr", prefix, number: id });
    }
    this.#displace();
  }

  #forgetPrefix(prefix: Prefix): void {
    const next = new Lpm<number>();
    for (const entry of this.cidrs.entries()) next.set(entry.prefix, entry.value);
    next.delete(prefix);
    this.#place(next);
    this.#write(this.engine.commitRows().changes);
    this.cidrs.delete(prefix);
    this.onWrite?.({ op: "deleteCidr", prefix });
    this.#displace();
    this.#local.release(prefix);
    this.engine.deletePrefix(prefix);
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
    this.#place();
    this.#prepare();
    const { changes, cidrs } = this.engine.commit();
    this.#write(changes);
    this.#displace();
    this.#introduce(cidrs.added);
    for (const prefix of cidrs.removed) this.#forgetPrefix(prefix);
    if (cidrs.added.length + cidrs.removed.length > 0) this.commit();
    else this.#write(this.engine.commitRows().changes);
  }

  /** The identity a packet of this party carries. */
  carried(party: Party): number {
    if (party.kind === "pod") return this.pods.get(party.name)?.identity ?? reserved.unmanaged;
    if (party.kind === "host") return reserved.host;
    if (party.kind === "remote-node") return reserved.remoteNode;
    if (party.kind === "apiserver") return reserved.kubeApiserver;
    if (party.kind !== "world") return reserved[party.kind];
    return isV4(parseIp(party.ip)) ? reserved.worldIpv4 : reserved.worldIpv6;
  }

  decide(pod: Pod, peer: Party, ingress: boolean, proto: number, port: number): Decision {
    const policyId = this.maps.endpoints.get(this.pods.get(pod.name)?.id ?? 0) ?? 0;
    const direction = ingress ? Direction.INGRESS : Direction.EGRESS;
    const identity = this.carried(peer);
    const cidr = peer.ip === undefined ? 0 : this.#cidrOf(parseIp(peer.ip), identity, this.cidrs);
    return decide(this.maps, { policyId, direction, identity, cidr, proto, port });
  }

  /** What the maps say, without numbers that depend on history. */
  dump(): Record<string, string[]> {
    const ruleName = (id: number) => this.engine.rule(id)?.name ?? `rule ${id}`;
    const identityName = (id: number) => [...this.#ids].find(([, number]) => number === id)?.[0] ?? id;
    const prefixName = (number: number) => this.#local.labelsOf(number) ?? number;
    const result: Record<string, string[]> = {};
    for (const { pod, id } of this.pods.values()) {
      const policyId = this.maps.endpoints.get(id) ?? 0;
      const lines = [...this.maps.rows()]
        .filter(({ key }) => key.policyId === policyId)
        .map(({ key, row }) =>
          JSON.stringify([
            { ...key, policyId: 0, identity: identityName(key.identity), cidr: prefixName(key.cidr) },
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
