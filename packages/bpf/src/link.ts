import { closeSync, openSync, readFileSync } from "node:fs";
import { AttachType } from "./constants.ts";
import { BpfError, check } from "./errors.ts";
import { Fd } from "./fd.ts";
import { type NativeLinkInfo, native } from "./native.ts";
import { openPin, type PinOptions, pinFd, tryOpenPin } from "./pins.ts";
import type { Program } from "./program.ts";
import { tracefs } from "./system.ts";

export type Direction = "ingress" | "egress";

export interface TcxOptions {
  ifindex: number;
  direction: Direction;
  /** The interface's network namespace; default the process's own. */
  netnsFd?: number;
  /** Run before the programs already there; default after them. */
  first?: boolean;
}

export interface XdpOptions {
  ifindex: number;
  /** The interface's network namespace; default the process's own. */
  netnsFd?: number;
  /** Default native. */
  mode?: "native" | "generic";
}

/** XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE. */
const xdpFlags = { generic: 2, native: 4 } as const;

/** What holds a program at its place, however it is held. */
export interface Attachment {
  /** Puts another program in its place in one step: every packet meets the old or the new one. */
  update(program: Program): void;
  /** Takes the program off; what was pinned holds nothing any more. */
  detach(): void;
  /** Gives up the descriptor; a pinned attachment stays. Idempotent. */
  close(): void;
}

const BPF_F_BEFORE = 1 << 3;

/** The attach type of a tcx direction. */
function tcxType(direction: Direction): number {
  return direction === "ingress" ? AttachType.TCX_INGRESS : AttachType.TCX_EGRESS;
}

/**
 * A BPF link. Closing the last descriptor of a link that is not pinned detaches the program.
 * All errors are `bpf.link` (pins: `bpf.pin`).
 */
export class Link implements Attachment {
  readonly what: string;
  readonly #fd: Fd;

  private constructor(fd: Fd) {
    this.#fd = fd;
    this.what = fd.what;
  }

  /** Throws ENODEV when the interface is gone, EINVAL when the kernel has no tcx (see `features`). */
  static attachTcx(program: Program, options: TcxOptions): Link {
    const { ifindex, direction, netnsFd = -1, first = false } = options;
    const flags = first ? BPF_F_BEFORE : 0;
    const raw = native().linkCreate(program.fd, ifindex, tcxType(direction), flags, netnsFd, 0);
    return owned(raw, `tcx ${direction} link of ${program.name} on interface ${ifindex}`);
  }

  /** `attachType` is one of AttachType.CGROUP_*. Several links may stand on one cgroup. */
  static attachCgroup(program: Program, cgroupPath: string, attachType: number): Link {
    const what = `cgroup link of ${program.name} on ${cgroupPath}`;
    let cgroup: number;
    try {
      cgroup = openSync(cgroupPath, "r");
    } catch (error) {
      throw new BpfError("bpf.link", `attach ${what}`, { cause: error });
    }
    try {
      return owned(native().linkCreate(program.fd, cgroup, attachType, 0, -1, 0), what);
    } finally {
      closeSync(cgroup);
    }
  }

  /**
   * In the driver ("native"), or in the stack's generic place behind it, which is slower than tc: never by itself.
   * Throws EOPNOTSUPP when the driver has no XDP, EBUSY when another XDP program is there, ERANGE or EINVAL when the
   * device's MTU or settings forbid it.
   */
  static attachXdp(program: Program, options: XdpOptions): Link {
    const { ifindex, netnsFd = -1, mode = "native" } = options;
    const raw = native().linkCreate(program.fd, ifindex, AttachType.XDP, xdpFlags[mode], netnsFd, 0);
    return owned(raw, `XDP link of ${program.name} on interface ${ifindex}`);
  }

  /** Programs of type RAW_TRACEPOINT. */
  static attachRawTracepoint(program: Program, name: string): Link {
    return owned(
      native().rawTracepointOpen(program.fd, name),
      `raw tracepoint ${name} link of ${program.name}`,
    );
  }

  /** Programs whose target is in their BTF: fentry, fexit, tp_btf, LSM. */
  static attachTracing(program: Program): Link {
    return owned(native().rawTracepointOpen(program.fd, ""), `tracing link of ${program.name}`);
  }

  /** Programs of type TRACEPOINT; `event` is `category:name`. */
  static attachTracepoint(program: Program, event: string, cookie = 0n): Link {
    const raw = native().tracepointLink(program.fd, tracepointId(event), cookie);
    return owned(raw, `tracepoint ${event} link of ${program.name}`);
  }

  static openPinned(path: string): Link {
    return new Link(openPin(path, `link ${path}`));
  }

  /** As openPinned, but undefined when nothing is pinned there. */
  static tryOpenPinned(path: string): Link | undefined {
    const fd = tryOpenPin(path, `link ${path}`);
    return fd && new Link(fd);
  }

  static openById(id: number): Link {
    return owned(native().fdById(2, id), `link id ${id}`);
  }

  get fd(): number {
    return this.#fd.raw;
  }

  /** `type` is one of LinkType; a tcx or XDP link whose interface is gone has ifindex 0. */
  info(): NativeLinkInfo {
    const info = native().linkInfo(this.#fd.raw);
    if (typeof info !== "number") return info;
    throw new BpfError("bpf.link", `${this.what}: no info`, { errno: -info });
  }

  /** With `expected`, fails with EPERM when another program is there meanwhile. */
  update(program: Program, expected?: Program): void {
    const result = native().linkUpdate(this.#fd.raw, program.fd, expected?.fd ?? -1);
    check(result, "bpf.link", `put ${program.name} into the ${this.what}`);
  }

  pin(path: string, options?: PinOptions): void {
    pinFd(this.#fd, path, options);
  }

  /** Tracepoint and tracing links cannot be detached (EOPNOTSUPP): unpin and close them. */
  detach(): void {
    check(native().linkDetach(this.#fd.raw), "bpf.link", `detach the ${this.what}`);
  }

  close(): void {
    this.#fd.close();
  }

  /** @internal */
  static own(fd: Fd): Link {
    return new Link(fd);
  }
}

function owned(raw: number, what: string): Link {
  return Link.own(new Fd(check(raw, "bpf.link", `attach ${what}`), what));
}

function tracepointId(event: string): number {
  const path = `${tracefs()}/events/${event.replace(":", "/")}/id`;
  try {
    return Number(readFileSync(path, "utf8"));
  } catch (error) {
    throw new BpfError("bpf.link", `the kernel has no tracepoint ${event}`, { cause: error });
  }
}

/** Program and link ids attached to an interface by tcx, in the order they run; link id 0: attached without a link. */
export function queryTcx(options: Omit<TcxOptions, "first">): { progId: number; linkId: number }[] {
  const progs = new Uint32Array(64);
  const links = new Uint32Array(64);
  const { ifindex, direction, netnsFd = -1 } = options;
  const result = native().progQuery(ifindex, tcxType(direction), netnsFd, progs, links);
  const count = check(result, "bpf.link", `query tcx ${direction} of interface ${ifindex}`);
  return Array.from({ length: count }, (_, i) => ({ progId: progs[i] ?? 0, linkId: links[i] ?? 0 }));
}
