import type { Endpoint, IpcacheEntry, PolicyHead, PolicyKey, PolicyRow } from "@axoneme/abi";
import { type Ip, ipKey, isV4, prefixContains } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { reserved } from "@axoneme/identity";
import { type Decision, type Direction, decide, type RowSource } from "@axoneme/policy";

/** A map in memory, keyed by text. */
class Table<K, V> {
  readonly #rows = new Map<string, [K, V]>();
  readonly #textOf: (key: K) => string;
  readonly #written: () => void;

  constructor(textOf: (key: K) => string, written: () => void) {
    this.#textOf = textOf;
    this.#written = written;
  }

  get(key: K): V | undefined {
    return this.#rows.get(this.#textOf(key))?.[1];
  }

  put(key: K, value: V): void {
    this.#rows.set(this.#textOf(key), [key, value]);
    this.#written();
  }

  /** Row by row, as the kernel takes a batch. */
  putAll(rows: Iterable<[K, V]>): void {
    for (const [key, value] of rows) this.put(key, value);
  }

  delete(key: K): boolean {
    const was = this.#rows.delete(this.#textOf(key));
    if (was) this.#written();
    return was;
  }

  deleteAll(keys: Iterable<K>): void {
    for (const key of keys) this.delete(key);
  }

  entries(): [K, V][] {
    return [...this.#rows.values()];
  }
}

type Cidr = { prefixlen: number; addr: Ip };

/** The maps that decide about packets, as a model: who writes them is the real agent, and every single write is seen. */
export class ModelKernel implements RowSource {
  onWrite: () => void = () => undefined;
  readonly #written = () => this.onWrite();
  readonly policy = new Table<PolicyKey, PolicyRow>(keyText, this.#written);
  readonly policyHeads = new Table<number, PolicyHead>(String, this.#written);
  readonly ipcache = new Table<Cidr, IpcacheEntry>(
    ({ addr, prefixlen }) => `${ipKey(addr)}/${prefixlen}`,
    this.#written,
  );
  readonly endpoints = new Table<Ip, Endpoint>((ip) => ipKey(ip), this.#written);
  readonly cidrs = new Table<Cidr, number>(
    ({ addr, prefixlen }) => `${ipKey(addr)}/${prefixlen}`,
    this.#written,
  );

  /** What the agent takes for the kernel. */
  asKernel(): Kernel {
    const attached = new Set<number>();
    const { policy, policyHeads, ipcache, endpoints, cidrs } = this;
    return {
      maps: { policy, policyHeads, ipcache, endpoints, cidrs },
      attachments: {
        attachPod: (index: number) => void attached.add(index),
        detachPod: (index: number) => void attached.delete(index),
        isPodAttached: (index: number) => attached.has(index),
      },
      changed: () => undefined,
      settle: () => undefined,
    } as unknown as Kernel;
  }

  head(policyId: number, direction: Direction) {
    const head = this.policyHeads.get(((policyId << 1) | direction) >>> 0);
    return head && ({ ...head, layered: head.flags !== 0 } as ReturnType<RowSource["head"]>);
  }

  row(key: Parameters<RowSource["row"]>[0]) {
    const { direction, shape, ...rest } = key;
    return this.policy.get({ ...rest, shape: shape | (direction << 7) }) as ReturnType<RowSource["row"]>;
  }

  /** The number a packet of this address carries; undefined: nothing is known of it. */
  identityOf(ip: Ip): number | undefined {
    return this.endpoints.get(ip)?.identity ?? this.ipcache.get({ addr: ip, prefixlen: 128 })?.identity;
  }

  /** The number of the longest prefix that rules name around an address. */
  cidrOf(ip: Ip): number {
    const holding = this.cidrs
      .entries()
      .filter(([{ addr, prefixlen }]) => prefixContains({ ip: addr, length: prefixlen }, ip));
    const longest = holding.sort(([a], [b]) => b.prefixlen - a.prefixlen)[0];
    return longest?.[1] ?? (isV4(ip) ? reserved.worldIpv4 : reserved.worldIpv6);
  }

  /** What the endpoint with this address says to a packet from, or to, another. */
  judge(of: Ip, peer: Ip, direction: Direction, proto: number, port: number): Decision | undefined {
    const endpoint = this.endpoints.get(of);
    const identity = this.identityOf(peer);
    if (endpoint === undefined || identity === undefined) return undefined;
    const cidr = this.cidrOf(peer);
    return decide(this, { policyId: endpoint.policyId, direction, identity, cidr, proto, port });
  }
}

function keyText({ policyId, identity, cidr, port, proto, shape }: PolicyKey): string {
  return `${policyId}/${identity}/${cidr}/${port}/${proto}/${shape}`;
}
