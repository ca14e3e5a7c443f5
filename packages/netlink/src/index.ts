export { type Address, type AddressFilter, type AddressSpec, Scope } from "./address.ts";
export {
  DATAGRAM_WORDS,
  DatagramSet,
  datagram,
  sendDatagrams,
  setMark,
  setReceiveBuffer,
} from "./datagram.ts";
export { errnoName, isErrno, NetlinkError } from "./errors.ts";
export type { Family } from "./family.ts";
export { announcementFrames, type OutgoingFrame, sendFrames } from "./frame.ts";
export { HandoverServer, takeOver } from "./handover.ts";
export { type LaunchOptions, launch } from "./launcher.ts";
export type { Link, LinkChange, LinkName, LinkSpec, VethEnd } from "./link.ts";
export { builtFile } from "./native.ts";
export { type Neighbour, type NeighbourFilter, type NeighbourSpec, NeighState } from "./neighbour.ts";
export { Netlink, type NetlinkOptions } from "./netlink.ts";
export {
  closeFd,
  Netns,
  type NetnsOptions,
  type NetnsRef,
  netnsCookie,
  openNetns,
  sysctlGet,
  sysctlSet,
  sysctlSetAll,
} from "./netns.ts";
export { driverCounters, getOffloads, type Offloads, setOffloads } from "./offload.ts";
export type { Shaper } from "./qdisc.ts";
export { LinkReaper } from "./reaper.ts";
export { Protocol, type Route, type RouteFilter, type RouteSpec, RouteType, Table } from "./route.ts";
export { prefixFamily, type Rule, type RuleSpec } from "./rule.ts";
export {
  type ConnectAddress,
  connectIn,
  dialIn,
  dialMarked,
  type ListenAddress,
  listenIn,
} from "./socket.ts";
export type { Watch, WatchAction, WatchEvent, WatchFilter } from "./watch.ts";
