import { createConnection, type Socket } from "node:net";
import type { HealthReporter, Module } from "@axoneme/app";
import { backoff, errorText, type Logger } from "@axoneme/base";
import {
  type AgentMessage,
  type AnswerMessage,
  type ConfigMessage,
  encodeLine,
  LineReader,
  PROTOCOL_VERSION,
  type ProxyMessage,
  type QueryMessage,
  type WelcomeMessage,
} from "@axoneme/dns";
import type { DnsRuleSet } from "@axoneme/policy";

/** Names in one message: a line has to stay far below its bound. */
const namesInPart = 200;

/** Queries that were sent on their way under a set are judged by it, though it has gone out of force since. */
const dropAfterMs = 2000;

/** How often a proxy that has to be there is looked for. */
const neededEveryMs = 25;

/** What is known of the proxy that serves. */
export type ServingProxy = Omit<WelcomeMessage, "t" | "version">;

/** What the client is told to say, and whom it tells what it hears. */
export interface ProxyClientDeps {
  /** The proxy's socket. */
  readonly path: string;
  readonly config: () => ConfigMessage;
  /** All rule sets in force. */
  readonly rules: () => Iterable<DnsRuleSet>;
  /** Answers that came together; they wait for `ack`. */
  readonly onAnswers: (answers: readonly AnswerMessage[]) => void;
  readonly onQueries: (queries: readonly QueryMessage[]) => void;
  /** Whether there is to be a proxy: `off` looks for none, `start` misses it also when no rule needs it. */
  readonly mode: "start" | "external" | "off";
  readonly log: Logger;
}

/**
 * The agent's side of the DNS proxy's socket. Connects whenever it can, from its start on: the proxy knows rules before a
 * row names them. Each time it says everything that is in force, so that proxy and agent may restart in any order. What
 * is said while there is no connection is said then.
 */
export class ProxyClient implements Module {
  readonly name = "dns-proxy";
  readonly #deps: ProxyClientDeps;
  readonly #retry = backoff({ baseMs: 20, maxMs: 2000 });
  #health: HealthReporter | undefined;
  #socket: Socket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isOpen = false;
  #isStopped = false;
  /** Of the proxy that answered last. */
  #welcome: WelcomeMessage | undefined;
  #awaiting: (() => void)[] = [];
  /** The proxy is connected, and knows the rules in force. */
  onServing: () => void = () => undefined;
  /** The connection to a proxy that served has ended. */
  onLost: () => void = () => undefined;

  constructor(deps: ProxyClientDeps) {
    this.#deps = deps;
  }

  /** Whether a proxy has answered on the connection there is. */
  get isConnected(): boolean {
    return this.#welcome !== undefined;
  }

  /** Whether there is to be a proxy at all. */
  get mayServe(): boolean {
    return this.#deps.mode !== "off";
  }

  /** The proxy that serves; undefined: none does. */
  get serving(): ServingProxy | undefined {
    return this.#welcome;
  }

  start(health: HealthReporter): void {
    this.#health = health;
    health.ok(this.#deps.mode === "off" ? "off: DNS rules deny" : "waiting for the proxy");
    if (this.#deps.mode !== "off") this.#connect();
  }

  /** From now on all rule sets in force are known: only then may the proxy forget others. */
  open(): void {
    if (this.#isOpen || this.#isStopped) return;
    this.#isOpen = true;
    if (this.#socket) this.#greet(this.#socket);
    this.#report();
  }

  /** Resolves when a proxy serves: true; false after `timeoutMs`. */
  async whenServing(timeoutMs: number): Promise<boolean> {
    if (this.isConnected) return true;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#awaiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    return this.isConnected;
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#socket?.destroy();
  }

  /** The proxy is to know these sets before anything refers to them. */
  sendRules(sets: readonly DnsRuleSet[]): void {
    if (this.#socket === undefined) this.#hurry();
    for (const set of sets) for (const part of partsOf(set)) this.#send(part);
    this.#report();
  }

  /** Nothing refers to these sets any more. */
  dropRules(ids: readonly number[]): void {
    if (this.#socket === undefined) return; // they are not told again
    const drop = () => {
      for (const id of ids) this.#send({ t: "drop", id });
    };
    setTimeout(drop, dropAfterMs).unref();
    this.#report();
  }

  /** Says everything again: the proxy then tells of answers that it took for known. */
  repeat(): void {
    if (this.#socket) this.#greet(this.#socket);
  }

  /** The addresses of these answers are allowed: their pods may have them. */
  ack(answers: readonly AnswerMessage[]): void {
    if (this.#socket === undefined || answers.length === 0) return;
    this.#socket.write(answers.map(({ seq }) => encodeLine({ t: "ack", seq })).join(""));
  }

  /** It is about to be needed: it may be starting this very moment. */
  #hurry(): void {
    if (this.#timer === undefined || this.#isStopped) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  #send(message: AgentMessage): void {
    this.#socket?.write(encodeLine(message));
  }

  #connect(): void {
    this.#timer = undefined;
    const socket = createConnection({ path: this.#deps.path });
    const reader = new LineReader();
    let cause = "";
    socket.on("connect", () => this.#greet(socket));
    socket.on("data", (bytes) => {
      try {
        this.#read(reader.push(bytes));
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)));
      }
    });
    socket.on("error", (error) => {
      cause = errorText(error);
    });
    socket.on("close", () => this.#closed(cause));
    socket.unref();
  }

  #greet(socket: Socket): void {
    this.#socket = socket;
    this.#send({ t: "hello", version: PROTOCOL_VERSION });
    this.#send(this.#deps.config());
    for (const set of this.#deps.rules()) for (const part of partsOf(set)) this.#send(part);
    if (this.#isOpen) this.#send({ t: "synced" });
  }

  #closed(cause: string): void {
    const was = this.#welcome;
    this.#socket = undefined;
    this.#welcome = undefined;
    if (this.#isStopped) return;
    if (was !== undefined)
      this.#deps.log.warn({ pid: was.pid, cause }, "the DNS proxy closed the connection");
    this.#report(cause);
    const isNeeded =
      this.#deps.mode === "start" || this.#deps.rules()[Symbol.iterator]().next().done !== true;
    const pause = this.#retry.next();
    this.#timer = setTimeout(() => this.#connect(), isNeeded ? Math.min(pause, neededEveryMs) : pause);
    this.#timer.unref();
    if (was !== undefined) this.onLost();
  }

  #read(lines: readonly string[]): void {
    const answers: AnswerMessage[] = [];
    const queries: QueryMessage[] = [];
    for (const line of lines) {
      const message = JSON.parse(line) as ProxyMessage;
      if (message.t === "answer") answers.push(message);
      else if (message.t === "query") queries.push(message);
      else if (message.t === "welcome") this.#welcomed(message);
    }
    if (answers.length > 0) this.#deps.onAnswers(answers);
    if (queries.length > 0) this.#deps.onQueries(queries);
  }

  #welcomed(welcome: WelcomeMessage): void {
    this.#welcome = welcome;
    this.#retry.reset();
    const { pid, build, lost } = welcome;
    this.#deps.log.info({ pid, build, lost }, "connected to the DNS proxy");
    this.#report();
    for (const resolve of this.#awaiting.splice(0)) resolve();
    this.onServing();
  }

  #report(cause = "it has not answered yet"): void {
    const sets = [...this.#deps.rules()].length;
    if (this.#deps.mode === "off") return;
    if (this.#welcome) this.#health?.ok(`serving: process ${this.#welcome.pid}, ${sets} sets of DNS rules`);
    else if (sets === 0) this.#health?.ok(`not serving (no DNS rules): ${cause}`);
    else this.#health?.degraded(`${sets} sets of DNS rules, and no proxy: ${cause}`);
  }
}

/** A set as messages; a long one comes in parts. */
function* partsOf({ id, names, patterns }: DnsRuleSet): Generator<AgentMessage> {
  const all = [
    ...names.map((name) => ({ name, isName: true })),
    ...patterns.map((name) => ({ name, isName: false })),
  ];
  for (let at = 0; at === 0 || at < all.length; at += namesInPart) {
    const part = all.slice(at, at + namesInPart);
    yield {
      t: "rules",
      id,
      names: part.filter(({ isName }) => isName).map(({ name }) => name),
      patterns: part.filter(({ isName }) => !isName).map(({ name }) => name),
      ...(at > 0 && { more: true }),
    };
  }
}
