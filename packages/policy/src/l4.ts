import type { Direction, L4 } from "./rule.ts";

/** IP protocol numbers a policy can name. `ANY` means TCP, UDP and SCTP. */
export const protocols: Readonly<Record<string, number>> = {
  ICMP: 1,
  IGMP: 2,
  IPIP: 4,
  TCP: 6,
  UDP: 17,
  IPV6: 41,
  GRE: 47,
  ESP: 50,
  AH: 51,
  ICMPV6: 58,
  VRRP: 112,
  SCTP: 132,
};

/** The protocols that have ports. */
export const portProtocols: readonly number[] = [6, 17, 132];

/** Every protocol, every port. */
export const anyL4: L4 = { proto: 0, port: 0, shape: 0 };

/** One protocol, every port. */
export function anyPort(proto: number): L4 {
  return { proto, port: 0, shape: 8 };
}

/** One port (or ICMP type) of one protocol. */
export function onePort(proto: number, port: number): L4 {
  return { proto, port, shape: 24 };
}

/** The fewest port prefixes that hold exactly `first`..`last` (inclusive, 0..65535). */
export function portRange(proto: number, first: number, last: number): L4[] {
  const prefixes: L4[] = [];
  for (let at = first; at <= last; ) {
    let size = at === 0 ? 0x1_0000 : at & -at; // largest block aligned here
    while (at + size - 1 > last) size >>= 1;
    prefixes.push({ proto, port: at, shape: 24 - Math.log2(size) });
    at += size;
  }
  return prefixes;
}

/** The bits of `port` that a row of this shape keeps. */
export function maskPort(port: number, shape: number): number {
  return shape <= 8 ? 0 : port & (0xffff << (24 - shape)) & 0xffff;
}

/** Whether an L4 prefix holds all of another. */
export function covers4(outer: L4, inner: L4): boolean {
  if (outer.shape > inner.shape) return false;
  return (
    outer.shape === 0 || (outer.proto === inner.proto && maskPort(inner.port, outer.shape) === outer.port)
  );
}

/** Direction, shape, protocol and port as one number below 2^31: a Map key. */
export function l4Code(direction: Direction, l4: L4): number {
  return ((direction * 32 + l4.shape) * 256 + l4.proto) * 0x1_0000 + l4.port;
}

/** The inverse of {@link l4Code}. */
export function l4Of(code: number): L4 & { direction: Direction } {
  const rest = Math.floor(code / 0x100_0000);
  return {
    port: code % 0x1_0000,
    proto: Math.floor(code / 0x1_0000) % 256,
    shape: rest % 32,
    direction: rest >= 32 ? 1 : 0,
  };
}

const ICMP4 = {
  EchoReply: 0,
  DestinationUnreachable: 3,
  Redirect: 5,
  Echo: 8,
  EchoRequest: 8,
  RouterAdvertisement: 9,
  RouterSelection: 10,
  TimeExceeded: 11,
  ParameterProblem: 12,
  Timestamp: 13,
  TimestampReply: 14,
  Photuris: 40,
  ExtendedEchoRequest: 42,
  ExtendedEchoReply: 43,
} as const;

const ICMP6 = {
  DestinationUnreachable: 1,
  PacketTooBig: 2,
  TimeExceeded: 3,
  ParameterProblem: 4,
  EchoRequest: 128,
  EchoReply: 129,
  MulticastListenerQuery: 130,
  MulticastListenerReport: 131,
  MulticastListenerDone: 132,
  RouterSolicitation: 133,
  RouterAdvertisement: 134,
  NeighborSolicitation: 135,
  NeighborAdvertisement: 136,
  RedirectMessage: 137,
  RouterRenumbering: 138,
  ICMPNodeInformationQuery: 139,
  ICMPNodeInformationResponse: 140,
  InverseNeighborDiscoverySolicitation: 141,
  InverseNeighborDiscoveryAdvertisement: 142,
  HomeAgentAddressDiscoveryRequest: 144,
  HomeAgentAddressDiscoveryReply: 145,
  MobilePrefixSolicitation: 146,
  MobilePrefixAdvertisement: 147,
  DuplicateAddressRequestCodeSuffix: 157,
  DuplicateAddressConfirmationCodeSuffix: 158,
  ExtendedEchoRequest: 160,
  ExtendedEchoReply: 161,
} as const;

/** ICMP types by the names policies use, per family. */
export const icmpTypes: Readonly<Record<"IPv4" | "IPv6", Readonly<Record<string, number>>>> = {
  IPv4: ICMP4,
  IPv6: ICMP6,
};
