import { createConnection, type Socket } from "node:net";
import { AxonError } from "@axoneme/base";
import { answerWithout, type Query, RCODE, readQuery } from "@axoneme/dns";
import { dialMarked } from "@axoneme/netlink";
import type { AgentLink } from "./agent-link.ts";
import type { AsPods } from "./as-pods.ts";
import type { AwaitedRules } from "./awaited-rules.ts";
import { FrameReader, frame } from "./frames.ts";
import type { Answer, AnswerGate } from "./gate.ts";
import type { InFlight } from "./in-flight.ts";
import { judge, refusalCode } from "./judge.ts";
import { answerTo, exchange, learned, settle } from "./learn.ts";
import type { Metrics } from "./metrics.ts";
import { type AddressWords, ipOf, type Origin, type Origins } from "./origin.ts";
import { randomBelow } from "./random.ts";
import type { Rules } from "./rules.ts";

/** Neither side has said anything: RFC 7766 6.2.3 wants seconds, resolvers of pods close earlier. Milliseconds. */
const IDLE_MS = 10_000;
/** Queries of one connection that are not answered yet; more wait in the socket. */
const MAX_PENDING = 64;
/** Answers the pod does not take, bytes. */
const MAX_UNTAKEN = 1024 * 1024;

/** What the TCP side works with. */
export interface TcpDeps {
  readonly origins: Origins;
  readonly asPods: AsPods;
  readonly rules: Rules;
  readonly awaited: AwaitedRules;
  readonly gate: AnswerGate;
  readonly link: AgentLink;
  readonly inFlight: InFlight;
  readonly metrics: Metrics;
}

/** The pod's end of a connection. */
interface Client {
  readonly ip: string;
  readonly port: number;
  readonly words: AddressWords;
}

interface Asked {
  readonly id: number;
  readonly question: Query;
  /** Header and question, for an answer of the proxy's own. */
  readonly bytes: Uint8Array;
  readonly received: number;
}

/** One connection of a pod and the one to its server: several queries, answered in whatever order. */
export class TcpSession {
  onClose: () => void = () => undefined;
  private readonly deps: TcpDeps;
  private readonly socket: Socket;
  private readonly client: Client;
  private readonly server: { ip: string; port: number };
  private readonly origin: Origin;
  private readonly find: () => Origin | undefined;
  private readonly fromPod = new FrameReader();
  private readonly pending = new Map<number, Asked>();
  private upstream: Socket | undefined;
  private held = 0;
  private ended = false;
  private closed = false;

  /** `find`: what the datapath says of the connection now; rules change while it is open. */
  constructor(deps: TcpDeps, socket: Socket, client: Client, origin: Origin, find: () => Origin | undefined) {
    this.deps = deps;
    this.socket = socket;
    this.client = client;
    this.origin = origin;
    this.server = { ip: ipOf(origin.server), port: origin.serverPort };
    this.find = find;
    socket.setTimeout(IDLE_MS, () => this.close());
    socket.on("data", (bytes: Uint8Array) => this.heard(bytes));
    socket.on("end", () => {
      this.ended = true;
      this.closeIfDone();
    });
    socket.on("close", () => this.close());
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.socket.destroy();
    this.upstream?.destroy();
    for (let left = this.pending.size; left > 0; left--) this.deps.inFlight.leave(this.origin.endpoint);
    this.pending.clear();
    this.onClose();
  }

  private closeIfDone(): void {
    if (this.ended && this.pending.size === 0 && this.held === 0) this.close();
  }

  // ---- from the pod -------------------------------------------------------------------------------------------

  private heard(bytes: Uint8Array): void {
    for (const message of this.fromPod.push(bytes)) {
      if (this.closed) return;
      this.asked(message);
    }
    if (this.pending.size >= MAX_PENDING) this.socket.pause();
  }

  private asked(bytes: Uint8Array): void {
    const { awaited, metrics } = this.deps;
    metrics.received++;
    const received = performance.now();
    let query: Query;
    try {
      query = readQuery(bytes);
    } catch (error) {
      if (!(error instanceof AxonError)) throw error;
      metrics.parseErrors++;
      metrics.lose("malformed");
      this.close();
      return;
    }
    const origin = this.find();
    if (origin === undefined) {
      metrics.lose("stray");
      this.close();
      return;
    }
    if (!awaited.isDue(origin.rules)) {
      this.judged(origin, query, bytes, received);
      return;
    }
    this.held++;
    awaited.wait(origin.rules, () => {
      this.held--;
      if (this.closed) return;
      this.judged(origin, query, bytes, received);
      this.closeIfDone();
    });
  }

  private judged(origin: Origin, query: Query, bytes: Uint8Array, received: number): void {
    const { rules, metrics, link } = this.deps;
    const verdict = judge(rules, origin, query);
    if (link.isListening)
      link.observe({
        t: "query",
        rules: origin.rules,
        verdict,
        ...exchange(query, "tcp", this.client, this.server),
      });
    if (verdict === "refused") {
      metrics.denied++;
      this.reply(answerWithout(bytes, query.end, refusalCode(rules)));
      return;
    }
    if (verdict === "audit") metrics.audited++;
    this.forward(query, bytes, received);
  }

  private forward(question: Query, bytes: Uint8Array, received: number): void {
    const { inFlight, metrics } = this.deps;
    if (!inFlight.enter(this.origin.endpoint)) {
      this.reply(answerWithout(bytes, question.end, RCODE.servFail));
      return;
    }
    let id = randomBelow(0x10000);
    while (this.pending.has(id)) id = randomBelow(0x10000);
    this.pending.set(id, { id: question.id, question, bytes: bytes.slice(0, question.end), received });
    bytes[0] = id >> 8;
    bytes[1] = id & 0xff;
    this.connected().write(frame(bytes));
    metrics.forwarded++;
    metrics.processing.observe((performance.now() - received) / 1000);
  }

  // ---- from the server ----------------------------------------------------------------------------------------

  private connected(): Socket {
    if (this.upstream !== undefined) return this.upstream;
    const mark = this.deps.asPods.markFor(this.origin.endpoint, this.client.words);
    const upstream = dial({ host: this.server.ip, port: this.server.port }, mark);
    const frames = new FrameReader();
    this.upstream = upstream;
    upstream.setTimeout(IDLE_MS, () => upstream.destroy());
    upstream.on("data", (bytes: Uint8Array) => {
      for (const message of frames.push(bytes)) this.answered(message);
    });
    upstream.on("error", () => upstream.destroy());
    upstream.on("end", () => upstream.destroy());
    upstream.on("close", () => this.lost(upstream));
    return upstream;
  }

  /** The server has closed: what it owes is answered as failed; the next query connects anew. */
  private lost(upstream: Socket): void {
    if (this.upstream !== upstream || this.closed) return;
    this.upstream = undefined;
    for (const [id, { bytes, question }] of this.pending) {
      this.pending.delete(id);
      this.deps.inFlight.leave(this.origin.endpoint);
      this.deps.metrics.lose("timeout");
      this.reply(answerWithout(bytes, question.end, RCODE.servFail));
    }
    this.closeIfDone();
  }

  private answered(bytes: Uint8Array): void {
    const { metrics, inFlight } = this.deps;
    const id = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
    const asked = this.pending.get(id);
    if (asked === undefined || this.closed) {
      metrics.lose("unmatched");
      return;
    }
    const head = answerTo(bytes, asked.question, metrics);
    if (head === undefined) return;
    this.pending.delete(id);
    inFlight.leave(this.origin.endpoint);
    if (this.pending.size < MAX_PENDING) this.socket.resume();
    const now = performance.now();
    metrics.upstream.observe((now - asked.received) / 1000);
    bytes[0] = asked.id >> 8;
    bytes[1] = asked.id & 0xff;
    const found = learned(bytes, head);
    const answer = (): Answer => ({
      ...exchange(asked.question, "tcp", this.client, this.server),
      rcode: head.rcode,
      ...found,
      latencyUs: Math.round((now - asked.received) * 1000),
    });
    this.held++;
    const release = (): void => {
      this.held--;
      metrics.total.observe((performance.now() - asked.received) / 1000);
      this.reply(bytes);
      this.closeIfDone();
    };
    const about = { endpoint: this.origin.endpoint, name: asked.question.name };
    if (settle(this.deps, about, found, answer, release)) release();
  }

  private reply(message: Uint8Array): void {
    if (this.closed) return;
    this.socket.write(frame(message));
    if (this.socket.writableLength > MAX_UNTAKEN) this.close();
  }
}

/** A connection to a server, on its way: in the name of the pod that the mark is for, if there is one. */
function dial(server: { host: string; port: number }, mark: number): Socket {
  if (mark === 0) return createConnection({ ...server, noDelay: true });
  const socket = dialMarked(server, mark);
  socket.setNoDelay(true);
  return socket;
}
