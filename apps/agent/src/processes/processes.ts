import type { Process } from "@axoneme/abi";
import type { HealthReporter, Module } from "@axoneme/app";
import type { Kernel } from "@axoneme/datapath";
import type { FlowProcess } from "@axoneme/flow";
import { bootWallNs, executableOf, isRunning, seesProcesses } from "./proc.ts";
import { flowProcess, isPathPartial } from "./row.ts";

/** How often the kernel's rows are looked after. */
const beatMs = 1000;
/** Each living process is asked after about once in so many beats. */
const beatsOfRound = 60;
/** Processes that are gone and still named at most: the oldest are forgotten. Some 300 bytes each. */
const goneLimit = 16_384;
/** A process starts before its packets; the clocks' distance is known to hundredths of a second. */
const slackNs = 1_000_000_000n;

/** What the option says. */
export type ProcessesMode = "off" | "names" | "arguments";

/** What of the datapath is needed. */
export interface OwnersKernel {
  readonly maps: Pick<Kernel["maps"], "processes" | "processSeq">;
  readonly attachments: Pick<Kernel["attachments"], "knowsOwners" | "attachOwners" | "detachOwners">;
}

interface Known {
  readonly pid: number;
  readonly startNs: bigint;
  /** Wall time. */
  readonly startedNs: bigint;
  readonly shown: FlowProcess;
}

/**
 * The processes behind the numbers in records. The kernel's rows say all there is to know, written when a process made
 * its first socket; they stay as long as the process runs, for the agent that comes after this one. Here is also kept
 * who is gone: its packets, and those who ask for them, come later.
 */
export class Processes implements Module {
  readonly name = "processes";
  readonly #kernel: OwnersKernel;
  readonly #rows: OwnersKernel["maps"];
  readonly #mode: ProcessesMode;
  readonly #cgroup: string;
  /** With a row in the kernel. */
  readonly #running = new Map<number, Known>();
  readonly #gone = new Map<number, Known>();
  readonly #seesAll = seesProcesses();
  #round = this.#running.keys();
  #last = 0;
  #unnoted = 0;
  #beat: NodeJS.Timeout | undefined;
  #health: HealthReporter | undefined;

  /** @param cgroup below which the node's pods are. */
  constructor(kernel: OwnersKernel, mode: ProcessesMode, cgroup: string) {
    this.#kernel = kernel;
    this.#rows = kernel.maps;
    this.#mode = mode;
    this.#cgroup = cgroup;
  }

  start(health: HealthReporter): void {
    const { attachments } = this.#kernel;
    if (this.#mode === "off") {
      attachments.detachOwners();
      health.ok("off: flows do not name processes");
    } else if (attachments.knowsOwners) {
      attachments.attachOwners(this.#cgroup);
      this.#health = health;
      this.#restore();
      this.#report();
      this.#beat = setInterval(() => this.#tend(), beatMs).unref();
    } else {
      health.ok(
        "off: this kernel does not take the program that knows a socket's owner: flows name no processes",
      );
    }
  }

  stop(): void {
    clearInterval(this.#beat);
  }

  /** The process of that number, if it ran at that wall time: numbers begin anew with the machine. */
  get(id: number, timeNs: bigint): FlowProcess | undefined {
    if (this.#mode === "off") return undefined;
    if (id > this.#last) this.#learn();
    const known = this.#running.get(id) ?? this.#gone.get(id);
    return known === undefined || known.startedNs > timeNs + slackNs ? undefined : known.shown;
  }

  /** Processes with a row in the kernel, and those that are gone and still named. */
  get counts(): { running: number; gone: number; unnoted: number } {
    return { running: this.#running.size, gone: this.#gone.size, unnoted: this.#unnoted };
  }

  #restore(): void {
    this.#last = this.#rows.processSeq.get(0)?.last ?? 0;
    const wall = bootWallNs();
    for (const [id, row] of this.#rows.processes.entries()) this.#add(id, row, wall);
  }

  /** Rows that came since the last look, by their numbers: these count up. */
  #learn(): void {
    const { last, unnoted } = this.#rows.processSeq.get(0) ?? { last: 0, unnoted: 0 };
    this.#unnoted = unnoted;
    if (last === this.#last) return;
    const wall = bootWallNs();
    const first = Math.max(this.#last + 1, last - this.#rows.processes.raw.maxEntries);
    this.#last = last;
    for (let id = first; id <= last; id++) {
      const row = this.#rows.processes.get(id);
      if (row !== undefined) this.#add(id, row, wall);
    }
  }

  #add(id: number, row: Process, wall: bigint): void {
    const path = isPathPartial(row) ? executableOf(row.pid, row.startNs) : undefined;
    const startedNs = row.startNs + wall;
    const shown = flowProcess({ row, path, startedNs, withArguments: this.#mode === "arguments" });
    this.#running.set(id, { pid: row.pid, startNs: row.startNs, startedNs, shown });
  }

  /** Finds out who is gone, a part of them at a time; more of them when the kernel's table fills up. */
  #tend(): void {
    this.#learn();
    const room = this.#rows.processes.raw.maxEntries;
    const isCrowded = this.#running.size > room / 2;
    const looks = isCrowded ? room / 16 : Math.ceil(this.#running.size / beatsOfRound);
    for (let i = 0; this.#seesAll && i < looks; i++) this.#checkNext();
    // Without a look at the processes, and with more than fit, the oldest rows go: they are still known here.
    for (const id of this.#running.keys()) {
      if (this.#running.size <= (room / 4) * 3) break;
      this.#retire(id);
    }
    this.#report();
  }

  #checkNext(): void {
    let next = this.#round.next();
    if (next.done === true) {
      this.#round = this.#running.keys();
      next = this.#round.next();
    }
    if (next.done === true) return;
    const known = this.#running.get(next.value);
    if (known !== undefined && !isRunning(known.pid, known.startNs)) this.#retire(next.value);
  }

  #retire(id: number): void {
    const known = this.#running.get(id);
    if (known === undefined) return;
    this.#rows.processes.delete(id);
    this.#running.delete(id);
    this.#gone.set(id, known);
    const oldest = this.#gone.size > goneLimit ? this.#gone.keys().next() : undefined;
    if (oldest?.done === false) this.#gone.delete(oldest.value);
  }

  #report(): void {
    const words = [
      `${this.#running.size} with sockets in pods, ${this.#gone.size} gone and still named`,
      this.#mode === "arguments" ? "with their arguments" : "without their arguments",
    ];
    if (this.#unnoted > 0) words.push(`${this.#unnoted} found no room`);
    if (!this.#seesAll) words.push("the node's processes cannot be seen from here (hostPID)");
    this.#health?.ok(words.join("; "));
  }
}
