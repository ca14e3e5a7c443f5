import * as abi from "@axoneme/abi";
import { BpfMap } from "@axoneme/bpf";
import { address, type Codec, TypedMap, u32 } from "./typed-map.ts";

/** The datapath's maps with the types of their rows. Names are those of bpf/include/axon/maps.h without `ax_`. */
export interface DatapathMaps {
  readonly config: TypedMap<number, abi.Config>;
  readonly endpoints: TypedMap<Uint8Array, abi.Endpoint>;
  readonly ipcache: TypedMap<abi.IpcacheKey, abi.IpcacheEntry>;
  readonly nomasq: TypedMap<abi.IpcacheKey, number>;
  readonly policy: TypedMap<abi.PolicyKey, abi.PolicyRow>;
  readonly policyHeads: TypedMap<number, abi.PolicyHead>;
  readonly services: TypedMap<abi.SvcKey, abi.Svc>;
  readonly slots: TypedMap<abi.SlotKey, number>;
  readonly backends: TypedMap<number, abi.Backend>;
  readonly frontends: TypedMap<number, abi.Frontend>;
  readonly ct: TypedMap<abi.CtKey, abi.Ct>;
  readonly nat: TypedMap<abi.NatKey, abi.Nat>;
  readonly frags: TypedMap<abi.FragKey, abi.FragPorts>;
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
export function openMaps(dir: string): { maps: DatapathMaps; close: () => void } {
  const opened: BpfMap[] = [];
  const open = (name: string): BpfMap => {
    const map = BpfMap.openPinned(`${dir}/${name}`);
    opened.push(map);
    return map;
  };
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
      open("ax_services"),
      codec(abi.svcKeySize, abi.encodeSvcKey, abi.decodeSvcKey),
      codec(abi.svcSize, abi.encodeSvc, abi.decodeSvc),
    ),
    slots: new TypedMap(
      open("ax_svc_slots"),
      codec(abi.slotKeySize, abi.encodeSlotKey, abi.decodeSlotKey),
      u32,
    ),
    backends: new TypedMap(
      open("ax_backends"),
      u32,
      codec(abi.backendSize, abi.encodeBackend, abi.decodeBackend),
    ),
    frontends: new TypedMap(
      open("ax_frontends"),
      u32,
      codec(abi.frontendSize, abi.encodeFrontend, abi.decodeFrontend),
    ),
    ct: new TypedMap(
      open("ax_ct"),
      codec(abi.ctKeySize, abi.encodeCtKey, abi.decodeCtKey),
      codec(abi.ctSize, abi.encodeCt, abi.decodeCt),
    ),
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
    metrics: open("ax_metrics"),
    events: open("ax_events"),
  };
  return {
    maps,
    close: () => {
      for (const map of opened) map.close();
    },
  };
}
