import { BpfError, check } from "./errors.ts";
import { feature } from "./features.ts";
import { type Attachment, type Direction, Link, type TcxOptions } from "./link.ts";
import { native } from "./native.ts";
import type { Program } from "./program.ts";

/** The place of our filter among others: one handle and priority, so that a restarted agent finds its own. */
const HANDLE = 1;
const PRIORITY = 1;
const ENOENT = 2;
const ENODEV = 19;
/** What the kernel answers to a filter request on an interface without a clsact qdisc: EINVAL. */
const NO_QDISC = 22;

/**
 * A program as a direct-action filter on the interface's clsact qdisc. The filter itself keeps the program:
 * it survives this process without a pin, until `detach` or until the interface is gone. Errors: `bpf.tc`.
 */
export class TcFilter implements Attachment {
  readonly ifindex: number;
  readonly direction: Direction;
  readonly #netnsFd: number;

  private constructor(options: TcxOptions) {
    this.ifindex = options.ifindex;
    this.direction = options.direction;
    this.#netnsFd = options.netnsFd ?? -1;
  }

  /** Creates the qdisc where it is missing; replaces our filter if it is there. `netnsFd` must stay open. */
  static attach(program: Program, options: TcxOptions): TcFilter {
    const filter = new TcFilter(options);
    filter.update(program);
    return filter;
  }

  /** The filter of an earlier process, or undefined. */
  static find(options: TcxOptions): TcFilter | undefined {
    const filter = new TcFilter(options);
    return filter.programId() === undefined ? undefined : filter;
  }

  /** Id of the program in the filter; undefined when there is no filter, or the interface is gone. */
  programId(): number | undefined {
    const result = native().tcQuery(this.ifindex, this.#egress, HANDLE, PRIORITY, this.#netnsFd);
    if (result === -ENOENT || result === -NO_QDISC || result === -ENODEV) return undefined;
    return check(result, "bpf.tc", `query ${this.#what}`);
  }

  update(program: Program): void {
    const result = native().tcAttach(this.ifindex, this.#egress, HANDLE, PRIORITY, this.#netnsFd, program.fd);
    if (result < 0) check(result, "bpf.tc", `put ${program.name} into ${this.#what}${kernelWords()}`);
  }

  /** Nothing happens when the filter or the interface is already gone. The qdisc stays. */
  detach(): void {
    const result = native().tcDetach(this.ifindex, this.#egress, HANDLE, PRIORITY, this.#netnsFd);
    if (result === -ENOENT || result === -ENODEV || result === -NO_QDISC) return;
    check(result, "bpf.tc", `remove ${this.#what}`);
  }

  /** Nothing is held open. */
  close(): void {
    return;
  }

  get #egress(): boolean {
    return this.direction === "egress";
  }

  get #what(): string {
    return `the clsact ${this.direction} filter of interface ${this.ifindex}`;
  }
}

/** The kernel's reason for refusing the last request, as ` (...)`. */
function kernelWords(): string {
  const words = [
    ...native()
      .tcWarnings()
      .matchAll(/Kernel error message: (.*)/g),
  ].map((match) => match[1]);
  const last = words.filter((text) => !text?.startsWith("Exclusivity flag")).at(-1);
  return last ? ` (${last})` : "";
}

/** A tcx link where the kernel has tcx, else a clsact filter. */
export function attachTc(program: Program, options: TcxOptions): Attachment {
  const tcx = feature("tcx");
  if (tcx === "yes") return Link.attachTcx(program, options);
  if (tcx === "no") return TcFilter.attach(program, options);
  throw new BpfError("bpf.tc", "cannot tell whether the kernel has tcx: the probe was refused");
}
