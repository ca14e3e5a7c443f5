import { closeSync } from "node:fs";
import { parseIp, waitFor } from "@axoneme/base";
import { isErrno, listenIn, setReceiveBuffer } from "@axoneme/netlink";
import { type AddressWords, wordsOf } from "./origin.ts";

/** AX_PROXY_PORTS: as many servers can a pod ask at a time from one port of its own. */
const PORTS = 4;
const RECEIVE_BUFFER = 4 * 1024 * 1024;
const UDP = 17;
const TCP = 6;

/** A socket that queries come to. */
export interface ListeningSocket {
  readonly fd: number;
  readonly host: string;
  readonly words: AddressWords;
  readonly port: number;
  readonly proto: number;
}

interface Wanted {
  readonly host: string;
  readonly port: number;
  readonly proto: number;
}

/** All sockets there are to be, in the order in which they are handed over. */
function wanted(addresses: readonly string[], port: number): Wanted[] {
  return addresses.flatMap((host) =>
    [UDP, TCP].flatMap((proto) => Array.from({ length: PORTS }, (_, i) => ({ host, port: port + i, proto }))),
  );
}

/** What a proxy says of the sockets that it hands over. */
export function describe(addresses: readonly string[], port: number): string {
  return JSON.stringify(wanted(addresses, port));
}

/** Opens them anew. Waits until the addresses are there: the agent gives them to the node. Throws NetlinkError. */
export async function openListeners(addresses: readonly string[], port: number): Promise<ListeningSocket[]> {
  const sockets: ListeningSocket[] = [];
  for (const want of wanted(addresses, port)) {
    const fd = await waitFor(() => tryOpen(want), {
      timeoutMs: 600_000,
      everyMs: 50,
      what: `the address ${want.host} on this node`,
    });
    sockets.push(withFd(want, fd));
  }
  return sockets;
}

function tryOpen({ host, port, proto }: Wanted): number | undefined {
  try {
    return listenIn(undefined, { host, port, protocol: proto === UDP ? "udp" : "tcp" });
  } catch (error) {
    if (isErrno(error, "EADDRNOTAVAIL", "EADDRINUSE")) return undefined;
    throw error;
  }
}

/** Takes handed-over descriptors for what they are; undefined, and closed, when they are not what is wanted. */
export function adoptListeners(
  fds: readonly number[],
  described: string,
  addresses: readonly string[],
  port: number,
): ListeningSocket[] | undefined {
  const all = wanted(addresses, port);
  if (described === describe(addresses, port) && fds.length === all.length)
    return all.map((want, i) => withFd(want, fds[i] ?? -1));
  for (const fd of fds) closeSync(fd);
  return undefined;
}

function withFd(want: Wanted, fd: number): ListeningSocket {
  if (want.proto === UDP) setReceiveBuffer(fd, RECEIVE_BUFFER);
  return { ...want, fd, words: wordsOf(parseIp(want.host)) };
}

/** Whether a socket carries datagrams. */
export function isUdp({ proto }: ListeningSocket): boolean {
  return proto === UDP;
}
