import { closeSync, openSync } from "node:fs";
import { errorText, type Logger } from "@axoneme/base";
import { BpfIterator, type BpfMap, feature, type LoadedObject } from "@axoneme/bpf";
import { openObject, type ProgramOptions } from "./programs.ts";

/** Where the sockets of this node live. */
export interface SocketNamespaces {
  /** Cookie of the node's own network namespace. */
  readonly own: bigint;
  /** The file of a pod's namespace; undefined when it is none of ours, or gone. */
  pathOf(cookie: bigint): string | undefined;
}

/** What closing sockets has come to. */
export interface SocketCloserStatus {
  /** Why sockets are not closed; undefined when they are. */
  readonly reason: string | undefined;
  /** Times that sockets were looked through. */
  readonly runs: number;
  /** Sockets closed since the agent started. */
  readonly closed: { readonly tcp: number; readonly udp: number };
}

/** enum ax_gone of bpf/sockiter.bpf.c */
const tcp = 1;
const udp = 2;

/** Removals of this many milliseconds are one run. */
const gatherMs = 100;
/** A connection that was under way to a backend as it was removed has its socket in place by then. */
const settleMs = 10;

interface Iterators {
  readonly object: LoadedObject;
  /** Cookie of a namespace -> kinds of sockets there that have to be closed. */
  readonly gone: BpfMap;
  readonly find: BpfIterator;
  readonly tcp: BpfIterator;
  readonly udp: BpfIterator;
}

/**
 * Closes the sockets that a Service led to a backend which is gone: TCP everywhere on the node, UDP of the node itself
 * (that of pods moves to another backend by the packet). One walk over the sockets that Services led somewhere says in
 * which namespaces there is work; the sockets of those only are walked, off the event loop, one namespace at a time.
 */
export class SocketCloser {
  readonly #namespaces: SocketNamespaces;
  readonly #log: Logger;
  readonly #iterators: Iterators | undefined;
  readonly #reason: string | undefined;
  readonly #closed = { tcp: 0, udp: 0 };
  #runs = 0;
  #removed = 0;
  #lastEnd = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #work: Promise<void> = Promise.resolve();
  #isWorking = false;
  #isOpen = true;

  private constructor(
    namespaces: SocketNamespaces,
    log: Logger,
    iterators: Iterators | undefined,
    reason: string | undefined,
  ) {
    this.#namespaces = namespaces;
    this.#log = log;
    this.#iterators = iterators;
    this.#reason = reason;
  }

  /** Never throws: without the kernel's part it closes nothing and says why. */
  static open(options: ProgramOptions, namespaces: SocketNamespaces, log: Logger): SocketCloser {
    if (feature("sockDestroy") === "no") {
      return new SocketCloser(namespaces, log, undefined, "the kernel has no bpf_sock_destroy (Linux 6.5)");
    }
    try {
      return new SocketCloser(namespaces, log, loadIterators(options), undefined);
    } catch (err) {
      log.warn({ err }, "sockets of removed backends cannot be closed");
      return new SocketCloser(namespaces, log, undefined, errorText(err));
    }
  }

  get status(): SocketCloserStatus {
    return { reason: this.#reason, runs: this.#runs, closed: { ...this.#closed } };
  }

  /** Backends' rows were deleted. Returns at once; the sockets are closed a moment later. */
  backendsRemoved(ids: readonly number[]): void {
    if (ids.length === 0 || !this.#iterators || !this.#isOpen) return;
    this.#removed += ids.length;
    this.#schedule();
  }

  /** Looks for sockets of backends that were removed while nobody was told, before this agent. */
  look(): void {
    if (this.#iterators && this.#isOpen) this.#schedule();
  }

  /** Resolves when everything that was asked for so far is done. */
  async settled(): Promise<void> {
    while (this.#timer || this.#isWorking) {
      if (this.#timer) this.#start();
      await this.#work;
    }
  }

  /** Ends the run in progress; nothing starts any more. */
  async close(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#work;
    const { object, find, tcp, udp } = this.#iterators ?? {};
    await Promise.all([find?.close(), tcp?.close(), udp?.close()]);
    object?.close();
  }

  #schedule(): void {
    if (this.#timer || this.#isWorking) return;
    const wait = Math.max(settleMs, this.#lastEnd + gatherMs - performance.now());
    this.#timer = setTimeout(() => this.#start(), wait).unref();
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isWorking = true;
    this.#work = this.#run().finally(() => {
      this.#isWorking = false;
      this.#lastEnd = performance.now();
      if (this.#removed > 0 && this.#isOpen) this.#schedule();
    });
  }

  async #run(): Promise<void> {
    if (!this.#iterators) return;
    const backends = this.#removed;
    const before = this.#closed.tcp + this.#closed.udp;
    const start = performance.now();
    this.#removed = 0;
    this.#runs++;
    try {
      this.#iterators.gone.clear();
      await this.#iterators.find.run();
      for (const [cookie, kinds] of rowsOf(this.#iterators.gone)) {
        if (this.#isOpen) await this.#closeIn(this.#iterators, cookie, kinds);
      }
      const closed = this.#closed.tcp + this.#closed.udp - before;
      const ms = Math.round(performance.now() - start);
      if (closed > 0) this.#log.info({ backends, closed, ms }, "sockets of removed backends closed");
    } catch (err) {
      this.#log.error({ err }, "sockets of removed backends could not be closed");
    }
  }

  async #closeIn(iterators: Iterators, cookie: bigint, kinds: number): Promise<void> {
    const netnsFd = this.#namespace(cookie);
    if (netnsFd === undefined) return;
    try {
      if (kinds & tcp) this.#closed.tcp += (await iterators.tcp.run({ netnsFd })).length;
      if (kinds & udp) this.#closed.udp += (await iterators.udp.run({ netnsFd })).length;
    } finally {
      if (netnsFd >= 0) closeSync(netnsFd);
    }
  }

  /** A descriptor of the namespace, -1 for the own one; undefined when its pod is on its way out. */
  #namespace(cookie: bigint): number | undefined {
    if (cookie === this.#namespaces.own) return -1;
    const path = this.#namespaces.pathOf(cookie);
    if (path === undefined) return undefined;
    try {
      return openSync(path, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }
}

function loadIterators(options: ProgramOptions): Iterators {
  const object = openObject("sockiter", options).load();
  try {
    return {
      object,
      gone: object.map("ax_gone"),
      find: BpfIterator.attach(object.program("gone_find"), object.map("ax_sock")),
      tcp: BpfIterator.attach(object.program("gone_tcp")),
      udp: BpfIterator.attach(object.program("gone_udp")),
    };
  } catch (error) {
    object.close();
    throw error;
  }
}

function rowsOf(gone: BpfMap): [cookie: bigint, kinds: number][] {
  return [...gone].map(([key, value]) => [
    new DataView(key.buffer, key.byteOffset).getBigUint64(0, true),
    new DataView(value.buffer, value.byteOffset).getUint32(0, true),
  ]);
}
