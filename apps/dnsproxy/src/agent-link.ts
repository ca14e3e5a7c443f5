import { renameSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { AxonError, errorText, type Logger } from "@axoneme/base";
import {
  type AgentMessage,
  type AnswerMessage,
  encodeLine,
  LineReader,
  PROTOCOL_VERSION,
  type ProxyMessage,
  type QueryMessage,
} from "@axoneme/dns";
import type { AsPods } from "./as-pods.ts";
import type { AnswerGate } from "./gate.ts";
import type { Metrics } from "./metrics.ts";
import type { Rules } from "./rules.ts";

/** More than this not yet taken by the agent: nothing is said of queries. */
const BUSY_BYTES = 256 * 1024;
/** More than this: answers are kept for later too. */
const FULL_BYTES = 1024 * 1024;
/** What the agent hears of queries at the most, messages in a tick; a little is saved up. */
const OBSERVED_A_TICK = 20;
const SAVED_TICKS = 2;
/** Ticks in a second, of the link and of the gate. */
export const TICKS = 50;

/** What nobody waits for is written together: each write wakes the agent. Milliseconds. */
const OBSERVED_MS = 20;

/** What the link works on. */
export interface LinkDeps {
  readonly path: string;
  readonly build: string;
  readonly asPods: Pick<AsPods, "refusal">;
  readonly rules: Rules;
  readonly gate: AnswerGate;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** The socket that the agent of this node connects to. One agent at a time: a new one takes the old one's place. */
export class AgentLink {
  private readonly deps: LinkDeps;
  private readonly server: Server;
  private socket: Socket | undefined;
  private lines: string[] = [];
  private soon: NodeJS.Immediate | undefined;
  private later: NodeJS.Timeout | undefined;
  private allowance = OBSERVED_A_TICK * SAVED_TICKS;
  /** Has said hello. */
  isOpen = false;

  constructor(deps: LinkDeps) {
    this.deps = deps;
    this.server = createServer((socket) => this.connected(socket));
  }

  /** Serves the socket. It is made beside and renamed: at no moment is there none, and closing removes no other's. */
  async listen(): Promise<void> {
    const beside = `${this.deps.path}.${process.pid}`;
    rmSync(beside, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.server.once("error", reject);
      // The file is made within the call: it is never open to others, and nothing else is made meanwhile.
      const mask = process.umask(0o177);
      this.server.listen(beside, resolve);
      process.umask(mask);
    });
    renameSync(beside, this.deps.path);
  }

  /** Ends the connection and takes no other. */
  close(): void {
    this.server.close();
    this.socket?.destroy();
  }

  /** {@link TICKS} times a second. */
  tick(): void {
    this.allowance = Math.min(this.allowance + OBSERVED_A_TICK, OBSERVED_A_TICK * SAVED_TICKS);
  }

  send(message: AnswerMessage): boolean {
    if (this.socket === undefined || this.socket.writableLength > FULL_BYTES) return false;
    this.queue(message);
    return true;
  }

  /** Tells of a query, or of an answer without addresses, if the agent has the time for it. */
  observe(message: QueryMessage | AnswerMessage): void {
    if (!this.isOpen || this.socket === undefined) return;
    if (this.allowance <= 0 || this.socket.writableLength > BUSY_BYTES) {
      this.deps.metrics.unobserved++;
      return;
    }
    this.allowance--;
    this.later ??= setTimeout(() => this.flush(), OBSERVED_MS);
    this.lines.push(encodeLine(message));
  }

  /** Whether `observe` would tell: what is not told need not be made. */
  get isListening(): boolean {
    if (!this.isOpen) return false;
    if (this.allowance > 0) return true;
    this.deps.metrics.unobserved++;
    return false;
  }

  /** What is said in one turn of the loop goes out in one write. */
  private queue(message: ProxyMessage): void {
    this.soon ??= setImmediate(() => this.flush());
    this.lines.push(encodeLine(message));
  }

  private flush(): void {
    clearImmediate(this.soon);
    clearTimeout(this.later);
    this.soon = undefined;
    this.later = undefined;
    const text = this.lines.join("");
    this.lines = [];
    this.socket?.write(text);
  }

  private connected(socket: Socket): void {
    this.socket?.destroy();
    if (this.isOpen) this.gone();
    this.socket = socket;
    const reader = new LineReader();
    socket.on("data", (bytes) => {
      if (socket !== this.socket) return;
      try {
        for (const line of reader.push(bytes)) this.hear(line);
      } catch (error) {
        this.deps.log.error({ err: error }, "the agent does not keep to the protocol: disconnected");
        socket.destroy();
      }
    });
    socket.on("error", (error) =>
      this.deps.log.debug({ cause: errorText(error) }, "connection of the agent"),
    );
    socket.on("close", () => {
      if (socket !== this.socket) return;
      this.socket = undefined;
      this.gone();
    });
  }

  private gone(): void {
    this.isOpen = false;
    this.deps.gate.closed();
    this.deps.log.warn({}, "no agent: answers pass, and are told later");
  }

  private hear(line: string): void {
    const message = JSON.parse(line) as AgentMessage;
    const { rules, gate } = this.deps;
    switch (message.t) {
      case "hello":
        this.greeted(message.version);
        return;
      case "config":
        rules.configure(message);
        return;
      case "rules":
        rules.put(message);
        return;
      case "drop":
        rules.drop(message.id);
        return;
      case "synced":
        rules.synced();
        return;
      case "ack":
        gate.acked(message.seq);
        return;
    }
  }

  private greeted(version: number): void {
    if (version !== PROTOCOL_VERSION) {
      throw new AxonError(
        "dns.version",
        `the agent speaks version ${version}, this proxy ${PROTOCOL_VERSION}`,
      );
    }
    const { rules, gate, metrics, build, asPods, log } = this.deps;
    rules.begin();
    this.isOpen = true;
    this.queue({
      t: "welcome",
      version: PROTOCOL_VERSION,
      build,
      pid: process.pid,
      lost: metrics.answersLost,
      ...(asPods.refusal !== undefined && { asNode: asPods.refusal }),
    });
    gate.opened(this);
    log.info({}, "an agent is connected");
  }
}
