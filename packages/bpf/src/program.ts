import { ProgramType } from "./constants.ts";
import { BpfError, check } from "./errors.ts";
import { Fd } from "./fd.ts";
import { type NativeProgramInfo, native } from "./native.ts";
import { openPin, type PinOptions, pinFd } from "./pins.ts";
import type { VerifierStats } from "./verifier.ts";

export interface TestRunOptions {
  /** The packet, from L2. At least 14 bytes for tc and XDP. */
  data?: Uint8Array;
  /** The context as the program sees it (struct __sk_buff, struct xdp_md, a syscall program's argument). */
  ctx?: Uint8Array;
  /** Default 1; `durationNs` is the mean of one run. */
  repeat?: number;
  /** BPF_F_TEST_* bits. */
  flags?: number;
  /** With flag BPF_F_TEST_RUN_ON_CPU (1). */
  cpu?: number;
  /** XDP live frames: how many packets at once. */
  batch?: number;
  /** The namespace of the context's interface; default the process's own. */
  netnsFd?: number;
  /** Room for the packet out; default the packet in and 512 bytes. */
  dataOutSize?: number;
}

export interface LiveOptions {
  ifindex: number;
  count: number;
  /** The interface's namespace; default the process's own. */
  netnsFd?: number;
}

/** struct xdp_md, in bytes. */
const XDP_MD_BYTES = 24;
const XDP_MD_DATA_END = 4;
const XDP_MD_IFINDEX = 12;
/** BPF_F_TEST_XDP_LIVE_FRAMES, and how many frames at once at most. */
const LIVE_FRAMES = 2;
const LIVE_BATCH = 64;

export interface TestRunResult {
  /** The program's return value, signed (TC_ACT_UNSPEC is -1). */
  retval: number;
  dataOut: Uint8Array;
  ctxOut: Uint8Array;
  durationNs: number;
}

/** A loaded program. It lives while this descriptor, a pin, a link or a filter holds it. */
export class Program {
  readonly name: string;
  readonly id: number;
  /** Hash of the instructions, 16 hexadecimal digits. */
  readonly tag: string;
  /** One of ProgramType. */
  readonly type: number;
  /** Present on programs that this process loaded. */
  readonly stats: VerifierStats | undefined;
  readonly #fd: Fd;

  /** `name` is the function's name: the kernel keeps only 15 bytes of it. */
  constructor(fd: Fd, name?: string, stats?: VerifierStats) {
    const info = native().progInfo(fd.raw);
    if (typeof info === "number") {
      fd.close();
      throw new BpfError("bpf.program", `${fd.what}: not a program`, { errno: -info });
    }
    this.#fd = fd;
    this.name = name ?? info.name;
    this.id = info.id;
    this.tag = info.tag;
    this.type = info.type;
    this.stats = stats;
  }

  /** Throws `bpf.pin` when nothing is pinned there. */
  static openPinned(path: string): Program {
    const name = path.slice(path.lastIndexOf("/") + 1);
    return new Program(openPin(path, `program ${name}`), name);
  }

  static openById(id: number): Program {
    const raw = check(native().fdById(0, id), "bpf.program", `open program id ${id}`);
    return new Program(new Fd(raw, `program id ${id}`));
  }

  get fd(): number {
    return this.#fd.raw;
  }

  /** What the kernel says now; `runTimeNs` and `runCount` count only while kernel.bpf_stats_enabled is 1. */
  info(): NativeProgramInfo {
    const info = native().progInfo(this.#fd.raw);
    if (typeof info !== "number") return info;
    throw new BpfError("bpf.program", `program ${this.name}: no info`, { errno: -info });
  }

  /** Throws `bpf.pin`. */
  pin(path: string, options?: PinOptions): void {
    pinFd(this.#fd, path, options);
  }

  /** BPF_PROG_TEST_RUN. Throws `bpf.test-run`: ENOTSUPP for types that have none. */
  testRun(options: TestRunOptions = {}): TestRunResult {
    return this.type === ProgramType.SYSCALL ? this.#runSyscall(options) : this.#runPacket(options);
  }

  /**
   * Live frames: the kernel runs an XDP program on `count` frames as if they had arrived at the interface, and does
   * with them what the program says; XDP_TX sends them out of it. What becomes of them then is told by the interface's
   * counters alone. Throws `bpf.test-run`.
   */
  runLive(data: Uint8Array, options: LiveOptions): void {
    const { ifindex, count, netnsFd = -1 } = options;
    const ctx = new Uint8Array(XDP_MD_BYTES);
    const view = new DataView(ctx.buffer);
    view.setUint32(XDP_MD_DATA_END, data.length, true);
    view.setUint32(XDP_MD_IFINDEX, ifindex, true);
    const out = new Uint32Array(4);
    const batch = Math.min(count, LIVE_BATCH);
    const numbers = [count, LIVE_FRAMES, 0, batch] as const;
    const result = native().progTestRun(this.fd, data, null, ctx, null, ...numbers, out, netnsFd);
    check(result, "bpf.test-run", `live run of program ${this.name} on interface ${ifindex}`);
  }

  /** Idempotent. */
  close(): void {
    this.#fd.close();
  }

  #runPacket(options: TestRunOptions): TestRunResult {
    const { data, ctx, repeat = 0, flags = 0, cpu = 0, batch = 0, netnsFd = -1 } = options;
    const dataOut = data ? new Uint8Array(options.dataOutSize ?? data.length + 512) : undefined;
    // A raw tracepoint's context is its arguments: nothing comes back.
    const ctxOut = ctx && this.type !== ProgramType.RAW_TRACEPOINT ? new Uint8Array(ctx.length) : undefined;
    const out = new Uint32Array(4);
    const [din, dout, cin, cout] = [data ?? null, dataOut ?? null, ctx ?? null, ctxOut ?? null];
    const numbers = [repeat, flags, cpu, batch] as const;
    const result = native().progTestRun(this.fd, din, dout, cin, cout, ...numbers, out, netnsFd);
    check(result, "bpf.test-run", `test run of program ${this.name}`);
    return {
      retval: (out[0] ?? 0) | 0,
      durationNs: out[1] ?? 0,
      dataOut: (dataOut ?? new Uint8Array(0)).subarray(0, out[2] ?? 0),
      ctxOut: (ctxOut ?? new Uint8Array(0)).subarray(0, out[3] ?? 0),
    };
  }

  /** A syscall program writes its context in place and refuses every other output. */
  #runSyscall(options: TestRunOptions): TestRunResult {
    const ctx = options.ctx ? Uint8Array.from(options.ctx) : null;
    const out = new Uint32Array(4);
    const result = native().progTestRun(this.fd, null, null, ctx, null, 0, 0, 0, 0, out, -1);
    check(result, "bpf.test-run", `run of syscall program ${this.name}`);
    const retval = (out[0] ?? 0) | 0;
    return { retval, durationNs: 0, dataOut: new Uint8Array(0), ctxOut: ctx ?? new Uint8Array(0) };
  }
}
