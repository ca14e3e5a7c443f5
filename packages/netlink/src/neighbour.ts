import type { Ip } from "@axoneme/base";
import { AF_INET, AF_INET6, type Family, familyNumber, familyOf, ipFromWire, wireIp } from "./family.ts";
import { Attributes, fixedPart, MessageWriter } from "./wire.ts";

/** Neighbours (ARP and ND): struct ndmsg and NDA_* (linux/neighbour.h). */
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const INFO = 12;
const NDA = { DST: 1, LLADDR: 2, IFINDEX: 8 } as const;

/** NUD_*: what is known of a neighbour; a bit each. */
export const NeighState = {
  none: 0,
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
} as const;

/** A neighbour of a link. */
export interface Neighbour {
  readonly index: number;
  readonly ip: Ip;
  /** Undefined while it is being resolved. */
  readonly mac: Uint8Array | undefined;
  readonly state: number;
  readonly flags: number;
}

/** What neighAdd, neighReplace and neighDel take; `state` is permanent unless told. */
export interface NeighbourSpec {
  readonly index: number;
  readonly ip: Ip;
  readonly mac?: Uint8Array;
  readonly state?: number;
  readonly flags?: number;
}

/** Filters of a list. */
export interface NeighbourFilter {
  readonly index?: number;
  readonly family?: Family;
}

export function encodeNeighbour(type: number, flags: number, neighbour: NeighbourSpec): Uint8Array {
  const message = new MessageWriter(type, flags).fixed(INFO, (view) => {
    view.setUint8(0, familyOf(neighbour.ip));
    view.setInt32(4, neighbour.index, true);
    view.setUint16(8, type === RTM_DELNEIGH ? 0 : (neighbour.state ?? NeighState.permanent), true);
    view.setUint8(10, neighbour.flags ?? 0);
  });
  message.raw(NDA.DST, wireIp(neighbour.ip));
  if (neighbour.mac !== undefined) message.raw(NDA.LLADDR, neighbour.mac);
  return message.finish();
}

export function encodeNeighbourDump(flags: number, filter: NeighbourFilter): Uint8Array {
  const message = new MessageWriter(RTM_GETNEIGH, flags).fixed(INFO, (view) =>
    view.setUint8(0, familyNumber(filter.family)),
  );
  if (filter.index !== undefined) message.u32(NDA.IFINDEX, filter.index);
  return message.finish();
}

/** Reads the body of RTM_NEWNEIGH or RTM_DELNEIGH; undefined for bridge entries. Throws NetlinkError (EBADMSG). */
export function decodeNeighbour(body: Uint8Array): Neighbour | undefined {
  const info = fixedPart(body, INFO, "ndmsg");
  const family = info.getUint8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = new Attributes(body, INFO);
  const ip = attributes.raw(NDA.DST);
  if (ip === undefined) return undefined;
  return {
    index: info.getInt32(4, true),
    ip: ipFromWire(ip),
    mac: attributes.bytes(NDA.LLADDR),
    state: info.getUint16(8, true),
    flags: info.getUint8(10),
  };
}
