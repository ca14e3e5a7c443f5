import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { constants } from "node:os";
import { parseIp } from "@axoneme/base";
import { NetlinkError, type Operation } from "./errors.ts";
import { native } from "./native.ts";
import { type NetnsRef, netnsName, withNetns } from "./netns.ts";

/** Where a socket listens or connects to. `host` is an address, not a name. */
interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

/** What {@link listenIn} opens. */
export interface ListenAddress extends SocketAddress {
  /** Default tcp. */
  readonly protocol?: "tcp" | "udp";
  readonly backlog?: number;
}

/** What {@link connectIn} and {@link dialIn} connect to. */
export interface ConnectAddress extends SocketAddress {
  /** Default 10 s. */
  readonly timeoutMs?: number;
}

const TCP = 1;
const UDP = 2;

function describe(op: string, netns: NetnsRef, { host, port, protocol }: ListenAddress): Operation {
  const where = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  return { op, object: `${protocol ?? "tcp"} ${where} in ${netnsName(netns)}`, kind: "socket" };
}

/**
 * Opens a listening (TCP) or bound (UDP) socket inside a namespace. The descriptor serves
 * `server.listen({ fd })` and `dgramSocket.bind({ fd })`, which then own it. "::" takes IPv4 as well;
 * port 0 is any (a UDP client starts so). Throws NetlinkError.
 */
export function listenIn(netns: NetnsRef, address: ListenAddress): number {
  const ip = parseIp(address.host);
  const backlog = address.backlog ?? 511;
  const fd = withNetns(netns, (ns) =>
    native().socketListen(ns, address.protocol === "udp" ? UDP : TCP, ip, address.port, backlog),
  );
  if (fd < 0) throw new NetlinkError(describe("listen on", netns, address), -fd);
  return fd;
}

/** Resolves when a connecting socket is connected or has failed, with 0 or -errno. */
function connected(fd: number, timeoutMs: number): Promise<number> {
  return new Promise((resolve) => {
    const done = (rc: number): void => {
      clearTimeout(timer);
      if (typeof poll !== "number") native().pollStop(poll);
      resolve(rc);
    };
    const timer = setTimeout(() => done(-constants.errno.ETIMEDOUT), timeoutMs);
    const poll = native().pollStart(fd, 2, () => done(native().socketError(fd)));
    if (typeof poll === "number") done(poll);
  });
}

/**
 * Connects over TCP from inside a namespace and resolves with the descriptor, for `new net.Socket({ fd })`, which
 * then owns it. Throws NetlinkError; ETIMEDOUT after `timeoutMs`.
 */
export async function connectIn(netns: NetnsRef, address: ConnectAddress): Promise<number> {
  const what = describe("connect to", netns, address);
  const ip = parseIp(address.host);
  const fd = withNetns(netns, (ns) => native().socketConnect(ns, TCP, ip, address.port, 0));
  if (fd < 0) throw new NetlinkError(what, -fd);
  const rc = await connected(fd, address.timeoutMs ?? 10_000);
  if (rc === 0) return fd;
  closeSync(fd);
  throw new NetlinkError(what, -rc);
}

/**
 * A `net.Socket` of this namespace that is connecting over TCP: what is written is sent once it is connected, and an
 * error is told as of any socket. `mark`: SO_MARK of its packets, 0 for none. Throws NetlinkError.
 */
export function dialMarked(address: SocketAddress, mark: number): Socket {
  const fd = native().socketConnect(-1, TCP, parseIp(address.host), address.port, mark | 0);
  if (fd < 0) throw new NetlinkError(describe("connect to", undefined, address), -fd);
  return new Socket({ fd, readable: true, writable: true });
}

/** Like {@link connectIn}, as a connected `net.Socket`. */
export async function dialIn(netns: NetnsRef, address: ConnectAddress): Promise<Socket> {
  const fd = await connectIn(netns, address);
  return new Socket({ fd, readable: true, writable: true });
}
