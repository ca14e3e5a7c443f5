import { AxonError, errorText, formatIp, type Ip, type Logger, parseIp } from "@axoneme/base";
import {
  CniCode,
  CniError,
  type CniRequest,
  type CniResult,
  type EndpointRecord,
  linkNames,
  type PodNetwork,
} from "@axoneme/endpoint";
import type { Allocation as Given, NodePool, PoolChoice } from "@axoneme/ipam";
import { hostEndpointId } from "../host/host-endpoint.ts";
import { keyOf } from "./live.ts";
import { adopt, hostDevicesOf } from "./result.ts";

/** Endpoint ids, 1..65535. */
const maxEndpointId = hostEndpointId - 1;

/** Where addresses come from. */
export interface AddressSource extends Pick<NodePool, "reserve" | "usage"> {
  allocate(owner: string, pools?: PoolChoice): Given;
  release(owner: string): unknown;
}

/** What new endpoints take from this node: an id and addresses. */
export class Allocation {
  readonly #network: PodNetwork;
  readonly #log: Logger;
  readonly #usedIds = new Set<number>();
  #nextId = 1;
  #pool: AddressSource | undefined;

  constructor(network: PodNetwork, log: Logger) {
    this.#network = network;
    this.#log = log;
  }

  /** The pool addresses come from; the addresses of records are reserved in it first. */
  usePool(pool: AddressSource, records: readonly EndpointRecord[]): void {
    this.#pool = pool;
    for (const record of records) for (const ip of record.ips) this.#reserve(pool, record, ip);
  }

  /** Ids and addresses of records that were read. */
  learn(records: readonly EndpointRecord[]): void {
    this.#nextId = Math.max(0, ...records.map((r) => r.id)) + 1;
    for (const { id } of records) this.#usedIds.add(id);
    // The remembered pod CIDRs are known before the records are.
    if (this.#pool) this.usePool(this.#pool, records);
  }

  /** Whether there is a free address. */
  get hasFree(): boolean {
    return this.#pool?.usage().some(({ capacity, used }) => BigInt(used) < capacity) ?? false;
  }

  /**
   * The record of a new endpoint.
   * @param pools the addresses come from; undefined: the default one.
   * @param fixed addresses it has already; a family they lack is of the pool.
   */
  allocate(request: CniRequest, pools?: PoolChoice, fixed?: EndpointRecord["fixed"]): EndpointRecord {
    const key = keyOf(request);
    const { v4, v6 } = this.#addresses(key, pools, fixed?.addresses ?? []);
    return {
      version: 1,
      state: "creating",
      id: this.#idOrRelease(key),
      containerId: request.containerId,
      ifname: request.ifname,
      netns: request.netns,
      pod: request.pod,
      ips: [v4, v6].filter((ip) => ip !== undefined).map(formatIp),
      ...linkNames(key),
      hostIfindex: 0,
      identity: 0,
      ...(fixed ? { fixed } : {}),
      chained: false,
      createdAt: Date.now(),
    };
  }

  /** The record of an endpoint behind the device that another plugin made. */
  async adoptLink(request: CniRequest, result: CniResult): Promise<EndpointRecord> {
    const host = await this.#network.findVeth(hostDevicesOf(result));
    // The id last: what is wrong with the request must not cost one.
    return { ...adopt(request, 0, host), id: this.#freeId() };
  }

  /** Gives back what an endpoint had. */
  release(record: EndpointRecord): void {
    this.#usedIds.delete(record.id);
    this.#pool?.release(keyOf(record));
  }

  #addresses(key: string, pools: PoolChoice | undefined, fixed: readonly string[]): { v4?: Ip; v6?: Ip } {
    const pool = this.#pool;
    if (!pool) throw new CniError(CniCode.tryAgainLater, "this node has no pod CIDR yet");
    try {
      for (const ip of fixed) pool.reserve(key, parseIp(ip));
      return pools ? pool.allocate(key, pools) : pool.allocate(key);
    } catch (cause) {
      pool.release(key);
      throw new CniError(CniCode.noAddress, errorText(cause), "", { cause });
    }
  }

  #idOrRelease(key: string): number {
    try {
      return this.#freeId();
    } catch (error) {
      this.#pool?.release(key);
      throw error;
    }
  }

  #freeId(): number {
    for (let tries = 0; tries < maxEndpointId; tries++) {
      const id = this.#nextId;
      this.#nextId = id >= maxEndpointId ? 1 : id + 1;
      if (this.#usedIds.has(id)) continue;
      this.#usedIds.add(id);
      return id;
    }
    throw new AxonError("endpoint.ids", `all ${maxEndpointId} endpoint ids of this node are in use`);
  }

  #reserve(pool: AddressSource, record: EndpointRecord, ip: string): void {
    try {
      pool.reserve(keyOf(record), parseIp(ip));
    } catch (err) {
      this.#log.error({ err, endpoint: record.id, ip }, "two endpoints claim one address");
    }
  }
}
