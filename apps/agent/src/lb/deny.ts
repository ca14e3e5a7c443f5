import type { HealthReporter, Module } from "@axoneme/app";
import { backoff, errorText, type Logger, type Prefix, parsePrefixOrIp, prefixKey } from "@axoneme/base";
import type { DatapathMaps } from "@axoneme/datapath";
import type { EdgeDenyList, ListWatchHandlers } from "@axoneme/kube";
import { compileLabelSelector, plainLabels } from "@axoneme/loadbalancer";

/** Prefixes whose packets are dropped at the edge: those of the configuration and of the lists that select this node. */
export class DenyLists implements Module {
  readonly name = "deny";
  readonly #map: Pick<DatapathMaps["deny"], "putAll" | "delete" | "entries">;
  #fixed: readonly Prefix[];
  readonly #log: Logger;
  readonly #lists = new Map<string, EdgeDenyList>();
  readonly #wait = backoff({ baseMs: 200, maxMs: 30_000 });
  #labels: Readonly<Record<string, string>> = {};
  readonly #written = new Map<string, Prefix>();
  #queued = false;
  #open = false;
  #timer: NodeJS.Timeout | undefined;
  #health: HealthReporter | undefined;
  /** Why the rows are not as they should be. */
  problem: string | undefined;

  constructor(map: DatapathMaps["deny"], fixed: readonly Prefix[], log: Logger) {
    this.#map = map;
    this.#fixed = fixed;
    this.#log = log;
  }

  /** Prefixes in force. */
  get size(): number {
    return this.#written.size;
  }

  /** For a ListWatch of EdgeDenyList. */
  handlers(): ListWatchHandlers<EdgeDenyList> {
    const upsert = (list: EdgeDenyList) => {
      this.#lists.set(list.metadata?.name ?? "", list);
      this.#later();
    };
    return {
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: (list) => {
        this.#lists.delete(list.metadata?.name ?? "");
        this.#later();
      },
    };
  }

  /** The prefixes of the configuration. */
  setFixed(prefixes: readonly Prefix[]): void {
    this.#fixed = prefixes;
    this.#later();
  }

  /** The labels of this node: lists may select by them. */
  setLabels(labels: Readonly<Record<string, string>>): void {
    this.#labels = labels;
    this.#later();
  }

  /** Everything is known: from here on rows are written, and what an earlier agent left and nobody wants goes. */
  open(): void {
    this.#read();
    this.#open = true;
    this.#write();
  }

  #read(): void {
    this.#written.clear();
    for (const [{ addr, prefixlen }] of this.#map.entries()) {
      const prefix = { ip: addr.slice(), length: prefixlen };
      this.#written.set(prefixKey(prefix), prefix);
    }
  }

  start(health: HealthReporter): void {
    this.#health = health;
    this.#report();
  }

  #report(): void {
    if (this.problem !== undefined) this.#health?.degraded(this.problem);
    else this.#health?.ok(`${this.#written.size} prefixes`);
  }

  /** Gives up what is pending. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #later(): void {
    if (this.#queued || !this.#open) return;
    this.#queued = true;
    queueMicrotask(() => {
      this.#queued = false;
      this.#write();
    });
  }

  #write(): void {
    const wanted = this.#wanted();
    const puts = [...wanted].filter(([key]) => !this.#written.has(key)).map(([, prefix]) => prefix);
    try {
      // First those that go: they make room.
      for (const [key, { ip, length }] of this.#written) {
        if (wanted.has(key)) continue;
        this.#map.delete({ prefixlen: length, addr: ip });
        this.#written.delete(key);
      }
      this.#map.putAll(puts.map(({ ip, length }) => [{ prefixlen: length, addr: ip }, 1]));
      for (const prefix of puts) this.#written.set(prefixKey(prefix), prefix);
      this.problem = undefined;
      this.#wait.reset();
    } catch (error) {
      this.problem = `prefixes to deny could not be written: ${errorText(error)}`;
      this.#log.error({ err: error, rows: puts.length }, "prefixes to deny could not be written");
      // Some of them may be there.
      this.#read();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#write(), this.#wait.next()).unref();
    }
    this.#report();
  }

  #wanted(): Map<string, Prefix> {
    const wanted = new Map(this.#fixed.map((prefix) => [prefixKey(prefix), prefix]));
    for (const list of this.#lists.values()) {
      if (!this.#selects(list)) continue;
      for (const text of list.spec.cidrs) {
        try {
          const prefix = parsePrefixOrIp(text);
          wanted.set(prefixKey(prefix), prefix);
        } catch {
          // The list's status says which of its entries are none; the others hold.
        }
      }
    }
    return wanted;
  }

  #selects({ metadata, spec }: EdgeDenyList): boolean {
    try {
      return compileLabelSelector(spec.nodeSelector as Parameters<typeof compileLabelSelector>[0])(
        plainLabels(this.#labels),
      );
    } catch (error) {
      this.#log.warn(
        { list: metadata?.name, err: errorText(error) },
        "the node selector of a deny list makes no sense",
      );
      return false;
    }
  }
}
