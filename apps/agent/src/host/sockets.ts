import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { endianness } from "node:os";
import { type Ip, ipKey } from "@axoneme/base";

/** A TCP socket of this network namespace, as `/proc/net/tcp` and `tcp6` list it. */
export interface TcpSocket {
  readonly local: Ip;
  readonly localPort: number;
  readonly peer: Ip;
  readonly peerPort: number;
  /** Kernel's numbers: 1 established, 10 listening. */
  readonly state: number;
  readonly inode: string;
}

const established = 1;
const listening = 10;
/** Lines looked at of each file: a node with more sockets has enough others to tell by. */
const mostLines = 65_536;

/** Parses the text of `/proc/net/tcp` or `tcp6`; lines that make no sense are passed over. */
export function parseTcpSockets(text: string): TcpSocket[] {
  return text
    .split("\n", mostLines + 1)
    .slice(1)
    .flatMap((line) => {
      const [, local = "", peer = "", state = "", , , , , , inode = ""] = line.trim().split(/\s+/);
      const [here, there] = [parseEnd(local), parseEnd(peer)];
      if (here === undefined || there === undefined || inode === "") return [];
      const ends = { local: here.ip, localPort: here.port, peer: there.ip, peerPort: there.port };
      return [{ ...ends, state: Number.parseInt(state, 16), inode }];
    });
}

/** Words of the address in the machine's order, then the port. */
function parseEnd(text: string): { ip: Ip; port: number } | undefined {
  const [, address = "", port = ""] =
    /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(text) ?? ([] as string[]);
  if (address === "") return undefined;
  const bytes = Buffer.from(address, "hex");
  if (endianness() === "LE") for (let i = 0; i < bytes.length; i += 4) bytes.subarray(i, i + 4).reverse();
  const ip = new Uint8Array(16);
  if (bytes.length === 4) ip.set([0xff, 0xff], 10);
  ip.set(bytes, 16 - bytes.length);
  return { ip, port: Number.parseInt(port, 16) };
}

/** The TCP sockets there are now; none of a family that the kernel does not have. */
export function tcpSockets(): TcpSocket[] {
  return ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((path) => {
    try {
      return parseTcpSockets(readFileSync(path, "utf8"));
    } catch {
      return [];
    }
  });
}

/** Established connections that others have opened to a port this node listens on. */
export function inboundSessions(sockets: readonly TcpSocket[]): TcpSocket[] {
  const ports = new Set(sockets.filter(({ state }) => state === listening).map(({ localPort }) => localPort));
  return sockets.filter(({ state, localPort }) => state === established && ports.has(localPort));
}

/** Established connections that this very process has opened. */
export function ownConnections(sockets: readonly TcpSocket[], inodes = inodesOfSelf()): TcpSocket[] {
  const inbound = new Set(inboundSessions(sockets));
  return sockets.filter(
    (socket) => socket.state === established && inodes.has(socket.inode) && !inbound.has(socket),
  );
}

function inodesOfSelf(): Set<string> {
  const dir = "/proc/self/fd";
  const links = readdirSync(dir).map((name) => {
    try {
      return readlinkSync(`${dir}/${name}`);
    } catch {
      // Closed meanwhile: also the descriptor of this very listing.
      return "";
    }
  });
  return new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []));
}

/** One of each (peer, local port): policy sees no difference between the others. */
export function distinctSessions(sessions: readonly TcpSocket[]): TcpSocket[] {
  const byKey = new Map(sessions.map((session) => [`${ipKey(session.peer)}/${session.localPort}`, session]));
  return [...byKey.values()];
}
