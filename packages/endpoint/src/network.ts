import {
  AxonError,
  hostPrefix,
  type Ip,
  ipEqual,
  isV4,
  type Prefix,
  parseIp,
  parseMac,
  parsePrefix,
} from "@axoneme/base";
import {
  closeFd,
  isErrno,
  type Link,
  type LinkReaper,
  Netlink,
  openNetns,
  type Shaper,
} from "@axoneme/netlink";
import type { EndpointRecord } from "./record.ts";

/** The node's own addresses among the pods, which pods use as gateway. */
export interface Gateways {
  readonly v4: Ip | undefined;
  readonly v6: Ip | undefined;
}

const everything4: Prefix = parsePrefix("0.0.0.0/0");
const everything6: Prefix = parsePrefix("::/0");

/**
 * Links, addresses and routes of pods. A pod is made in two steps: `create` builds both ends and leaves the host's
 * end down, so that programs and rows can be put in place; `connect` brings it up.
 */
export class PodNetwork {
  readonly #host: Netlink;
  readonly #reaper: LinkReaper;
  readonly #gateways: () => Gateways;
  readonly #mtu: () => number;

  /** @param host a socket in the node's namespace; `reaper` works there too. */
  constructor(host: Netlink, reaper: LinkReaper, gateways: () => Gateways, mtu: () => number) {
    this.#host = host;
    this.#reaper = reaper;
    this.#gateways = gateways;
    this.#mtu = mtu;
  }

  /**
   * Makes the veth pair and configures the pod's end.
   * @returns the interface index of the host's end.
   * @throws AxonError `endpoint.netns` when the pod's namespace is gone, NetlinkError for what the kernel refused.
   */
  async create(record: EndpointRecord): Promise<number> {
    const netnsFd = openPodNetns(record.netns);
    try {
      const host = await this.#makePair(record, netnsFd);
      const pod = Netlink.open({ netnsFd });
      try {
        // The host's end knows the index of its peer: the pod's namespace need not be asked.
        await this.#configurePod(pod, record, host.parent ?? (await pod.linkGet(record.ifname)).index);
      } finally {
        pod.close();
      }
      return host.index;
    } finally {
      closeFd(netnsFd);
    }
  }

  /** A pair of the same names may still be on its way out, after a DEL just before: it is waited for. */
  async #makePair(record: EndpointRecord, netnsFd: number): Promise<Link> {
    try {
      return await this.#addPair(record, netnsFd);
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
      this.#reaper.sweep();
      await this.#reaper.idle();
      return this.#addPair(record, netnsFd);
    }
  }

  /** Both requests travel in one send. */
  async #addPair(record: EndpointRecord, netnsFd: number): Promise<Link> {
    const mtu = this.#mtu();
    const [, link] = await Promise.all([
      this.#host.linkAdd({
        kind: "veth",
        name: record.hostIfname,
        mac: parseMac(record.hostMac),
        mtu,
        peer: { name: record.ifname, mac: parseMac(record.mac), mtu, netnsFd },
      }),
      this.#host.linkGet(record.hostIfname),
    ]);
    return link;
  }

  /**
   * Limits what the pod sends, in bits per second, or no longer. Its packets wait in the pod's own interface: there the
   * queue slows down the sockets that fill it, and no packet is lost.
   * @throws NetlinkError ENOENT where the kernel has no sch_tbf.
   */
  async limitEgress(record: EndpointRecord, bits: number | undefined): Promise<void> {
    const netnsFd = openPodNetns(record.netns);
    try {
      const pod = Netlink.open({ netnsFd });
      try {
        const { index, mtu } = await pod.linkGet(record.ifname);
        if (bits !== undefined) await pod.shaperReplace(index, shaperOf(bits, mtu));
        else await pod.shaperDel(index).catch(ignoreAbsent);
      } finally {
        pod.close();
      }
    } finally {
      closeFd(netnsFd);
    }
  }

  /** Brings the host's end up and makes the pod reachable for the node's own processes. */
  async connect(record: EndpointRecord): Promise<void> {
    const index = record.hostIfindex;
    await this.#host.batch((batch) => {
      void batch.linkSet({ index, up: true });
      for (const ip of record.ips.map(parseIp)) {
        void batch.neighReplace({ index, ip, mac: parseMac(record.mac) });
        void batch.routeReplace({ dst: hostPrefix(ip), oif: index });
      }
    });
  }

  /**
   * Takes the pair out of use; it is gone a moment later, and the pod's end, addresses and routes with it.
   * Removing what is gone is fine.
   */
  async destroy(record: Pick<EndpointRecord, "hostIfname">): Promise<void> {
    try {
      await this.#reaper.retire(record.hostIfname);
    } catch (error) {
      if (!isErrno(error, "ENODEV")) throw error;
    }
  }

  /** Removes pairs that an earlier process had taken out of use and did not live to remove. */
  removeLeftovers(): void {
    this.#reaper.sweep();
  }

  /**
   * What differs from how `create` and `connect` left the pod: sentences, none when all is well.
   */
  async check(record: EndpointRecord): Promise<string[]> {
    const problems: string[] = [];
    const host = await this.#host.linkGet(record.hostIfname).catch(() => undefined);
    if (!host) problems.push(`the host's device ${record.hostIfname} is gone`);
    else if (host.index !== record.hostIfindex)
      problems.push(`${record.hostIfname} is another device than at ADD`);
    else if (!host.up) problems.push(`${record.hostIfname} is down`);
    const netnsFd = openPodNetns(record.netns);
    try {
      const pod = Netlink.open({ netnsFd });
      try {
        problems.push(...(await checkPod(pod, record)));
      } finally {
        pod.close();
      }
    } finally {
      closeFd(netnsFd);
    }
    return problems;
  }

  /** The first of these devices of the node that is one end of a veth pair. */
  async findVeth(names: readonly string[]): Promise<{ name: string; index: number } | undefined> {
    for (const name of names) {
      const link = await this.#host.linkGet(name).catch(() => undefined);
      if (link?.kind === "veth") return { name: link.name, index: link.index };
    }
    return undefined;
  }

  async #configurePod(pod: Netlink, record: EndpointRecord, index: number): Promise<void> {
    const gateways = this.#gateways();
    const ips = record.ips.map(parseIp);
    await pod.batch((batch) => {
      void batch.linkSet({ index: 1, up: true });
      void batch.linkSet({ index, up: true });
      for (const ip of ips) void batch.addrAdd({ index, prefix: hostPrefix(ip), noDad: true });
      for (const ip of ips) {
        const gateway = isV4(ip) ? gateways.v4 : gateways.v6;
        if (!gateway) continue;
        void batch.routeAdd({ dst: hostPrefix(gateway), oif: index });
        void batch.routeAdd({ dst: isV4(ip) ? everything4 : everything6, gateway, oif: index });
      }
    });
  }
}

/** Bytes that go at once in ten milliseconds of the rate, and those of fifty that wait: more would only be late. */
function shaperOf(bits: number, mtu: number): Shaper {
  const rate = Math.max(1, Math.round(bits / 8));
  const most = 0x7fffffff;
  const burst = Math.min(most, Math.max(16_384, mtu + 256, Math.round(rate / 100)));
  return { rate, burst, limit: Math.min(most, burst + Math.max(65_536, Math.round(rate / 20))) };
}

function ignoreAbsent(error: unknown): void {
  if (!isErrno(error, "ENOENT", "EINVAL")) throw error;
}

async function checkPod(pod: Netlink, record: EndpointRecord): Promise<string[]> {
  const link = await pod.linkGet(record.ifname).catch(() => undefined);
  if (!link) return [`${record.ifname} is gone from the pod`];
  const addresses = await pod.addrList({ index: link.index });
  const problems: string[] = link.up ? [] : [`${record.ifname} is down in the pod`];
  for (const text of record.ips) {
    const wanted = parseIp(text);
    const found = addresses.some(({ prefix }) => ipEqual(prefix.ip, wanted));
    if (!found) problems.push(`${record.ifname} has lost the address ${text}`);
  }
  return problems;
}

function openPodNetns(path: string): number {
  try {
    return openNetns(path);
  } catch (cause) {
    throw new AxonError("endpoint.netns", `the pod's network namespace ${path} cannot be opened`, { cause });
  }
}
