import { isV4, type Prefix } from "@axoneme/base";
import { malformed } from "./errors.ts";
import {
  AF_INET,
  type Family,
  familyNumber,
  familyOf,
  prefixFromWire,
  wireIp,
  wireLength,
} from "./family.ts";
import { Attributes, fixedPart, MessageWriter } from "./wire.ts";

/** Interface addresses: struct ifaddrmsg and IFA_* (linux/if_addr.h). */
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const INFO = 8;

const IFA = { ADDRESS: 1, LOCAL: 2, LABEL: 3, FLAGS: 8 } as const;
const IFA_F_NODAD = 0x02;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_NOPREFIXROUTE = 0x200;
const IFA_F_MCAUTOJOIN = 0x400;

/** RT_SCOPE_*: how far an address or a route is valid. */
export const Scope = { universe: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;

/** An address of a link. `prefix.ip` keeps its host bits. */
export interface Address {
  readonly index: number;
  readonly prefix: Prefix;
  readonly scope: number;
  readonly flags: number;
  /** Duplicate address detection is running (IPv6). */
  readonly tentative: boolean;
  readonly label: string | undefined;
}

/** What {@link Netlink.addrAdd} and addrDel take; get `prefix` from `parseInterfaceAddress`. */
export interface AddressSpec {
  readonly index: number;
  readonly prefix: Prefix;
  /** One of {@link Scope}; default universe, host for 127.0.0.0/8 (the kernel takes no other there). */
  readonly scope?: number;
  /** IPv6: usable at once, no duplicate address detection. */
  readonly noDad?: boolean;
  /** Do not add the route of the prefix. */
  readonly noPrefixRoute?: boolean;
  /** A multicast address: the kernel joins its group, and leaves it when the address goes. */
  readonly autoJoin?: boolean;
}

/** Filters of a list. */
export interface AddressFilter {
  readonly index?: number;
  readonly family?: Family;
}

function defaultScope({ ip }: Prefix): number {
  return isV4(ip) && ip[12] === 127 ? Scope.host : Scope.universe;
}

export function encodeAddress(type: number, flags: number, address: AddressSpec): Uint8Array {
  const ip = wireIp(address.prefix.ip);
  const bits =
    (address.noDad === true ? IFA_F_NODAD : 0) |
    (address.noPrefixRoute === true ? IFA_F_NOPREFIXROUTE : 0) |
    (address.autoJoin === true ? IFA_F_MCAUTOJOIN : 0);
  const message = new MessageWriter(type, flags).fixed(INFO, (view) => {
    view.setUint8(0, familyOf(address.prefix.ip));
    view.setUint8(1, wireLength(address.prefix));
    view.setUint8(3, address.scope ?? defaultScope(address.prefix));
    view.setUint32(4, address.index, true);
  });
  message.raw(IFA.LOCAL, ip).raw(IFA.ADDRESS, ip);
  if (bits !== 0) message.u32(IFA.FLAGS, bits);
  return message.finish();
}

export function encodeAddressDump(flags: number, filter: AddressFilter): Uint8Array {
  return new MessageWriter(RTM_GETADDR, flags)
    .fixed(INFO, (view) => {
      view.setUint8(0, familyNumber(filter.family));
      view.setUint32(4, filter.index ?? 0, true);
    })
    .finish();
}

/** Reads the body of RTM_NEWADDR or RTM_DELADDR. Throws NetlinkError (EBADMSG). */
export function decodeAddress(body: Uint8Array): Address {
  const info = fixedPart(body, INFO, "ifaddrmsg");
  const attributes = new Attributes(body, INFO);
  const family = info.getUint8(0);
  // On point-to-point links IFA_ADDRESS is the other end; IPv6 gives only IFA_ADDRESS.
  const ip = attributes.raw(IFA.LOCAL) ?? attributes.raw(IFA.ADDRESS);
  if (ip === undefined || ip.length !== (family === AF_INET ? 4 : 16))
    throw malformed("an address without bytes");
  const flags = attributes.u32(IFA.FLAGS) ?? info.getUint8(2);
  return {
    index: info.getUint32(4, true),
    prefix: prefixFromWire(family, ip, info.getUint8(1)),
    scope: info.getUint8(3),
    flags,
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    label: attributes.text(IFA.LABEL),
  };
}
