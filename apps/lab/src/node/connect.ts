import { lookup } from "node:dns/promises";
import type { Socket } from "node:net";
import { isIP } from "node:net";
import { dialIn } from "@axoneme/netlink";

/** A TCP connection made inside a namespace; a name is looked up with the host's resolver. */
export async function connectFrom(
  netns: string,
  host: string,
  port: number,
  timeoutMs: number,
): Promise<Socket> {
  const address = isIP(host) === 0 ? (await lookup(host)).address : host;
  const socket = await dialIn(netns, { host: address, port, timeoutMs });
  // Whoever uses it learns of an error through what it does with it; without a listener it would be fatal.
  socket.on("error", () => socket.destroy());
  return socket;
}
