import { NetlinkError } from "./errors.ts";
import { native } from "./native.ts";
import { type NetnsRef, netnsName, withNetns } from "./netns.ts";

/** ETHTOOL_G* and ETHTOOL_S* of one value (linux/ethtool.h). */
const commands = {
  gro: { get: 0x2b, set: 0x2c },
  txChecksum: { get: 0x16, set: 0x17 },
} as const;

/** What a device does instead of the stack. */
export interface Offloads {
  /** Packets that arrive are joined; on veth it is also what lets the other end send frames by XDP. */
  readonly gro: boolean;
  /** Checksums of what is sent are left to the device. */
  readonly txChecksum: boolean;
}

function call(netns: NetnsRef, device: string, command: number, value: number, op: string): number {
  const result = withNetns(netns, (ns) => native().ethtool(ns, device, command, value));
  if (result >= 0) return result;
  const object = `offloads of link ${device} in ${netnsName(netns)}`;
  throw new NetlinkError({ op, object, kind: "link" }, -result);
}

/** The driver's own counters, by the driver's names (`ethtool -S`). Throws NetlinkError: ENODEV, EOPNOTSUPP. */
export function driverCounters(netns: NetnsRef, device: string): Readonly<Record<string, number>> {
  const result = withNetns(netns, (ns) => native().driverCounters(ns, device));
  if (typeof result !== "number") return result;
  const object = `counters of link ${device} in ${netnsName(netns)}`;
  throw new NetlinkError({ op: "read", object, kind: "link" }, -result);
}

/** Switches offloads of a device; absent ones stay. Throws NetlinkError: ENODEV, EOPNOTSUPP. */
export function setOffloads(netns: NetnsRef, device: string, change: Partial<Offloads>): void {
  for (const name of ["gro", "txChecksum"] as const) {
    const on = change[name];
    if (on !== undefined) call(netns, device, commands[name].set, on ? 1 : 0, "set");
  }
}

/** The offloads of a device. Throws NetlinkError: ENODEV, EOPNOTSUPP. */
export function getOffloads(netns: NetnsRef, device: string): Offloads {
  return {
    gro: call(netns, device, commands.gro.get, 0, "get") === 1,
    txChecksum: call(netns, device, commands.txChecksum.get, 0, "get") === 1,
  };
}
