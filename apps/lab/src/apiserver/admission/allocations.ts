import {
  formatIp,
  type Ip,
  ipAdd,
  ipKey,
  isV4,
  type Prefix,
  parseIp,
  parsePrefix,
  prefixContains,
  prefixRange,
} from "@axoneme/base";

export type Family = "IPv4" | "IPv6";

/** The service addresses and node ports in use, derived from the Services in the store. */
export class Allocations {
  readonly nodePortRange: readonly [number, number];
  readonly #ranges: { family: Family; prefix: Prefix; text: string }[];
  /** address -> `namespace/name` of the service that holds it. */
  readonly #addresses = new Map<string, string>();
  /** Node port -> service. A number is one Service's in all protocols, as on Kubernetes. */
  readonly #ports = new Map<number, string>();
  readonly #next = new Map<Family, bigint>();
  #nextPort: number;

  constructor(serviceCidrs: readonly string[], nodePortRange: readonly [number, number] = [30_000, 32_767]) {
    this.#ranges = serviceCidrs.map((text) => {
      const prefix = parsePrefix(text);
      return { family: isV4(prefix.ip) ? "IPv4" : "IPv6", prefix, text };
    });
    this.nodePortRange = nodePortRange;
    this.#nextPort = nodePortRange[0];
  }

  /** The families the cluster has, the preferred one first. */
  get families(): Family[] {
    return this.#ranges.map((range) => range.family);
  }

  /** The first address of the first range: the service of the API server itself. */
  get apiServerAddress(): string {
    const range = this.#ranges[0];
    return range === undefined ? "" : formatIp(ipAdd(prefixRange(range.prefix).first, 1n));
  }

  /** Takes a particular address. Returns why not, or undefined when it is now held. */
  claim(address: string, owner: string): string | undefined {
    const ip = parseIp(address);
    const range = this.#ranges.find(
      (each) => prefixContains(each.prefix, ip) && isV4(each.prefix.ip) === isV4(ip),
    );
    if (range === undefined) {
      return `the provided IP (${address}) is not in the valid range. The range of valid IPs is ${this.#ranges.map((each) => each.text).join(",")}`;
    }
    const holder = this.#addresses.get(ipKey(ip));
    if (holder !== undefined && holder !== owner) return "provided IP is already allocated";
    this.#addresses.set(ipKey(ip), owner);
    return undefined;
  }

  /** Takes any free address of the family; undefined when the range is full or absent. */
  allocate(family: Family, owner: string): string | undefined {
    const range = this.#ranges.find((each) => each.family === family);
    if (range === undefined) return undefined;
    const { first } = prefixRange(range.prefix);
    const bits = 128 - range.prefix.length;
    const size = (1n << BigInt(Math.min(bits, 20))) - 2n;
    // The low part is left to those who ask for a particular address, as Kubernetes does.
    const reserved = size > 512n ? 256n : size / 16n + 1n;
    let offset = this.#next.get(family) ?? reserved;
    for (let tried = 0n; tried < size; tried++) {
      const ip: Ip = ipAdd(first, 1n + (offset % size));
      offset++;
      if (this.#addresses.has(ipKey(ip))) continue;
      this.#next.set(family, offset);
      this.#addresses.set(ipKey(ip), owner);
      return formatIp(ip);
    }
    return undefined;
  }

  release(address: string, owner: string): void {
    const key = ipKey(parseIp(address));
    if (this.#addresses.get(key) === owner) this.#addresses.delete(key);
  }

  /** Takes a given port; returns why not. */
  claimPort(port: number, owner: string): string | undefined {
    const [low, high] = this.nodePortRange;
    if (port < low || port > high)
      return `provided port is not in the valid range. The range of valid ports is ${low}-${high}`;
    const holder = this.#ports.get(port);
    if (holder !== undefined && holder !== owner) return "provided port is already allocated";
    this.#ports.set(port, owner);
    return undefined;
  }

  /** Takes any free port; undefined when there is none. */
  allocatePort(owner: string): number | undefined {
    const [low, high] = this.nodePortRange;
    for (let tried = low; tried <= high; tried++) {
      const port = this.#nextPort;
      this.#nextPort = port >= high ? low : port + 1;
      if (this.#ports.has(port)) continue;
      this.#ports.set(port, owner);
      return port;
    }
    return undefined;
  }

  releasePort(port: number, owner: string): void {
    if (this.#ports.get(port) === owner) this.#ports.delete(port);
  }
}
