import { type Ip, ipKey } from "@axoneme/base";
import { type LabelLookup, plainLabels } from "../labelselector.ts";
import { compileL2Policy, type L2Policy, type L2PolicyObject } from "./policy.ts";
import { type L2Service, type L2ServiceObject, l2Service } from "./service.ts";

/** A device of this node that can answer. */
export interface L2Device {
  readonly name: string;
  readonly ifindex: number;
  readonly mac: Uint8Array;
}

/** An address that is answered for on a device. */
export interface L2Address {
  readonly address: Ip;
  readonly ifindex: number;
}

/** With what it is answered. */
export interface L2Entry extends L2Address {
  readonly mac: Uint8Array;
}

/** What is to be done to get from the state last taken to the one of now. */
export interface L2Changes {
  /** Services to stand for election for, namespace/name, and to stand no more. */
  readonly stand: readonly string[];
  readonly resign: readonly string[];
  readonly announce: readonly L2Entry[];
  readonly withdraw: readonly L2Address[];
}

interface Record {
  service: L2Service;
  /** Addresses that some policy announces, on whatever node; each is one Service's: the first in order that has it. */
  claims: Map<string, Ip>;
  /** What this node would answer if it led. */
  entries: Map<string, L2Entry>;
  /** undefined: not known yet. */
  leading: boolean | undefined;
}

/**
 * Which Services this node stands for election for, and which addresses it answers for on which devices. Pure: the
 * caller holds the elections and tells how they went. An address that several Services share is announced by
 * the one that is first in order of name alone: their leaders may be different nodes, and two must not answer.
 */
export class L2Announcements {
  readonly #policies = new Map<string, L2Policy>();
  readonly #services = new Map<string, Record>();
  /** Services by the addresses they claim. */
  readonly #claimants = new Map<string, Set<string>>();
  #node: LabelLookup = plainLabels({});
  #devices: readonly L2Device[] = [];
  /** Services and addresses to look at when changes are taken. */
  readonly #dirty = new Set<string>();
  readonly #dirtyEntries = new Set<string>();
  readonly #standing = new Set<string>();
  /** As last taken. A row that an earlier process left has no mac: any is another. */
  readonly #announced = new Map<string, L2Address & { mac?: Uint8Array }>();

  /** `restored`: what an earlier process announced; it stays until it is known who leads. */
  constructor(restored: Iterable<L2Address> = []) {
    for (const entry of restored) {
      const key = entryKey(entry);
      this.#announced.set(key, { address: entry.address, ifindex: entry.ifindex });
      this.#dirtyEntries.add(key);
    }
  }

  setNode(labels: Readonly<globalThis.Record<string, string>>): void {
    this.#node = plainLabels(labels);
    this.#all();
  }

  setDevices(devices: readonly L2Device[]): void {
    this.#devices = devices;
    this.#all();
  }

  putPolicy(object: L2PolicyObject): void {
    const policy = compileL2Policy(object);
    this.#policies.set(policy.name, policy);
    this.#all();
  }

  deletePolicy(name: string): void {
    this.#policies.delete(name);
    this.#all();
  }

  /** A Service without an address to announce costs nothing: most have none. */
  putService(object: L2ServiceObject): void {
    const service = l2Service(object);
    if (service.loadBalancerIPs.length + service.externalIPs.length === 0) {
      this.deleteService(service.key);
      return;
    }
    const present = this.#services.get(service.key);
    if (present !== undefined) present.service = service;
    else {
      const record = { service, claims: new Map(), entries: new Map(), leading: undefined };
      this.#services.set(service.key, record);
    }
    this.#dirty.add(service.key);
  }

  deleteService(key: string): void {
    const record = this.#services.get(key);
    if (record === undefined) return;
    this.#claim(record, new Map());
    this.#touch(record);
    this.#services.delete(key);
    this.#dirty.add(key);
  }

  /** Whether a Service has an address that could be announced. */
  has(key: string): boolean {
    return this.#services.has(key);
  }

  /** How the election for a Service went. */
  setLeading(key: string, leading: boolean): void {
    const record = this.#services.get(key);
    if (record === undefined) return;
    record.leading = leading;
    this.#touch(record);
  }

  /** What has to be done since the last call; the caller does it. */
  takeChanges(): L2Changes {
    // A change of claims makes others dirty: a Set visits what is added meanwhile.
    for (const key of this.#dirty) this.#plan(key);
    for (const key of this.#dirty) this.#enter(key);
    const [stand, resign]: [string[], string[]] = [[], []];
    for (const key of this.#dirty) {
      const stands = (this.#services.get(key)?.entries.size ?? 0) > 0;
      if (stands === this.#standing.has(key)) continue;
      (stands ? stand : resign).push(key);
      if (stands) this.#standing.add(key);
      else this.#resign(key);
    }
    this.#dirty.clear();
    return { stand, resign, ...this.#takeEntries() };
  }

  /** Whether an entry, once announced, still is. */
  isAnnounced(entry: L2Entry): boolean {
    const { mac } = this.#announced.get(entryKey(entry)) ?? {};
    return mac !== undefined && sameBytes(mac, entry.mac);
  }

  /** These could not be written: what is there now is not known, so that the next call brings them again. */
  retry(failed: readonly L2Address[]): void {
    for (const entry of failed) {
      const key = entryKey(entry);
      this.#announced.set(key, { address: entry.address, ifindex: entry.ifindex });
      this.#dirtyEntries.add(key);
    }
  }

  #resign(key: string): void {
    this.#standing.delete(key);
    const record = this.#services.get(key);
    if (record !== undefined) record.leading = undefined;
  }

  #takeEntries(): Pick<L2Changes, "announce" | "withdraw"> {
    const announce: L2Entry[] = [];
    const withdraw: L2Address[] = [];
    for (const key of this.#dirtyEntries) {
      const { entry, leading } = this.#wanted(key);
      const present = this.#announced.get(key);
      // Nobody knows yet who leads: what was answered stays answered.
      if (entry !== undefined && leading === undefined) continue;
      this.#dirtyEntries.delete(key);
      if (entry !== undefined && leading === true) {
        if (present?.mac !== undefined && sameBytes(present.mac, entry.mac)) continue;
        this.#announced.set(key, entry);
        announce.push(entry);
      } else if (present !== undefined) {
        this.#announced.delete(key);
        withdraw.push({ address: present.address, ifindex: present.ifindex });
      }
    }
    return { announce, withdraw };
  }

  #wanted(key: string): { entry?: L2Entry | undefined; leading?: boolean | undefined } {
    const owner = this.#ownerOf(key.slice(0, addressKeyLength));
    const record = owner === undefined ? undefined : this.#services.get(owner);
    return { entry: record?.entries.get(key), leading: record?.leading };
  }

  #all(): void {
    for (const key of this.#services.keys()) this.#dirty.add(key);
  }

  /** Which of the Service's addresses are announced at all. */
  #plan(key: string): void {
    const record = this.#services.get(key);
    if (record === undefined) return;
    const claims = new Map<string, Ip>();
    for (const policy of this.#policies.values()) {
      if (!applies(policy, record.service)) continue;
      for (const address of addressesBy(policy, record.service)) claims.set(ipKey(address), address);
    }
    this.#claim(record, claims);
  }

  /** Others that claim the same addresses look again: which of them announces may have changed. */
  #claim(record: Record, claims: Map<string, Ip>): void {
    const { key } = record.service;
    for (const address of record.claims.keys()) {
      if (claims.has(address)) continue;
      const claimants = this.#claimants.get(address);
      claimants?.delete(key);
      if (claimants?.size === 0) this.#claimants.delete(address);
      for (const other of claimants ?? []) this.#dirty.add(other);
    }
    for (const address of claims.keys()) {
      if (record.claims.has(address)) continue;
      const claimants = this.#claimants.get(address) ?? new Set();
      for (const other of claimants) this.#dirty.add(other);
      this.#claimants.set(address, claimants.add(key));
    }
    record.claims = claims;
  }

  /** The Service that announces an address. */
  #ownerOf(address: string): string | undefined {
    let first: string | undefined;
    for (const key of this.#claimants.get(address) ?? []) if (first === undefined || key < first) first = key;
    return first;
  }

  /** What this node would answer for the Service, by the policies that select the node. */
  #enter(key: string): void {
    const record = this.#services.get(key);
    if (record === undefined) return;
    const entries = new Map<string, L2Entry>();
    for (const policy of this.#policies.values()) {
      if (!applies(policy, record.service) || !policy.selectsNode(this.#node)) continue;
      const devices = this.#devices.filter(({ name }) => policy.selectsDevice(name));
      for (const address of addressesBy(policy, record.service)) {
        if (this.#ownerOf(ipKey(address)) !== key) continue;
        for (const { ifindex, mac } of devices) {
          const entry = { address, ifindex, mac };
          entries.set(entryKey(entry), entry);
        }
      }
    }
    this.#touch(record);
    record.entries = entries;
    this.#touch(record);
  }

  #touch(record: Record): void {
    for (const entry of record.entries.keys()) this.#dirtyEntries.add(entry);
  }
}

function applies(policy: L2Policy, service: L2Service): boolean {
  return policy.problems.length === 0 && policy.selectsService(service.labels);
}

function addressesBy(policy: L2Policy, service: L2Service): Ip[] {
  return [
    ...(policy.loadBalancerIPs ? service.loadBalancerIPs : []),
    ...(policy.externalIPs ? service.externalIPs : []),
  ];
}

/** `ipKey` has eight characters, of any value. */
const addressKeyLength = 8;

function entryKey({ address, ifindex }: L2Address): string {
  return `${ipKey(address)}/${ifindex}`;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
