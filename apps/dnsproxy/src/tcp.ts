import { createServer, type Server, type Socket } from "node:net";
import { type Ip, parseIp } from "@axoneme/base";
import { type Listener, type Origin, wordsOf } from "./origin.ts";
import { type TcpDeps, TcpSession } from "./tcp-session.ts";

/** Connections of pods, in all and of one. */
const MAX_SESSIONS = 4096;
const MAX_PER_POD = 128;

export interface TcpListener extends Listener {
  readonly fd: number;
}

/** Queries over TCP: a session for each connection of a pod. */
export class TcpProxy {
  private readonly deps: TcpDeps;
  private readonly servers: Server[] = [];
  private readonly sessions = new Set<TcpSession>();
  private readonly byPod = new Map<number, number>();

  constructor(deps: TcpDeps) {
    this.deps = deps;
  }

  get size(): number {
    return this.sessions.size;
  }

  /** Begins to accept on a listening socket, which the server owns from here on. */
  listen(listener: TcpListener): Promise<void> {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) =>
      this.accepted(socket, listener),
    );
    this.servers.push(server);
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen({ fd: listener.fd }, resolve);
    });
  }

  /** Accepts no more; sessions go on until they end, or are idle. */
  deafen(): void {
    for (const server of this.servers) server.close();
  }

  close(): void {
    this.deafen();
    for (const session of this.sessions) session.close();
  }

  private accepted(socket: Socket, listener: TcpListener): void {
    const ip: Ip | undefined = socket.remoteAddress === undefined ? undefined : parseIp(socket.remoteAddress);
    const port = socket.remotePort;
    socket.on("error", () => socket.destroy());
    if (ip === undefined || port === undefined) {
      socket.destroy();
      return;
    }
    const words = wordsOf(ip);
    const find = (): Origin | undefined => this.deps.origins.find(words, 0, port, listener);
    const origin = find();
    if (origin === undefined) {
      this.deps.metrics.lose("stray");
      socket.destroy();
      return;
    }
    const own = this.byPod.get(origin.endpoint) ?? 0;
    if (this.sessions.size >= MAX_SESSIONS || own >= MAX_PER_POD) {
      this.deps.metrics.lose("tcp-sessions");
      socket.destroy();
      return;
    }
    const session = new TcpSession(
      this.deps,
      socket,
      { ip: socket.remoteAddress ?? "", port, words },
      origin,
      find,
    );
    this.sessions.add(session);
    this.byPod.set(origin.endpoint, own + 1);
    session.onClose = () => {
      this.sessions.delete(session);
      const left = (this.byPod.get(origin.endpoint) ?? 1) - 1;
      if (left === 0) this.byPod.delete(origin.endpoint);
      else this.byPod.set(origin.endpoint, left);
    };
  }
}
