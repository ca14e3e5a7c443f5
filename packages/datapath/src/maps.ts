import * as abi from "@axoneme/abi";
import { BpfMap } from "@axoneme/bpf";
import { GrowingMap, type GrowingShape } from "./growing-map.ts";
import { address, type Codec, TypedMap, u32, u64 } from "./typed-map.ts";

/** The datapath's maps with the types of their rows. Names are those of bpf/include/axon/maps.h without `ax_`. */
export interface DatapathMaps {
  readonly config: TypedMap<number, abi.Config>;
  readonly endpoints: TypedMap<Uint8Array, abi.Endpoint>;
  readonly ipcache: TypedMap<abi.IpcacheKey, abi.IpcacheEntry>;
  readonly nomasq: TypedMap<abi.IpcacheKey, number>;
  /** Prefixes that rules name, with their numbers. */
  readonly cidrs: TypedMap<abi.IpcacheKey, number>;
  readonly policy: TypedMap<abi.PolicyKey, abi.PolicyRow>;
  readonly policyHeads: TypedMap<number, abi.PolicyHead>;
  readonly services: TypedMap<abi.SvcKey, abi.Svc>;
  readonly backends: TypedMap<number, abi.Backend>;
  /** Backends and Maglev tables by index, in the ranges that `services` names. */
  readonly slots: GrowingMap;
  readonly affinity: TypedMap<abi.AffinityKey, abi.Affinity>;
  readonly sourceRanges: TypedMap<abi.SrcRangeKey, number>;
  readonly skips: TypedMap<abi.SkipKey, number>;
  /** By the cookie of a network namespace. */
  readonly netns: TypedMap<bigint, abi.Netns>;
  readonly flows: TypedMap<abi.FlowKey, abi.SvcFlow>;
  readonly l2: TypedMap<abi.L2Key, abi.L2>;
  readonly deny: TypedMap<abi.IpcacheKey, number>;
  readonly ct: TypedMap<abi.CtKey, abi.Ct>;
  /** The rows of `ct` as bytes. */
  readonly connections: BpfMap;
  readonly nat: TypedMap<abi.NatKey, abi.Nat>;
  readonly frags: TypedMap<abi.FragKey, abi.FragPorts>;
  /** Processes that own sockets of pods, by number. */
  readonly processes: TypedMap<number, abi.Process>;
  readonly processSeq: TypedMap<number, abi.ProcessSeq>;
  readonly natStats: BpfMap;
  readonly metrics: BpfMap;
  readonly events: BpfMap;
}

const codec = <T>(size: number, encode: Codec<T>["encode"], decode: Codec<T>["decode"]): Codec<T> => ({
  size,
  encode,
  decode,
});

const ipcacheKey = codec(abi.ipcacheKeySize, abi.encodeIpcacheKey, abi.decodeIpcacheKey);

/**
 * Opens the pinned maps of a node.
 * @param dir the folder of the pins.
 * @throws BpfError when a map is not pinned there.
 */
export function openMaps(dir: string): {
  maps: DatapathMaps;
  /** Bytes of kernel memory of all of them. */
  memoryBytes: () => number;
  close: () => void;
} {
  const opened: { readonly memoryBytes: number; close(): void }[] = [];
  const open = (name: string): BpfMap => {
    const map = BpfMap.openPinned(`${dir}/${name}`);
    opened.push(map);
    return map;
  };
  const grow = (name: string, shape: GrowingShape): GrowingMap => {
    const map = GrowingMap.open(BpfMap.openPinned(`${dir}/${name}`), shape);
    opened.push(map);
    return map;
  };
  const connections = open("ax_ct");
  const maps: DatapathMaps = {
    config: new TypedMap(open("ax_config"), u32, codec(abi.configSize, abi.encodeConfig, abi.decodeConfig)),
    endpoints: new TypedMap(
      open("ax_endpoints"),
      address,
      codec(abi.endpointSize, abi.encodeEndpoint, abi.decodeEndpoint),
    ),
    ipcache: new TypedMap(
      open("ax_ipcache"),
      ipcacheKey,
      codec(abi.ipcacheEntrySize, abi.encodeIpcacheEntry, abi.decodeIpcacheEntry),
    ),
    nomasq: new TypedMap(open("ax_nomasq"), ipcacheKey, u32),
    cidrs: new TypedMap(open("ax_cidrs"), ipcacheKey, u32),
    policy: new TypedMap(
      open("ax_policy"),
      codec(abi.policyKeySize, abi.encodePolicyKey, abi.decodePolicyKey),
      codec(abi.policyRowSize, abi.encodePolicyRow, abi.decodePolicyRow),
    ),
    policyHeads: new TypedMap(
      open("ax_policy_heads"),
      u32,
      codec(abi.policyHeadSize, abi.encodePolicyHead, abi.decodePolicyHead),
    ),
    services: new TypedMap(
      grow("ax_services", {
        type: "hash",
        keySize: abi.svcKeySize,
        valueSize: abi.svcSize,
        initial: 4096,
        limit: 1 << 22,
      }),
      codec(abi.svcKeySize, abi.encodeSvcKey, abi.decodeSvcKey),
      codec(abi.svcSize, abi.encodeSvc, abi.decodeSvc),
    ),
    backends: new TypedMap(
      grow("ax_backends", {
        type: "hash",
        keySize: 4,
        valueSize: abi.backendSize,
        initial: 16_384,
        limit: 1 << 24,
      }),
      u32,
      codec(abi.backendSize, abi.encodeBackend, abi.decodeBackend),
    ),
    slots: grow("ax_slots", {
      type: "array",
      keySize: 4,
      valueSize: abi.slotSize,
      initial: 16_384,
      limit: 1 << 24,
    }),
    affinity: new TypedMap(
      open("ax_affinity"),
      codec(abi.affinityKeySize, abi.encodeAffinityKey, abi.decodeAffinityKey),
      codec(abi.affinitySize, abi.encodeAffinity, abi.decodeAffinity),
    ),
    sourceRanges: new TypedMap(
      open("ax_src_ranges"),
      codec(abi.srcRangeKeySize, abi.encodeSrcRangeKey, abi.decodeSrcRangeKey),
      u32,
    ),
    skips: new TypedMap(
      open("ax_lrp_skip"),
      codec(abi.skipKeySize, abi.encodeSkipKey, abi.decodeSkipKey),
      u32,
    ),
    netns: new TypedMap(open("ax_netns"), u64, codec(abi.netnsSize, abi.encodeNetns, abi.decodeNetns)),
    flows: new TypedMap(
      open("ax_svc_flows"),
      codec(abi.flowKeySize, abi.encodeFlowKey, abi.decodeFlowKey),
      codec(abi.svcFlowSize, abi.encodeSvcFlow, abi.decodeSvcFlow),
    ),
    l2: new TypedMap(
      open("ax_l2"),
      codec(abi.l2KeySize, abi.encodeL2Key, abi.decodeL2Key),
      codec(abi.l2Size, abi.encodeL2, abi.decodeL2),
    ),
    deny: new TypedMap(open("ax_deny"), ipcacheKey, u32),
    ct: new TypedMap(
      connections,
      codec(abi.ctKeySize, abi.encodeCtKey, abi.decodeCtKey),
      codec(abi.ctSize, abi.encodeCt, abi.decodeCt),
    ),
    connections,
    nat: new TypedMap(
      open("ax_nat"),
      codec(abi.natKeySize, abi.encodeNatKey, abi.decodeNatKey),
      codec(abi.natSize, abi.encodeNat, abi.decodeNat),
    ),
    frags: new TypedMap(
      open("ax_frags"),
      codec(abi.fragKeySize, abi.encodeFragKey, abi.decodeFragKey),
      codec(abi.fragPortsSize, abi.encodeFragPorts, abi.decodeFragPorts),
    ),
    processes: new TypedMap(
      open("ax_processes"),
      u32,
      codec(abi.processSize, abi.encodeProcess, abi.decodeProcess),
    ),
    processSeq: new TypedMap(
      open("ax_process_seq"),
      u32,
      codec(abi.processSeqSize, abi.encodeProcessSeq, abi.decodeProcessSeq),
    ),
    natStats: open("ax_nat_stats"),
    metrics: open("ax_metrics"),
    events: open("ax_events"),
  };
  return {
    maps,
    memoryBytes: () => opened.reduce((sum, map) => sum + map.memoryBytes, 0),
    close: () => {
      for (const map of opened) map.close();
    },
  };
}
