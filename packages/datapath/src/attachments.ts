import { join } from "node:path";
import { AxonError } from "@axoneme/base";
import {
  type Attachment,
  AttachType,
  attachTc,
  type Direction,
  Link,
  type Program,
  TcFilter,
  unpin,
} from "@axoneme/bpf";

/** A program at a place of a device. */
export interface Hook {
  /** Function name of the program. */
  readonly program: string;
  readonly direction: Direction;
}

/** The hooks of each kind of device. Those of pods are filters, see {@link Attachments.attachPod}. */
export const hooks = {
  pod: [
    { program: "pod_from", direction: "ingress" },
    { program: "pod_to", direction: "egress" },
  ],
  node: [
    { program: "node_from", direction: "ingress" },
    { program: "node_to", direction: "egress" },
  ],
  overlay: [
    { program: "overlay_from", direction: "ingress" },
    { program: "overlay_to", direction: "egress" },
  ],
} as const satisfies Record<string, readonly Hook[]>;

const xdpProgram = "xdp_lb";

/** Socket programs and where in a cgroup each belongs. */
const socketHooks = {
  sock_connect4: AttachType.CGROUP_INET4_CONNECT,
  sock_connect6: AttachType.CGROUP_INET6_CONNECT,
  sock_sendmsg4: AttachType.CGROUP_UDP4_SENDMSG,
  sock_sendmsg6: AttachType.CGROUP_UDP6_SENDMSG,
  sock_recvmsg4: AttachType.CGROUP_UDP4_RECVMSG,
  sock_recvmsg6: AttachType.CGROUP_UDP6_RECVMSG,
  sock_getpeername4: AttachType.CGROUP_INET4_GETPEERNAME,
  sock_getpeername6: AttachType.CGROUP_INET6_GETPEERNAME,
} as const;

const ownerHooks = { sock_owner: AttachType.CGROUP_INET_SOCK_CREATE } as const;

/**
 * Programs at their places, which stay when the agent goes and are replaced in one step by the next: links pinned as
 * `<links>/<label>_<program>` on the node's own devices and on a cgroup, filters on the devices of pods.
 */
export class Attachments {
  readonly #dir: string;
  readonly #programs: ReadonlyMap<string, Program>;

  /** @param dir folder of the pinned links. */
  constructor(dir: string, programs: ReadonlyMap<string, Program>) {
    this.#dir = dir;
    this.#programs = programs;
  }

  /**
   * Attaches programs to a device; what is already there of ours is replaced in place.
   * @param label names the pins: unique on the node, without dots.
   */
  attachDevice(label: string, ifindex: number, wanted: readonly Hook[]): void {
    for (const { program, direction } of wanted) {
      this.#place(
        label,
        program,
        (link) => link.info().ifindex === ifindex,
        (loaded) => attachTc(loaded, { ifindex, direction }),
      );
    }
  }

  /**
   * Attaches the XDP program in the device's driver; what is already there of ours is replaced in place.
   * @returns whether it was attached only now.
   * @throws BpfError `bpf.link`: EOPNOTSUPP and others, as {@link Link.attachXdp} says.
   */
  attachXdp(label: string, ifindex: number): boolean {
    return this.#place(
      label,
      xdpProgram,
      (link) => link.info().ifindex === ifindex,
      (loaded) => Link.attachXdp(loaded, { ifindex }),
    );
  }

  /**
   * Takes the XDP program off. Taking off what is not there is fine. Not by the pin alone: the kernel then does it when
   * it has time, and the device stays taken meanwhile.
   */
  detachXdp(label: string): void {
    const link = Link.tryOpenPinned(this.#path(label, xdpProgram));
    if (!link) return;
    link.detach();
    link.close();
    this.detach(label, [{ program: xdpProgram }]);
  }

  /**
   * Attaches the pod programs to the host's end of a pod; what is already there of ours is replaced in place.
   * As clsact filters and not as tcx links: attaching a link, and again taking its device away, makes the kernel wait
   * for a grace period while it holds the lock of all network configuration, some 13 ms for each of the two programs.
   * A filter takes 0.2 ms and goes with its device.
   */
  attachPod(ifindex: number): void {
    for (const { program, direction } of hooks.pod) {
      TcFilter.attach(this.#program(program), { ifindex, direction });
    }
  }

  /** Whether the pod programs of this build are attached to the device. */
  isPodAttached(ifindex: number): boolean {
    return hooks.pod.every(({ program, direction }) => {
      const there = TcFilter.find({ ifindex, direction })?.programId();
      return there !== undefined && there === this.#program(program).id;
    });
  }

  /** Takes the pod programs off a device that stays. A device that is gone took them along. */
  detachPod(ifindex: number): void {
    for (const { direction } of hooks.pod) TcFilter.find({ ifindex, direction })?.detach();
  }

  /** Attaches the socket programs to a cgroup: every process below it is served. */
  attachSockets(cgroup: string): void {
    this.#placeIn(cgroup, socketHooks);
  }

  /** Whether this kernel has taken the program that says which process owns a socket. */
  get knowsOwners(): boolean {
    return this.#programs.has("sock_owner");
  }

  /** Attaches the program that says which process owns a socket to a cgroup. */
  attachOwners(cgroup: string): void {
    this.#placeIn(cgroup, ownerHooks);
  }

  /** Takes it off. Sockets that are there keep their owners. */
  detachOwners(): void {
    this.detach("cgroup", [{ program: "sock_owner" }]);
  }

  #placeIn(cgroup: string, wanted: Readonly<Record<string, number>>): void {
    for (const [program, type] of Object.entries(wanted)) {
      this.#place(
        "cgroup",
        program,
        () => true,
        (loaded) => Link.attachCgroup(loaded, cgroup, type),
      );
    }
  }

  /** Takes the programs of a label off. Taking off what is not there is fine. */
  detach(label: string, wanted: readonly Pick<Hook, "program">[]): void {
    for (const { program } of wanted) unpin(this.#path(label, program));
  }

  /** Takes the socket programs off. */
  detachSockets(): void {
    this.detach(
      "cgroup",
      Object.keys(socketHooks).map((program) => ({ program })),
    );
  }

  #place(
    label: string,
    name: string,
    fits: (link: Link) => boolean,
    attach: (program: Program) => Attachment,
  ): boolean {
    const program = this.#program(name);
    const path = this.#path(label, name);
    const present = Link.tryOpenPinned(path);
    if (present) {
      const usable = fits(present);
      if (usable) present.update(program);
      present.close();
      if (usable) return false;
      unpin(path);
    }
    const attachment = attach(program);
    if (attachment instanceof Link) attachment.pin(path);
    attachment.close();
    return true;
  }

  #program(name: string): Program {
    const program = this.#programs.get(name);
    if (!program) throw new AxonError("datapath.program", `no eBPF object has a program ${name}`);
    return program;
  }

  #path(label: string, program: string): string {
    return join(this.#dir, `${label}_${program}`);
  }
}
