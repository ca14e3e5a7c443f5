import { formatPrefix, type Ip, isV4, type Prefix } from "@axoneme/base";
import { Scope } from "./address.ts";
import { malformed } from "./errors.ts";
import {
  AF_INET,
  AF_INET6,
  type Family,
  familyNumber,
  ipFromWire,
  prefixFromWire,
  wireIp,
  wireLength,
} from "./family.ts";
import { Attributes, fixedPart, MessageWriter } from "./wire.ts";

/** Routes: struct rtmsg and RTA_* (linux/rtnetlink.h). */
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const INFO = 12;

const RTA = {
  DST: 1,
  IIF: 3,
  OIF: 4,
  GATEWAY: 5,
  PRIORITY: 6,
  PREFSRC: 7,
  METRICS: 8,
  TABLE: 15,
  VIA: 18,
} as const;
const RTAX_MTU = 2;
const RTNH_F_ONLINK = 4;
const RTM_F_CLONED = 0x200;

/** Tables the kernel knows by name. */
export const Table = { default: 253, main: 254, local: 255 } as const;
/** Who made a route (RTPROT_*). */
export const Protocol = { unspec: 0, redirect: 1, kernel: 2, boot: 3, static: 4, ra: 9 } as const;
/** What a route does (RTN_*). */
export const RouteType = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
} as const;

/** A route as the kernel tells it; a default route has the prefix 0.0.0.0/0 or ::/0. */
export interface Route {
  readonly family: Family;
  readonly dst: Prefix;
  readonly gateway: Ip | undefined;
  readonly oif: number | undefined;
  /** Preferred source address. */
  readonly src: Ip | undefined;
  readonly table: number;
  readonly scope: number;
  readonly protocol: number;
  readonly type: number;
  readonly priority: number | undefined;
  readonly mtu: number | undefined;
  readonly onlink: boolean;
}

/** What routeAdd, routeReplace and routeDel take. Without `dst` it is the default route of `family`. */
export interface RouteSpec {
  readonly dst?: Prefix;
  readonly gateway?: Ip;
  readonly oif?: number;
  readonly src?: Ip;
  /** Default main. */
  readonly table?: number;
  /** Default: link for an IPv4 route without gateway, else universe. For delete: any. */
  readonly scope?: number;
  /** The gateway is on the link although no address of the link says so. */
  readonly onlink?: boolean;
  /** Default static. For delete: any. */
  readonly protocol?: number;
  readonly type?: number;
  readonly mtu?: number;
  readonly priority?: number;
  /** Needed only where no address tells it; default 4. */
  readonly family?: Family;
}

/** Filters of a list; applied here as well, because old kernels ignore them. */
export interface RouteFilter {
  readonly family?: Family;
  readonly table?: number;
  readonly oif?: number;
  readonly protocol?: number;
}

function routeFamily(route: RouteSpec): number {
  const ip = route.dst?.ip ?? route.gateway ?? route.src;
  if (route.family !== undefined) return familyNumber(route.family);
  return ip === undefined || isV4(ip) ? AF_INET : AF_INET6;
}

function defaultScope(route: RouteSpec, family: number): number {
  if (route.scope !== undefined) return route.scope;
  if (route.type === RouteType.local) return Scope.host;
  const direct = route.gateway === undefined && route.oif !== undefined;
  return direct && family === AF_INET ? Scope.link : Scope.universe;
}

function writeFixed(view: DataView, route: RouteSpec, isDelete: boolean): void {
  const family = routeFamily(route);
  const table = route.table ?? Table.main;
  view.setUint8(0, family);
  view.setUint8(1, route.dst === undefined ? 0 : wireLength(route.dst));
  view.setUint8(4, table < 256 ? table : 0);
  view.setUint8(5, route.protocol ?? (isDelete ? Protocol.unspec : Protocol.static));
  view.setUint8(6, isDelete ? (route.scope ?? Scope.nowhere) : defaultScope(route, family));
  view.setUint8(7, route.type ?? (isDelete ? 0 : RouteType.unicast));
  view.setUint32(8, route.onlink === true ? RTNH_F_ONLINK : 0, true);
}

/** The gateway in its own family: an IPv4 route may go by an IPv6 neighbour (RTA_VIA, struct rtvia). */
function writeGateway(message: MessageWriter, gateway: Ip, family: number): void {
  const wire = wireIp(gateway);
  if (family === AF_INET && wire.length === 16) message.raw(RTA.VIA, Uint8Array.from([AF_INET6, 0, ...wire]));
  else message.raw(RTA.GATEWAY, wire);
}

export function encodeRoute(type: number, flags: number, route: RouteSpec): Uint8Array {
  const message = new MessageWriter(type, flags);
  message.fixed(INFO, (view) => writeFixed(view, route, type === RTM_DELROUTE));
  if (route.dst !== undefined && wireLength(route.dst) > 0) message.raw(RTA.DST, wireIp(route.dst.ip));
  if (route.gateway !== undefined) writeGateway(message, route.gateway, routeFamily(route));
  if (route.oif !== undefined) message.u32(RTA.OIF, route.oif);
  if (route.src !== undefined) message.raw(RTA.PREFSRC, wireIp(route.src));
  if (route.priority !== undefined) message.u32(RTA.PRIORITY, route.priority);
  if (route.table !== undefined && route.table > 255) message.u32(RTA.TABLE, route.table);
  if (route.mtu !== undefined) {
    const mtu = route.mtu;
    message.nest(RTA.METRICS, () => message.u32(RTAX_MTU, mtu));
  }
  return message.finish();
}

export function encodeRouteDump(flags: number, filter: RouteFilter): Uint8Array {
  const message = new MessageWriter(RTM_GETROUTE, flags);
  message.fixed(INFO, (view) => {
    view.setUint8(0, familyNumber(filter.family));
    view.setUint8(5, filter.protocol ?? 0);
  });
  // The kernel answers ENOENT for a table that does not exist, which here is an empty list; so it is not asked.
  if (filter.oif !== undefined) message.u32(RTA.OIF, filter.oif);
  return message.finish();
}

/** RTM_GETROUTE for one destination: which way would a packet go. */
export function encodeRouteGet(flags: number, ip: Ip): Uint8Array {
  const wire = wireIp(ip);
  return new MessageWriter(RTM_GETROUTE, flags)
    .fixed(INFO, (view) => {
      view.setUint8(0, wire.length === 4 ? AF_INET : AF_INET6);
      view.setUint8(1, wire.length * 8);
    })
    .raw(RTA.DST, wire)
    .finish();
}

function decodeGateway(attributes: Attributes): Ip | undefined {
  const gateway = attributes.raw(RTA.GATEWAY);
  if (gateway !== undefined) return ipFromWire(gateway);
  const via = attributes.raw(RTA.VIA);
  return via === undefined ? undefined : ipFromWire(via.subarray(2));
}

/**
 * Reads the body of RTM_NEWROUTE or RTM_DELROUTE. Undefined for families other than IPv4 and IPv6 and for entries
 * of the IPv6 route cache. Throws NetlinkError (EBADMSG).
 */
export function decodeRoute(body: Uint8Array): Route | undefined {
  const info = fixedPart(body, INFO, "rtmsg");
  const family = info.getUint8(0);
  const flags = info.getUint32(8, true);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = new Attributes(body, INFO);
  const src = attributes.raw(RTA.PREFSRC);
  const dst = attributes.raw(RTA.DST);
  if (dst !== undefined && dst.length !== (family === AF_INET ? 4 : 16)) throw malformed("a route's prefix");
  return {
    family: family === AF_INET ? 4 : 6,
    dst: prefixFromWire(family, dst, info.getUint8(1)),
    gateway: decodeGateway(attributes),
    oif: attributes.u32(RTA.OIF),
    src: src === undefined ? undefined : ipFromWire(src),
    table: attributes.u32(RTA.TABLE) ?? info.getUint8(4),
    scope: info.getUint8(6),
    protocol: info.getUint8(5),
    type: info.getUint8(7),
    priority: attributes.u32(RTA.PRIORITY),
    mtu: attributes.nested(RTA.METRICS)?.u32(RTAX_MTU),
    onlink: (flags & RTNH_F_ONLINK) !== 0,
  };
}

/** Whether the message tells of a cached route, not of a row of a table. */
export function isClonedRoute(body: Uint8Array): boolean {
  return (fixedPart(body, INFO, "rtmsg").getUint32(8, true) & RTM_F_CLONED) !== 0;
}

export function matchesRoute(route: Route, filter: RouteFilter): boolean {
  return (
    (filter.family === undefined || route.family === filter.family) &&
    (filter.table === undefined || route.table === filter.table) &&
    (filter.oif === undefined || route.oif === filter.oif) &&
    (filter.protocol === undefined || route.protocol === filter.protocol)
  );
}

/** "10.0.0.0/24", or "default" for the route to everything: for error texts. */
export function routeName(route: RouteSpec): string {
  if (route.dst === undefined || wireLength(route.dst) === 0) return "default";
  return formatPrefix(route.dst);
}
