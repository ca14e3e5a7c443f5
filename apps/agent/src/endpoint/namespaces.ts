import type { Netns } from "@axoneme/abi";
import { isV4, type Logger, parseIp } from "@axoneme/base";
import type { TypedMap } from "@axoneme/datapath";
import { attachmentKey, type EndpointRecord } from "@axoneme/endpoint";

const none = new Uint8Array(16);

/** What of an endpoint its namespace's row is made from. */
type Attachment = Pick<EndpointRecord, "id" | "containerId" | "ifname" | "netns" | "ips">;

/**
 * The network namespaces of this node's pods, by the number the kernel gives them. Their rows tell the socket layer
 * that a socket is a pod's, and the address its packets will have. A namespace with several attachments has the
 * addresses of the first.
 */
export class PodNamespaces {
  readonly #rows: Pick<TypedMap<bigint, Netns>, "put" | "delete" | "entries">;
  readonly #cookieOf: (path: string) => bigint;
  readonly #log: Logger;
  readonly #cookies = new Map<string, bigint>();
  readonly #attachments = new Map<bigint, Attachment[]>();

  /** @param cookieOf the number of the namespace at a path; throws when it cannot be entered. */
  constructor(
    rows: Pick<TypedMap<bigint, Netns>, "put" | "delete" | "entries">,
    cookieOf: (path: string) => bigint,
    log: Logger,
  ) {
    this.#rows = rows;
    this.#cookieOf = cookieOf;
    this.#log = log;
  }

  /** Before the first process of the pod runs, and for every pod that is adopted. */
  put(endpoint: Attachment): void {
    try {
      const cookie = this.#cookieOf(endpoint.netns);
      this.remove(endpoint);
      this.#cookies.set(attachmentKey(endpoint.containerId, endpoint.ifname), cookie);
      this.#set(cookie, [...(this.#attachments.get(cookie) ?? []), endpoint]);
    } catch (err) {
      this.#log.warn(
        { err, endpoint: endpoint.id },
        "a pod's namespace is not known: Services take its sockets for the node's",
      );
    }
  }

  /** Removing what is not there is fine. */
  remove(endpoint: Pick<Attachment, "containerId" | "ifname">): void {
    const key = attachmentKey(endpoint.containerId, endpoint.ifname);
    const cookie = this.#cookies.get(key);
    if (cookie === undefined) return;
    this.#cookies.delete(key);
    const others = (this.#attachments.get(cookie) ?? []).filter(
      ({ containerId, ifname }) => attachmentKey(containerId, ifname) !== key,
    );
    this.#set(cookie, others);
  }

  /** Removes rows of pods that went while no agent ran. Call once all endpoints are adopted. */
  prune(): void {
    for (const [cookie] of this.#rows.entries()) {
      if (!this.#attachments.has(cookie)) this.#rows.delete(cookie);
    }
  }

  /** The file of a pod's namespace. */
  pathOf(cookie: bigint): string | undefined {
    return this.#attachments.get(cookie)?.[0]?.netns;
  }

  #set(cookie: bigint, attachments: Attachment[]): void {
    attachments.sort((a, b) => a.id - b.id);
    const [first] = attachments;
    if (!first) {
      this.#attachments.delete(cookie);
      this.#rows.delete(cookie);
      return;
    }
    this.#attachments.set(cookie, attachments);
    const ips = first.ips.map(parseIp);
    this.#rows.put(cookie, { ip4: ips.find(isV4) ?? none, ip6: ips.find((ip) => !isV4(ip)) ?? none });
  }
}
