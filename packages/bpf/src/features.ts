import { AttachType, MapFlag, MapType, ProgramType } from "./constants.ts";
import { native } from "./native.ts";

/** `unknown`: the probe itself was refused (no privilege, no memory); asked again next time. */
export type Tri = "yes" | "no" | "unknown";

/** An instruction of 8 bytes: opcode, destination register, immediate. */
function instruction(opcode: number, dst: number, imm: number): number[] {
  return [opcode, dst, 0, 0, imm & 255, (imm >> 8) & 255, (imm >> 16) & 255, (imm >> 24) & 255];
}

const MOV = 0xb7;
const CALL = 0x85;
const EXIT = 0x95;

function program(...instructions: number[][]): Uint8Array {
  return Uint8Array.from(instructions.flat());
}

/** BPF_F_SLEEPABLE: syscall programs must be. */
const SLEEPABLE = 1 << 4;

const RETURN_1 = program(instruction(MOV, 0, 1), instruction(EXIT, 0, 0));

/** Calls a helper with (1, 0, ...) and returns its result. */
function calls(helper: number): Uint8Array {
  const args = [
    instruction(MOV, 1, 1),
    instruction(MOV, 2, 0),
    instruction(MOV, 3, 0),
    instruction(MOV, 4, 0),
  ];
  return program(...args, instruction(CALL, 0, helper), instruction(EXIT, 0, 0));
}

const EPERM = 1;
const EACCES = 13;
const EINVAL = 22;
const ENOSPC = 28;
const ENOSYS = 38;
const EOPNOTSUPP = 95;
const ENOTSUPP = 524;
const REFUSALS: ReadonlySet<number> = new Set([EINVAL, EACCES, ENOSYS, EOPNOTSUPP, ENOTSUPP, 7 /* E2BIG */]);

/** A result of the kernel as an answer; without CAP_BPF the kernel answers EPERM to anything. */
function answer(result: number): Tri {
  if (result >= 0) return "yes";
  if (result === -EPERM) return "unknown";
  return REFUSALS.has(-result) ? "no" : "unknown";
}

/** As answer, for a result that is a descriptor. */
function closing(fd: number): Tri {
  if (fd >= 0) native().close(fd);
  return answer(fd);
}

function loads(type: number, attachType: number, code: Uint8Array, flags = 0): Tri {
  return closing(native().progLoad(type, attachType, code, "axon_probe", flags));
}

function creates(type: number, keySize: number, valueSize: number, entries: number, flags = 0): Tri {
  return closing(native().mapCreate(type, keySize, valueSize, entries, flags, "axon_probe", 0));
}

function batchOps(type: number, flags: number): Tri {
  const fd = native().mapCreate(type, 8, 4, 2, flags, "axon_probe", 0);
  if (fd < 0) return answer(fd);
  try {
    return answer(native().mapBatchProbe(fd));
  } finally {
    native().close(fd);
  }
}

function tcx(): Tri {
  const result = native().progQuery(1, AttachType.TCX_INGRESS, -1, new Uint32Array(1), null);
  return result === -ENOSPC ? "yes" : answer(result);
}

function kfunc(name: string): Tri {
  const result = native().kernelFunction(name);
  return result === 1 ? "yes" : result === 0 ? "no" : "unknown";
}

const PROBES = {
  /** tcx links (6.6). */
  tcx,
  /** BPF ring buffers (5.8). */
  ringbuf: () => creates(MapType.RINGBUF, 0, 0, 4096),
  /** LPM tries (4.11). */
  lpm: () => creates(MapType.LPM_TRIE, 8, 4, 1, MapFlag.NO_PREALLOC),
  /** connect hooks on cgroups (4.17). */
  cgroupSockAddr: () => loads(ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT, RETURN_1),
  /** getpeername hooks (5.8). */
  cgroupGetpeername: () => loads(ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_GETPEERNAME, RETURN_1),
  xdp: () => loads(ProgramType.XDP, AttachType.XDP, RETURN_1),
  /** Programs run by bpf(2) itself (5.14). */
  syscallPrograms: () => loads(ProgramType.SYSCALL, 0, RETURN_1, SLEEPABLE),
  /** bpf_redirect_peer (5.10). */
  redirectPeer: () => loads(ProgramType.SCHED_CLS, 0, calls(155)),
  /** bpf_redirect_neigh (5.10). */
  redirectNeigh: () => loads(ProgramType.SCHED_CLS, 0, calls(152)),
  /** Batch operations on hash maps (5.6). */
  batchHash: () => batchOps(MapType.HASH, 0),
  /** Batch operations on LPM tries (5.16). */
  batchLpm: () => batchOps(MapType.LPM_TRIE, MapFlag.NO_PREALLOC),
  /** bpf_sock_destroy, for programs that walk sockets (6.5). */
  sockDestroy: () => kfunc("bpf_sock_destroy"),
  /** Whether the kernel carries its types (CONFIG_DEBUG_INFO_BTF). */
  kernelBtf: () => (native().kernelFunction("bpf_prog_load") >= 0 ? ("yes" as const) : ("unknown" as const)),
} satisfies Record<string, () => Tri>;

export type FeatureName = keyof typeof PROBES;

const known = new Map<string, Tri>();

function remembered(name: string, probe: () => Tri): Tri {
  const before = known.get(name);
  if (before) return before;
  const now = probe();
  if (now !== "unknown") known.set(name, now);
  return now;
}

/** Asks the kernel once; a conclusive answer is remembered. */
export function feature(name: FeatureName): Tri {
  return remembered(name, PROBES[name]);
}

/** Whether the kernel has a function of this name that programs may call or attach to, by its BTF. */
export function hasKernelFunction(name: string): Tri {
  return remembered(`function ${name}`, () => kfunc(name));
}

/** All probes. */
export function features(): Record<FeatureName, Tri> {
  const names = Object.keys(PROBES) as FeatureName[];
  return Object.fromEntries(names.map((name) => [name, feature(name)])) as Record<FeatureName, Tri>;
}
