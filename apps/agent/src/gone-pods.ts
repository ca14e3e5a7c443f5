import { type Ip, ipKey } from "@axoneme/base";
import type { Ipcache, IpcacheEntry } from "@axoneme/identity";

/** Addresses of pods that are gone and still remembered. */
const remembered = 4096;

/**
 * Who had an address before: flows are named when they are read, often after the pod that made them has ended.
 * Bounded: the pods gone longest are forgotten first.
 */
export class GonePods {
  readonly #byIp = new Map<string, IpcacheEntry>();

  constructor(ipcache: Pick<Ipcache, "changes">) {
    ipcache.changes.on(({ prefix, previous, entry }) => {
      if (!previous?.pod || prefix.length !== 128) return;
      if (entry?.pod?.name === previous.pod.name && entry.pod.namespace === previous.pod.namespace) return;
      const key = ipKey(prefix.ip);
      // Taken out and put back: a Map keeps the order of insertion.
      this.#byIp.delete(key);
      this.#byIp.set(key, previous);
      const [oldest] = this.#byIp.keys();
      if (this.#byIp.size > remembered && oldest !== undefined) this.#byIp.delete(oldest);
    });
  }

  /** The last pod that had the address, if it had this identity: another one's flows are not its own. */
  get(ip: Ip, identity: number): IpcacheEntry | undefined {
    const entry = this.#byIp.get(ipKey(ip));
    return entry?.identity === identity ? entry : undefined;
  }
}
