import { IpcacheFlags } from "@axoneme/abi";
import { errorText, type Ip, type Logger, type Prefix, prefixKey } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import type { Ipcache, IpcacheEntry } from "@axoneme/identity";
import type { AddressPlaces } from "./places.ts";

/** How long rows that could not be written wait for their next try. */
const retryMs = 1000;

const noNode: Ip = new Uint8Array(16);

/** Writes the model of the ipcache to the kernel: the changes of one turn of the event loop together. */
export class IpcacheWriter {
  readonly #model: Ipcache;
  readonly #kernel: Kernel;
  readonly #log: Logger;
  readonly #pending = new Map<string, Prefix>();
  /** Told of rows before they are written, and after: policy rows for who is where come first. */
  places: Pick<AddressPlaces, "beforeRows" | "settle"> | undefined;
  #queued = false;
  #retryTimer: NodeJS.Timeout | undefined;
  /** The last write that failed, while it has not been made good. */
  problem: string | undefined;

  constructor(model: Ipcache, kernel: Kernel, log: Logger) {
    this.#model = model;
    this.#kernel = kernel;
    this.#log = log;
    model.changes.on(({ prefix }) => {
      this.#pending.set(prefixKey(prefix), prefix);
      if (this.#queued) return;
      this.#queued = true;
      queueMicrotask(() => this.flush());
    });
  }

  /**
   * Writes what is pending now: before something that relies on it.
   * @param isGain what is pending only opens: connections need not be decided again.
   */
  flush(isGain = false): void {
    this.#queued = false;
    if (this.#pending.size === 0) return;
    const pending = [...this.#pending.values()];
    this.places?.beforeRows(
      pending.map((prefix) => ({ prefix, identity: this.#model.get(prefix)?.identity })),
    );
    const puts: [{ prefixlen: number; addr: Ip }, ReturnType<typeof rowOf>][] = [];
    for (const prefix of pending) {
      const entry = this.#model.get(prefix);
      const key = { prefixlen: prefix.length, addr: prefix.ip };
      if (entry) puts.push([key, rowOf(entry)]);
      else this.#kernel.maps.ipcache.delete(key);
    }
    try {
      this.#kernel.maps.ipcache.putAll(puts);
      for (const prefix of pending) this.#pending.delete(prefixKey(prefix));
      this.problem = undefined;
      this.places?.settle();
    } catch (error) {
      // They stay pending: written with the next change, or after a while without one.
      this.problem = errorText(error);
      this.#log.error({ err: error, rows: puts.length }, "ipcache rows could not be written");
      this.#retryTimer ??= setTimeout(() => {
        this.#retryTimer = undefined;
        this.flush();
      }, retryMs).unref();
    }
    if (!isGain) this.#kernel.changed();
  }

  /** Deletes rows the model does not have. Call once everything that feeds the model has synced. */
  prune(): void {
    this.flush();
    const stale = this.#kernel.maps.ipcache
      .entries()
      .map(([key]) => key)
      .filter((key) => this.#model.get({ ip: key.addr, length: key.prefixlen }) === undefined);
    if (stale.length === 0) return;
    this.#kernel.maps.ipcache.deleteAll(stale);
    this.#kernel.changed();
    this.#log.info({ rows: stale.length }, "stale ipcache rows removed");
  }
}

function rowOf(entry: IpcacheEntry): { identity: number; flags: number; nodeIp: Ip } {
  return {
    identity: entry.identity,
    flags: entry.direct ? IpcacheFlags.DIRECT : 0,
    nodeIp: entry.nodeIp ?? noNode,
  };
}
