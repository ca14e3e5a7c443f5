import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { formatIp } from "@axoneme/base";
import { afterEach, describe, expect, it } from "vitest";
import { parseProtectedPort } from "../src/host/lifelines.ts";
import {
  distinctSessions,
  inboundSessions,
  ownConnections,
  parseTcpSockets,
  tcpSockets,
} from "../src/host/sockets.ts";

/** Which connections a node has, read from the kernel's own list. */

const open: (Server | Socket)[] = [];
afterEach(() => {
  for (const one of open.splice(0)) "destroy" in one ? one.destroy() : one.close();
});

async function connection(host: string): Promise<{ port: number; clientPort: number }> {
  const server = createServer((socket) => void open.push(socket)).listen(0, host);
  open.push(server);
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const client = connect(port, host);
  open.push(client);
  await once(client, "connect");
  return { port, clientPort: client.localPort ?? 0 };
}

describe("TCP sockets", () => {
  it("lines that make no sense are passed over", () => {
    const head = "  sl  local_address rem_address   st";
    const good =
      "   0: 0100007F:0016 0200007F:B86A 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0 0";
    const read = parseTcpSockets(`${head}\nnonsense\n   1: 01:02 03:04 01\n${good}\n`);
    expect(
      read.map(({ localPort, peerPort, state, inode }) => ({ localPort, peerPort, state, inode })),
    ).toEqual([{ localPort: 22, peerPort: 0xb86a, state: 1, inode: "77" }]);
  });

  it.each(["127.0.0.1", "::1"])(
    "a session to %s is inbound on one side and this process's on the other",
    async (host) => {
      const { port, clientPort } = await connection(host);
      const sockets = tcpSockets();
      const inbound = inboundSessions(sockets).filter(({ localPort }) => localPort === port);
      expect(inbound.map(({ local, peerPort }) => [formatIp(local), peerPort])).toEqual([[host, clientPort]]);
      const own = ownConnections(sockets).filter(({ peerPort }) => peerPort === port);
      expect(own.map(({ peer, localPort }) => [formatIp(peer), localPort])).toEqual([[host, clientPort]]);
      expect(distinctSessions([...inbound, ...inbound])).toHaveLength(1);
    },
  );
});

describe("protected ports", () => {
  it.each([
    ["192.0.2.0/24:22", 120, 22],
    ["[2001:db8::/32]:6443", 32, 6443],
  ])("%s", (text, length, port) => {
    expect(parseProtectedPort(text)).toMatchObject({ from: { length }, port });
  });

  it.each(["22", "192.0.2.0/24", "192.0.2.0/24:0", "192.0.2.0/24:99999", "2001:db8::/32:22", "all:22"])(
    "%s is refused",
    (text) => {
      expect(() => parseProtectedPort(text)).toThrow();
    },
  );
});
