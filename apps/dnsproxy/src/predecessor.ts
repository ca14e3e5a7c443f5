import { Socket } from "node:net";
import { AxonError, type Logger } from "@axoneme/base";
import { type AnswerMessage, encodeLine, LineReader } from "@axoneme/dns";
import { HandoverServer, takeOver } from "@axoneme/netlink";

/**
 * How one proxy follows another without a query lost. The new one connects to the old one's handover socket and gets
 * the listening sockets themselves, with what is in their queues. When it is ready it says so; the old one then reads no
 * more, answers what is in flight, tells the new one what it learns meanwhile, and ends.
 *
 *   old -> new   descriptors, a line that describes them, later a line for each answer the agent has to hear of
 *   new -> old   the line "ready"
 */
const READY = "ready";
const PEER_TIMEOUT_MS = 2000;

/** The proxy that was here before. */
export interface Predecessor {
  readonly fds: number[];
  /** Of the sockets, in the words of `describe`. */
  readonly described: string;
  /** Called for what it learns after `ready`. */
  onAnswer: (answer: AnswerMessage) => void;
  /** From now on this process serves. */
  ready(): void;
}

/** Finds a predecessor that is alive; undefined when there is none. */
export async function findPredecessor(path: string, log: Logger): Promise<Predecessor | undefined> {
  const taken = await takeOver(path, PEER_TIMEOUT_MS);
  if (taken === undefined) return undefined;
  const socket = new Socket({ fd: taken.connection, readable: true, writable: true });
  const reader = new LineReader();
  return new Promise((resolve) => {
    let found: Predecessor | undefined;
    const gone = (): void => {
      log.info({}, "the proxy before has ended");
      if (found === undefined) resolve(undefined);
    };
    socket.on("error", (error) => log.debug({ cause: error.message }, "connection to the proxy before"));
    socket.on("close", gone);
    socket.on("data", (bytes: Uint8Array) => {
      for (const line of reader.push(bytes)) {
        if (found !== undefined) {
          found.onAnswer(JSON.parse(line) as AnswerMessage);
          continue;
        }
        found = {
          fds: taken.fds,
          described: line,
          onAnswer: () => undefined,
          ready: () => void socket.write(`${READY}\n`),
        };
        resolve(found);
      }
    });
    socket.setTimeout(PEER_TIMEOUT_MS, () => {
      if (found === undefined) socket.destroy(new AxonError("dns.handover", "the proxy before says nothing"));
    });
  });
}

/** The old one's side. */
export class Successor {
  private readonly server: HandoverServer;
  private readonly log: Logger;
  private peer: Socket | undefined;

  /** `onReady`: another proxy serves now. Throws NetlinkError. */
  constructor(path: string, described: string, fds: () => number[], onReady: () => void, log: Logger) {
    this.log = log;
    this.server = new HandoverServer(path, fds, (fd) => {
      const socket = new Socket({ fd, readable: true, writable: true });
      const reader = new LineReader();
      socket.on("error", (error) =>
        this.log.debug({ cause: error.message }, "connection of the proxy after"),
      );
      socket.on("data", (bytes: Uint8Array) => {
        if (!reader.push(bytes).includes(READY) || this.peer !== undefined) return;
        this.peer = socket;
        onReady();
      });
      socket.write(`${described}\n`);
    });
  }

  /** Tells the new one of an answer. */
  tell(answer: AnswerMessage): void {
    this.peer?.write(encodeLine(answer));
  }

  close(): Promise<void> {
    this.server.close();
    const { peer } = this;
    if (peer === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      peer.once("close", () => resolve());
      peer.end();
      peer.setTimeout(PEER_TIMEOUT_MS, () => peer.destroy());
    });
  }
}
