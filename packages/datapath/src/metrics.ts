import type { BpfMap } from "@axoneme/bpf";

/** One counter of the datapath, summed over the CPUs. */
export interface DatapathCounter {
  /** 0 = forwarded, otherwise a drop reason. */
  readonly reason: number;
  readonly direction: "ingress" | "egress" | "service";
  readonly packets: bigint;
  readonly bytes: bigint;
}

const directions = ["ingress", "egress", "service"] as const;

/** Reads `ax_metrics`: index = reason << 2 | direction, value {packets, bytes} on each CPU. Zero rows are left out. */
export function readMetrics(map: BpfMap): DatapathCounter[] {
  const { keys, values, count } = map.dump();
  const keyView = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  const counters: DatapathCounter[] = [];
  for (let i = 0; i < count; i++) {
    const index = keyView.getUint32(i * 4, true);
    const direction = directions[index & 3];
    const start = i * map.entrySize;
    const [packets, bytes] = sumOverCpus(view, start, start + map.entrySize, map.perCpuStride);
    if (direction && packets > 0n) counters.push({ reason: index >> 2, direction, packets, bytes });
  }
  return counters;
}

function sumOverCpus(view: DataView, from: number, to: number, stride: number): [bigint, bigint] {
  let packets = 0n;
  let bytes = 0n;
  for (let at = from; at < to; at += stride) {
    packets += view.getBigUint64(at, true);
    bytes += view.getBigUint64(at + 8, true);
  }
  return [packets, bytes];
}
