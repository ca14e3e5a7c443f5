import { malformed } from "./errors.ts";
import { Attributes, fixedPart, MessageWriter } from "./wire.ts";

/** Links: struct ifinfomsg and IFLA_* (linux/if_link.h, linux/if.h). */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const INFO = 16;

const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  OPERSTATE: 16,
  LINKINFO: 18,
  IFALIAS: 20,
  GROUP: 27,
  NET_NS_FD: 28,
  EXT_MASK: 29,
  NUM_TX_QUEUES: 31,
  NUM_RX_QUEUES: 32,
  LINK_NETNSID: 37,
} as const;
const INFO_KIND = 1;
const INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const VXLAN = { ID: 1, LEARNING: 7, PORT: 15, ZERO_CSUM6_TX: 19, ZERO_CSUM6_RX: 20, EXTERNAL: 25 } as const;
/** RTEXT_FILTER_SKIP_STATS: answers without the counters, a third of the size. */
const SKIP_STATS = 8;

const IFF_UP = 1;
const IFF_LOWER_UP = 1 << 16;

/** IF_OPER_* in their order (RFC 2863). */
const operStates = ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"] as const;

/** A link as the kernel tells it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** "veth", "vxlan", "bridge", ...; undefined for hardware and loopback. */
  readonly kind: string | undefined;
  /** ARPHRD_* (1 Ethernet, 772 loopback). */
  readonly type: number;
  readonly flags: number;
  /** Set up by the administrator (IFF_UP). */
  readonly up: boolean;
  /** The carrier is there (IFF_LOWER_UP). */
  readonly lowerUp: boolean;
  readonly operState: (typeof operStates)[number];
  readonly mtu: number;
  /** Hardware address; empty where the link has none. */
  readonly mac: Uint8Array;
  /** Index of the bridge (or bond) it belongs to. */
  readonly master: number | undefined;
  /** Index of the peer (veth) or lower link; in namespace `parentNetnsId` if that is set. */
  readonly parent: number | undefined;
  readonly parentNetnsId: number | undefined;
  readonly alias: string | undefined;
  /** 0 unless it was put into a group. */
  readonly group: number;
  readonly vxlan: { id: number; port: number; external: boolean; learning: boolean } | undefined;
}

interface LinkCommon {
  /** At most 15 bytes. */
  readonly name: string;
  readonly mac?: Uint8Array;
  readonly mtu?: number;
  readonly up?: boolean;
  /** The index it shall get; the kernel chooses one otherwise. EBUSY if it is taken. */
  readonly index?: number;
  /** Create it in that namespace instead of the socket's. The fd stays the caller's. */
  readonly netnsFd?: number;
  readonly master?: number;
  /** A number that links share, for {@link Netlink.linkDelGroup}. */
  readonly group?: number;
  readonly txQueues?: number;
  readonly rxQueues?: number;
}

/**
 * The other end of a veth pair. It cannot be created up: the kernel brings it up before the two are joined
 * (ENOTCONN). Set it up in its own namespace, where it gets its addresses.
 */
export type VethEnd = Omit<LinkCommon, "master" | "up" | "index">;

/** What {@link Netlink.linkAdd} can create. */
export type LinkSpec =
  | (LinkCommon & { readonly kind: "veth"; readonly peer: VethEnd })
  | (LinkCommon & {
      readonly kind: "vxlan";
      /** UDP port, as in 8472. */
      readonly port: number;
      /** Tunnel keys come with each packet (collect metadata); then `id` has no meaning. */
      readonly external?: boolean;
      readonly id?: number;
      readonly learning?: boolean;
    })
  | (LinkCommon & { readonly kind: "bridge" | "dummy" });

/** What {@link Netlink.linkSet} changes; absent stays as it is. */
export interface LinkChange {
  readonly index: number;
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: Uint8Array;
  readonly name?: string;
  /** Index of the bridge, or 0 to leave it. */
  readonly master?: number;
  readonly netnsFd?: number;
  readonly group?: number;
  readonly alias?: string;
}

type InfoFields = { index?: number | undefined; up?: boolean | undefined };

/** Family, type, index, flags, and which of the flags are meant. */
function writeInfo(view: DataView, fields: InfoFields): void {
  view.setInt32(4, fields.index ?? 0, true);
  if (fields.up === undefined) return;
  view.setUint32(8, fields.up ? IFF_UP : 0, true);
  view.setUint32(12, IFF_UP, true);
}

type Settable = Partial<Omit<LinkCommon, "up" | "index">> & { readonly alias?: string };

function writeSettings(message: MessageWriter, link: Settable): void {
  if (link.name !== undefined) message.text(IFLA.IFNAME, link.name);
  if (link.mac !== undefined) message.raw(IFLA.ADDRESS, link.mac);
  if (link.mtu !== undefined) message.u32(IFLA.MTU, link.mtu);
  if (link.master !== undefined) message.u32(IFLA.MASTER, link.master);
  if (link.netnsFd !== undefined) message.u32(IFLA.NET_NS_FD, link.netnsFd);
  if (link.txQueues !== undefined) message.u32(IFLA.NUM_TX_QUEUES, link.txQueues);
  if (link.rxQueues !== undefined) message.u32(IFLA.NUM_RX_QUEUES, link.rxQueues);
  if (link.group !== undefined) message.u32(IFLA.GROUP, link.group);
  if (link.alias !== undefined) message.text(IFLA.IFALIAS, link.alias);
}

function writeData(message: MessageWriter, link: LinkSpec): void {
  if (link.kind === "veth") {
    const peer = link.peer;
    message.nest(INFO_DATA, () => {
      message.nest(VETH_INFO_PEER, () => {
        message.fixed(INFO, (view) => writeInfo(view, {}));
        writeSettings(message, peer);
      });
    });
  }
  if (link.kind === "vxlan") {
    message.nest(INFO_DATA, () => {
      if (link.external === true) message.u8(VXLAN.EXTERNAL, 1);
      if (link.id !== undefined) message.u32(VXLAN.ID, link.id);
      message.u8(VXLAN.LEARNING, link.learning === true ? 1 : 0);
      message.be16(VXLAN.PORT, link.port);
      // Tunnels over IPv6 without an outer checksum, as over IPv4: the inner packet has its own.
      message.u8(VXLAN.ZERO_CSUM6_TX, 1);
      message.u8(VXLAN.ZERO_CSUM6_RX, 1);
    });
  }
}

/** RTM_NEWLINK with the flags given (request, create, exclusive). */
export function encodeLinkAdd(flags: number, link: LinkSpec): Uint8Array {
  const message = new MessageWriter(RTM_NEWLINK, flags);
  message.fixed(INFO, (view) => writeInfo(view, link));
  writeSettings(message, link);
  message.nest(IFLA.LINKINFO, () => {
    message.text(INFO_KIND, link.kind);
    writeData(message, link);
  });
  return message.finish();
}

export function encodeLinkSet(flags: number, change: LinkChange): Uint8Array {
  const message = new MessageWriter(RTM_SETLINK, flags);
  message.fixed(INFO, (view) => writeInfo(view, change));
  writeSettings(message, change);
  return message.finish();
}

/** Down and into a group, in one message that also takes a name. */
export function encodeLinkRetire(flags: number, link: LinkName, group: number): Uint8Array {
  const message = new MessageWriter(RTM_SETLINK, flags);
  message.fixed(INFO, (view) => writeInfo(view, { index: typeof link === "number" ? link : 0, up: false }));
  if (typeof link === "string") message.text(IFLA.IFNAME, link);
  return message.u32(IFLA.GROUP, group).finish();
}

/** A link is named by its index or its name. */
export type LinkName = number | string;

function encodeNamed(type: number, flags: number, link: LinkName): MessageWriter {
  const message = new MessageWriter(type, flags);
  message.fixed(INFO, (view) => writeInfo(view, { index: typeof link === "number" ? link : 0 }));
  if (typeof link === "string") message.text(IFLA.IFNAME, link);
  return message;
}

export function encodeLinkDel(flags: number, link: LinkName): Uint8Array {
  return encodeNamed(RTM_DELLINK, flags, link).finish();
}

export function encodeLinkDelGroup(flags: number, group: number): Uint8Array {
  return encodeNamed(RTM_DELLINK, flags, 0).u32(IFLA.GROUP, group).finish();
}

export function encodeLinkGet(flags: number, link: LinkName): Uint8Array {
  return encodeNamed(RTM_GETLINK, flags, link).u32(IFLA.EXT_MASK, SKIP_STATS).finish();
}

export function encodeLinkDump(flags: number): Uint8Array {
  return new MessageWriter(RTM_GETLINK, flags)
    .fixed(INFO, () => undefined)
    .u32(IFLA.EXT_MASK, SKIP_STATS)
    .finish();
}

function decodeVxlan(data: Attributes | undefined): Link["vxlan"] {
  if (data === undefined) return undefined;
  return {
    id: data.u32(VXLAN.ID) ?? 0,
    port: data.be16(VXLAN.PORT) ?? 0,
    external: (data.u8(VXLAN.EXTERNAL) ?? 0) !== 0,
    learning: (data.u8(VXLAN.LEARNING) ?? 0) !== 0,
  };
}

/** Reads the body of RTM_NEWLINK or RTM_DELLINK. Throws NetlinkError (EBADMSG). */
export function decodeLink(body: Uint8Array): Link {
  const info = fixedPart(body, INFO, "ifinfomsg");
  const attributes = new Attributes(body, INFO);
  const linkInfo = attributes.nested(IFLA.LINKINFO);
  const kind = linkInfo?.text(INFO_KIND);
  const flags = info.getUint32(8, true);
  const name = attributes.text(IFLA.IFNAME);
  if (name === undefined) throw malformed("a link without a name");
  return {
    index: info.getInt32(4, true),
    name,
    kind,
    type: info.getUint16(2, true),
    flags,
    up: (flags & IFF_UP) !== 0,
    lowerUp: (flags & IFF_LOWER_UP) !== 0,
    operState: operStates[attributes.u8(IFLA.OPERSTATE) ?? 0] ?? "unknown",
    mtu: attributes.u32(IFLA.MTU) ?? 0,
    mac: attributes.bytes(IFLA.ADDRESS) ?? new Uint8Array(0),
    master: attributes.u32(IFLA.MASTER),
    parent: attributes.u32(IFLA.LINK),
    parentNetnsId: attributes.u32(IFLA.LINK_NETNSID),
    alias: attributes.text(IFLA.IFALIAS),
    group: attributes.u32(IFLA.GROUP) ?? 0,
    vxlan: kind === "vxlan" ? decodeVxlan(linkInfo?.nested(INFO_DATA)) : undefined,
  };
}
