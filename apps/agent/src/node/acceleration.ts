import { AxonError, errorText, type Logger } from "@axoneme/base";
import { BpfError } from "@axoneme/bpf";
import type { Kernel } from "@axoneme/datapath";
import { driverCounters, type Link, type Netlink } from "@axoneme/netlink";

/** What the option loadBalancerAcceleration may be. */
export type AccelerationWish = "disabled" | "best-effort" | "native";

/** Where packets from outside are balanced, and why not in XDP. */
export interface AccelerationState {
  readonly at: "xdp" | "tcx";
  readonly reason?: string;
}

/** The state is looked at again this often: the other end of a veth may be set otherwise meanwhile. */
const recheckMs = 30_000;
const probeFrames = 8;
/** An Ethernet type for experiments (IEEE 802): nobody reads these frames. */
const probeType = [0x88, 0xb5] as const;
const probeBytes = 60;

/** XDP on the node's native device where it can be had. */
export class Acceleration {
  readonly #kernel: Kernel;
  readonly #netlink: Netlink;
  readonly #wish: AccelerationWish;
  readonly #log: Logger;
  #state: AccelerationState = { at: "tcx" };
  #timer: NodeJS.Timeout | undefined;
  #checking = false;

  constructor(kernel: Kernel, netlink: Netlink, wish: AccelerationWish, log: Logger) {
    this.#kernel = kernel;
    this.#netlink = netlink;
    this.#wish = wish;
    this.#log = log;
  }

  /** Where packets from outside are balanced now. */
  get state(): AccelerationState {
    return this.#state;
  }

  /**
   * Attaches the XDP program to a device, or takes it off, and watches from then on that it can be there.
   * @throws AxonError `node.acceleration` when XDP is required and cannot be had.
   */
  async start(ifindex: number): Promise<void> {
    await this.#settle(ifindex);
    if (this.#wish === "disabled") return;
    if (this.#wish === "native" && this.#state.at === "tcx") {
      throw new AxonError(
        "node.acceleration",
        `loadBalancerAcceleration is "native", but ${this.#state.reason ?? "XDP cannot be had"}: ` +
          'mend that, or choose "best-effort"',
      );
    }
    this.#timer = setInterval(() => void this.#recheck(ifindex), recheckMs);
    this.#timer.unref();
  }

  /** Ends the watching; the program stays where it is. */
  stop(): void {
    clearInterval(this.#timer);
  }

  async #recheck(ifindex: number): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    try {
      await this.#settle(ifindex);
    } catch (error) {
      this.#log.warn({ err: errorText(error) }, "XDP could not be checked; trying again");
    } finally {
      this.#checking = false;
    }
  }

  async #settle(ifindex: number): Promise<void> {
    const label = `dev${ifindex}`;
    const link = await this.#netlink.linkGet(ifindex);
    const reason = this.#wish === "disabled" ? "switched off" : this.#attach(label, link);
    if (reason !== undefined) this.#kernel.attachments.detachXdp(label);
    this.#kernel.useXdp(reason !== undefined ? "off" : link.kind === "veth" ? "redirect" : "tx");
    this.#become(link, reason === undefined ? { at: "xdp" } : { at: "tcx", reason });
  }

  #become(link: Link, state: AccelerationState): void {
    const isNew = state.at !== this.#state.at || state.reason !== this.#state.reason;
    this.#state = state;
    if (!isNew || this.#wish === "disabled") return;
    if (state.at === "xdp") this.#log.info({ device: link.name }, "packets from outside are balanced in XDP");
    else
      this.#log.warn({ device: link.name, reason: state.reason }, "packets from outside are balanced in tcx");
  }

  /** Why the program cannot be there, or undefined when it is. */
  #attach(label: string, link: Link): string | undefined {
    try {
      this.#kernel.attachments.attachXdp(label, link.index);
    } catch (error) {
      if (error instanceof BpfError) return attachReason(error, link.name);
      throw error;
    }
    return this.#arrives(link) ? undefined : unheardReason(link.name);
  }

  /**
   * Does what XDP sends out of the device get anywhere? The one driver that loses frames without a word is veth, when
   * the other end has no receive queue to poll; it counts those that were taken. Others have XDP_TX with XDP.
   */
  #arrives(link: Link): boolean {
    if (link.kind !== "veth") return true;
    const before = framesTaken(link.name);
    this.#kernel.sendByXdp(link.index, probeFrame(link.mac), probeFrames);
    return framesTaken(link.name) - before >= probeFrames;
  }
}

/** Frames of XDP that the other end of a veth took so far. */
function framesTaken(device: string): number {
  const taken = Object.entries(driverCounters(undefined, device)).filter(([name]) =>
    /^tx_queue_\d+_xdp_xmit$/.test(name),
  );
  return taken.reduce((sum, [, count]) => sum + count, 0);
}

/** From the device to itself: no bridge or switch sends that anywhere else. */
function probeFrame(mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(probeBytes);
  frame.set(mac, 0);
  frame.set(mac, 6);
  frame.set(probeType, 12);
  return frame;
}

function unheardReason(device: string): string {
  return `the other end of the veth ${device} takes no frames of XDP: switch GRO on there (ethtool -K <device> gro on)`;
}

const reasons: Readonly<Record<string, (device: string) => string>> = {
  ENOTSUP: (device) => `the driver of ${device} has no native XDP`,
  EBUSY: (device) => `another XDP program is attached to ${device}`,
  ERANGE: (device) => `the MTU of ${device} is too large for XDP`,
  ENOSPC: (device) => `${device} has fewer receive queues than its peer has transmit queues`,
  ENOTCONN: (device) => `${device} has no peer`,
};

function attachReason(error: BpfError, device: string): string {
  return reasons[error.errnoName ?? ""]?.(device) ?? `the kernel refuses XDP on ${device}: ${error.message}`;
}
