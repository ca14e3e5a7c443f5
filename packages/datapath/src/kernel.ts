import { join } from "node:path";
import { type Config, ConfigFlags } from "@axoneme/abi";
import type { Ip, Logger } from "@axoneme/base";
import { mountBpffs, type Program, possibleCpus, RingBuffer } from "@axoneme/bpf";
import { Attachments } from "./attachments.ts";
import { type DatapathMaps, openMaps } from "./maps.ts";
import { dropOldBuilds, loadPrograms, type ProgramOptions } from "./programs.ts";
import { SocketCloser, type SocketNamespaces } from "./sockets.ts";
import { type SweepResult, sweep } from "./sweep.ts";

const xdpFlags = {
  off: 0,
  tx: ConfigFlags.XDP,
  redirect: ConfigFlags.XDP | ConfigFlags.XDP_REDIRECT,
} as const;

/** What the agent sets in `ax_config` at its start; the rest is the kernel's own business, or has a method of its own. */
export type NodeConfig = Omit<Config, "epoch" | "natCpus" | "hostPolicyId">;

/**
 * A node's datapath: its maps, its programs at their places, and the epoch. Opening it brings this build's programs
 * into the kernel and changes nothing else; what an earlier agent left goes on working meanwhile.
 */
export class Kernel {
  readonly maps: DatapathMaps;
  /** Bytes of kernel memory of the maps. */
  readonly mapMemoryBytes: () => number;
  readonly attachments: Attachments;
  /** Which build of the programs is in the kernel. */
  readonly build: string;
  /** True when the programs had to be verified, false when an earlier agent had left them. */
  readonly fresh: boolean;
  /** Maps whose rows were converted since an agent of another version had left them. */
  readonly converted: readonly string[];
  readonly #programs: ReadonlyMap<string, Program>;
  readonly #options: ProgramOptions;
  readonly #close: () => void;
  #config: Config | undefined;
  #bumpQueued = false;
  #xdpFlags = 0;

  private constructor(options: ProgramOptions, log: Logger) {
    const loaded = loadPrograms(options, log);
    const { maps, memoryBytes, close } = openMaps(join(options.bpffs, "maps"));
    this.maps = maps;
    this.mapMemoryBytes = memoryBytes;
    this.build = loaded.build;
    this.fresh = loaded.fresh;
    this.converted = (loaded.handover?.maps ?? []).map(({ name }) => name);
    this.#programs = loaded.programs;
    this.#options = options;
    this.#close = close;
    this.attachments = new Attachments(join(options.bpffs, "links"), loaded.programs);
    const config = maps.config.get(0);
    if (config && config.epoch > 0) this.#config = config;
  }

  /** @throws BpfError, VerifierError, AxonError `datapath.layout` naming the object, program or map. */
  static open(options: ProgramOptions, log: Logger): Kernel {
    prepareBpffs(options.bpffs);
    return new Kernel(options, log);
  }

  /** Writes the node's configuration and raises the epoch. */
  configure(config: NodeConfig): void {
    const hostPolicyId = this.#config?.hostPolicyId ?? 0;
    const own = { natCpus: possibleCpus(), epoch: this.#nextEpoch(), hostPolicyId };
    this.#config = this.#withXdp({ ...config, ...own });
    this.maps.config.put(0, this.#config);
  }

  /**
   * Tells the programs whether the XDP program stands before those of tc, and how it sends: by XDP_TX, or by a redirect
   * to its own device.
   */
  useXdp(how: "off" | "tx" | "redirect"): void {
    this.#xdpFlags = xdpFlags[how];
    if (!this.#config) return;
    this.#config = this.#withXdp(this.#config);
    this.maps.config.put(0, this.#config);
  }

  /** Puts the node itself under a policy, 0: under none, in one step. An earlier agent's stays until this is called. */
  useHostPolicy(id: number): void {
    if (!this.#config || this.#config.hostPolicyId === id) return;
    this.#config = { ...this.#config, hostPolicyId: id };
    this.maps.config.put(0, this.#config);
    this.changed();
  }

  /** The policy the node itself is under. */
  get hostPolicyId(): number {
    return this.#config?.hostPolicyId ?? 0;
  }

  #withXdp(config: Config): Config {
    return { ...config, flags: (config.flags & ~xdpFlags.redirect) | this.#xdpFlags };
  }

  /**
   * Sends frames out of a device the way the XDP program does, without waiting for what becomes of them.
   * @throws BpfError `bpf.test-run`.
   */
  sendByXdp(ifindex: number, frame: Uint8Array, count: number): void {
    const program = this.#programs.get("xdp_probe");
    if (!program) throw new Error("the xdp object has no program xdp_probe");
    program.runLive(frame, { ifindex, count });
  }

  /**
   * Makes every live connection be decided again at its next packet. Call it after changing endpoints, policy,
   * ipcache or routes; the calls of one turn of the event loop become one write.
   */
  changed(): void {
    if (this.#bumpQueued) return;
    this.#bumpQueued = true;
    queueMicrotask(() => this.settle());
  }

  /** Raises the epoch now if a change waits for it. */
  settle(): void {
    if (!this.#bumpQueued) return;
    this.#bumpQueued = false;
    if (!this.#config) return;
    this.#config = { ...this.#config, epoch: this.#nextEpoch() };
    this.maps.config.put(0, this.#config);
  }

  /** The reader of the datapath's events. There must be only one. */
  events(): RingBuffer {
    return RingBuffer.open(this.maps.events);
  }

  /**
   * Removes expired connections and mappings, inside the kernel, and with `flush` those of that address.
   * `nowS`: CLOCK_MONOTONIC seconds.
   */
  sweep(nowS: number, flush?: Ip): SweepResult {
    const program = this.#programs.get("ct_gc");
    if (!program) throw new Error("the gc object has no program ct_gc");
    return sweep(program, nowS, flush);
  }

  /** What closes sockets of removed backends; the caller closes it before the kernel. */
  socketCloser(namespaces: SocketNamespaces, log: Logger): SocketCloser {
    return SocketCloser.open(this.#options, namespaces, log);
  }

  /** Forgets programs that no link uses any more. */
  dropOldBuilds(): void {
    dropOldBuilds(this.#options.bpffs, this.build);
  }

  /** Closes descriptors; everything pinned goes on working. */
  close(): void {
    this.settle();
    for (const program of this.#programs.values()) program.close();
    this.#close();
  }

  /** Epochs go round without ever being 0, which marks an entry that was never decided. */
  #nextEpoch(): number {
    const next = ((this.#config?.epoch ?? 0) + 1) >>> 0;
    return next === 0 ? 1 : next;
  }
}

/** Mounts a bpffs for a node's folder unless one is there. Throws `bpf.mount`. */
export function prepareBpffs(dir: string): void {
  mountBpffs(bpffsRoot(dir));
}

/** The mount point above a node's folder: `/sys/fs/bpf` for anything below it. */
function bpffsRoot(dir: string): string {
  return dir.startsWith("/sys/fs/bpf/") ? "/sys/fs/bpf" : dir;
}
