import { type Ip, isV4 } from "@axoneme/base";
import { NetlinkError } from "./errors.ts";
import { native } from "./native.ts";
import { type NetnsRef, netnsName, withNetns } from "./netns.ts";

/** An Ethernet frame, header included, and the device it leaves by. */
export interface OutgoingFrame {
  readonly ifindex: number;
  readonly bytes: Uint8Array;
}

/**
 * Sends Ethernet frames out of devices of the namespace: all that can be sent. Throws the NetlinkError of the first
 * that could not: ENXIO for no such device, ENETDOWN for one that is down, EMSGSIZE beyond its MTU. Takes some
 * milliseconds a call, however many frames it is given.
 */
export function sendFrames(netns: NetnsRef, frames: readonly OutgoingFrame[]): void {
  const fail = (object: string, rc: number): NetlinkError =>
    new NetlinkError({ op: "send", object: `${object} of ${netnsName(netns)}`, kind: "socket" }, -rc);
  const sent = withNetns(netns, (ns) =>
    native().framesSend(
      ns,
      frames.map(({ ifindex }) => ifindex),
      frames.map(({ bytes }) => bytes),
    ),
  );
  if (typeof sent === "number") throw fail("frames", sent);
  for (const [i, rc] of sent.entries())
    if (rc !== 0) throw fail(`a frame out of device ${frames[i]?.ifindex}`, rc);
}

const broadcast = new Uint8Array(6).fill(0xff);
const nobody = new Uint8Array(6);

const etherType = { arp: 0x0806, ipv6: 0x86dd } as const;

/**
 * Frames that tell everybody on the link that `address` is at `mac` now: for IPv4 a gratuitous ARP request and
 * reply (RFC 5227 has the request; some switches and hosts listen to the reply only), for IPv6 an unsolicited
 * neighbour advertisement that overrides (RFC 4861 4.4).
 */
export function announcementFrames(address: Ip, mac: Uint8Array): Uint8Array[] {
  if (!isV4(address)) return [unsolicitedAdvertisement(address, mac)];
  return [gratuitousArp(address, mac, 1), gratuitousArp(address, mac, 2)];
}

/** RFC 826; sender and target are the same address. `operation`: 1 request, 2 reply. */
function gratuitousArp(address: Ip, mac: Uint8Array, operation: 1 | 2): Uint8Array {
  const ip = address.subarray(12);
  const fixed = Uint8Array.of(0, 1, 0x08, 0x00, 6, 4, 0, operation);
  const target = operation === 1 ? nobody : mac;
  return frame(broadcast, mac, etherType.arp, [fixed, mac, ip, target, ip]);
}

/** All nodes of the link, ff02::1, and its Ethernet address. */
const allNodes = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const allNodesMac = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);
const icmpv6 = 58;

function unsolicitedAdvertisement(address: Ip, mac: Uint8Array): Uint8Array {
  // Type 136, code 0, checksum, flags with Override alone, target, option 2 (target link-layer address).
  const body = new Uint8Array(32);
  body.set([136, 0, 0, 0, 0x20]);
  body.set(address, 8);
  body.set([2, 1], 24);
  body.set(mac, 26);
  const header = new Uint8Array(40);
  header.set([0x60, 0, 0, 0, 0, body.length, icmpv6, 255]);
  header.set(address, 8);
  header.set(allNodes, 24);
  const sum = checksum(address, allNodes, body);
  body[2] = sum >> 8;
  body[3] = sum & 0xff;
  return frame(allNodesMac, mac, etherType.ipv6, [header, body]);
}

/** RFC 1071 over the IPv6 pseudo header and the message; everything has an even length. */
function checksum(source: Uint8Array, destination: Uint8Array, body: Uint8Array): number {
  let sum = body.length + icmpv6;
  for (const part of [source, destination, body]) {
    for (let i = 0; i < part.length; i += 2) sum += ((part[i] ?? 0) << 8) | (part[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function frame(to: Uint8Array, from: Uint8Array, type: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 14);
  // Without the padding of short frames: the device adds it.
  const bytes = new Uint8Array(length);
  bytes.set(to);
  bytes.set(from, 6);
  bytes.set([type >> 8, type & 0xff], 12);
  let at = 14;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
