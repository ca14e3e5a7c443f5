import {
  backoff,
  delay,
  errorText,
  type Ip,
  ipCompare,
  ipEqual,
  ipKey,
  isV4,
  type Logger,
  type Prefix,
  prefixContains,
} from "@axoneme/base";
import { type Address, type Netlink, Scope, type Watch } from "@axoneme/netlink";
import { proxyAddresses } from "../dns/proxy-options.ts";

/** An address of the node. */
export interface HostAddress {
  readonly ip: Ip;
  /** Whether NodePorts and host ports are served on it. */
  readonly serves: boolean;
}

/** kube-proxy in IPVS mode puts every address of a Service on this device: they are not the node's. */
const foreignDevices: ReadonlySet<string> = new Set(["kube-ipvs0"]);

/** The node's addresses as they come and go, on whatever device; loopback, link-local and the DNS proxy's are not among them. */
export class NodeAddresses {
  readonly #netlink: Netlink;
  readonly #cidrs: readonly Prefix[];
  readonly #log: Logger;
  #watch: Watch | undefined;
  #current: readonly HostAddress[] = [];
  #listing: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  /** Told of every new state. */
  onChange: (addresses: readonly HostAddress[]) => void = () => undefined;

  /** @param cidrs of addresses that serve NodePorts; empty: all do. */
  constructor(netlink: Netlink, cidrs: readonly Prefix[], log: Logger) {
    this.#netlink = netlink;
    this.#cidrs = cidrs;
    this.#log = log;
  }

  /** All of them, IPv4 first, in order. */
  get current(): readonly HostAddress[] {
    return this.#current;
  }

  /** Whether NodePorts are served on an address of the node. */
  serves(ip: Ip): boolean {
    return this.#current.some((address) => address.serves && ipEqual(address.ip, ip));
  }

  /** Reads the addresses, and follows them from then on. */
  async start(): Promise<void> {
    const watch = this.#netlink.watch({ addrs: true });
    watch.unref();
    this.#watch = watch;
    void this.#follow(watch);
    await this.#list();
  }

  /** Ends the following. */
  stop(): void {
    this.#stopped = true;
    this.#watch?.close();
  }

  async #follow(watch: Watch): Promise<void> {
    for await (const event of watch) {
      // Every pod's device brings a link-local address along.
      if (event.type === "addr" && event.addr.scope !== Scope.universe) continue;
      this.#again = true;
      this.#listing ??= this.#catchUp().finally(() => {
        this.#listing = undefined;
      });
    }
  }

  async #catchUp(): Promise<void> {
    const wait = backoff({ baseMs: 50, maxMs: 5000 });
    while (this.#again && !this.#stopped) {
      this.#again = false;
      try {
        await this.#list();
      } catch (error) {
        this.#log.warn({ err: errorText(error) }, "the node's addresses could not be read; trying again");
        this.#again = true;
        await delay(wait.next());
      }
    }
  }

  async #list(): Promise<void> {
    const [addresses, links] = await Promise.all([this.#netlink.addrList(), this.#netlink.linkList()]);
    const foreign = new Set(links.filter(({ name }) => foreignDevices.has(name)).map(({ index }) => index));
    const found = hostAddresses(
      addresses.filter(({ index }) => !foreign.has(index)),
      this.#cidrs,
    );
    if (sameAddresses(found, this.#current)) return;
    this.#current = found;
    this.onChange(found);
  }
}

/** What of a list of addresses is the node's, and which of it serves NodePorts. */
export function hostAddresses(
  addresses: readonly Pick<Address, "prefix" | "scope" | "tentative">[],
  cidrs: readonly Prefix[],
): HostAddress[] {
  const byKey = new Map<string, HostAddress>();
  for (const { prefix, scope, tentative } of addresses) {
    if (scope !== Scope.universe || tentative) continue;
    const { ip } = prefix;
    if (Object.values(proxyAddresses).some((own) => ipEqual(own, ip))) continue;
    const serves = cidrs.length === 0 || cidrs.some((cidr) => prefixContains(cidr, ip));
    byKey.set(ipKey(ip), { ip, serves });
  }
  const order = (ip: Ip) => (isV4(ip) ? 0 : 1);
  return [...byKey.values()].sort((a, b) => order(a.ip) - order(b.ip) || ipCompare(a.ip, b.ip));
}

function sameAddresses(a: readonly HostAddress[], b: readonly HostAddress[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ ip, serves }, i) => {
      const other = b[i];
      return other !== undefined && other.serves === serves && ipEqual(ip, other.ip);
    })
  );
}
