import type { AnswerMessage, Exchange, LearnedAddress } from "@axoneme/dns";
import type { Metrics } from "./metrics.ts";

/** What an answer says, before it has its number. */
export interface Answer extends Exchange {
  rcode: number;
  cnames: string[];
  addresses: LearnedAddress[];
  latencyUs: number;
}

/** The way to the agent, as the gate needs it. */
export interface AgentWay {
  /** Somebody is connected who has said hello. */
  readonly isOpen: boolean;
  /** False: too much is on its way already. */
  send(message: AnswerMessage): boolean;
}

/** Answers that wait for their ack or for the end of the budget, and those that have passed but are not acked. */
interface Told {
  readonly key: string;
  message: AnswerMessage;
  at: number;
  /** Undefined once the pod has its answer. */
  release: (() => void) | undefined;
}

/** The same answer again needs no new decision for a while after its ack. */
interface Known {
  message: AnswerMessage;
  until: number;
  /** Came again meanwhile, with these TTLs: the agent has to hear that its addresses live on. */
  again: LearnedAddress[] | undefined;
}

/** Answers kept for an agent that is not there, or does not ack. */
const MAX_KEPT = 4096;
const MAX_KNOWN = 16_384;
/** What ends earlier is told each time: the agent might hear too late that it came again. Milliseconds. */
const LEAST_KNOWN_MS = 10_000;
/** Answers that a tick looks at. */
const LOOKED_AT = 64;
/** The longest time for which the agent does not hear of an answer that comes again and again, milliseconds. */
const MAX_QUIET_MS = 5000;
/** An agent that owes acks and has given none for so long is taken for absent, milliseconds. */
const SILENT_AFTER_MS = 1000;

/** What makes an answer the same again: the pod, the name and the addresses. */
export function keyOf(endpoint: number, name: string, addresses: readonly LearnedAddress[]): string {
  let key = `${endpoint}|${name}`;
  for (const { ip } of addresses) key += `|${ip}`;
  return key;
}

/**
 * Between a server's answer and the pod: an answer whose addresses the agent has not let in yet waits for that, within
 * a budget. Without an agent, or with one that hangs, answers pass at once and are told later.
 */
export class AnswerGate {
  private readonly metrics: Metrics;
  private readonly budgetMs: () => number;
  private readonly told = new Map<number, Told>();
  private readonly known = new Map<string, Known>();
  private readonly kept = new Map<string, AnswerMessage>();
  private readonly now: () => number;
  private round = this.known.entries();
  private seq = 0;
  private lastAck = 0;
  private agent: AgentWay | undefined;
  private timer: NodeJS.Timeout | undefined;
  held = 0;

  constructor(metrics: Metrics, budgetMs: () => number, now: () => number = () => performance.now()) {
    this.metrics = metrics;
    this.budgetMs = budgetMs;
    this.now = now;
  }

  /** Numbers of what waits, for metrics. */
  get sizes(): { held: number; kept: number } {
    return { held: this.held, kept: this.kept.size };
  }

  /** Whether the agent has let this answer in a while ago. It hears in time that the answer has come again. */
  isKnown(key: string, addresses: LearnedAddress[]): boolean {
    const known = this.known.get(key);
    if (known === undefined || this.now() >= known.until) return false;
    known.again = addresses;
    return true;
  }

  /** True: the pod may have the answer at once. Else `release` is called, once, when it may. */
  offer(key: string, answer: Answer, release: () => void): boolean {
    const now = this.now();
    const message: AnswerMessage = { t: "answer", seq: ++this.seq, ...answer };
    if (!this.isHeard(now) || this.agent?.send(message) !== true) {
      this.keep(key, { ...message, replayed: true });
      return true;
    }
    this.told.set(message.seq, { key, message, at: now, release });
    this.held++;
    this.schedule();
    return false;
  }

  /** The agent has let an answer's addresses in. */
  acked(seq: number): void {
    const now = this.now();
    this.lastAck = now;
    const told = this.told.get(seq);
    if (told === undefined) return;
    this.told.delete(seq);
    this.remember(told.key, told.message, now);
    this.release(told, now);
  }

  /** An agent has said hello: it hears what it has missed. */
  opened(agent: AgentWay): void {
    this.agent = agent;
    this.lastAck = this.now();
    this.known.clear();
    this.replay(MAX_KEPT);
  }

  /** The agent has gone. What it has not acked goes on, and the next one hears of it. */
  closed(): void {
    this.agent = undefined;
    for (const [seq, told] of this.told) {
      this.told.delete(seq);
      this.release(told, this.now());
      this.keep(told.key, { ...told.message, replayed: true });
    }
  }

  /** Takes over what another proxy was not able to tell. */
  adopt(message: AnswerMessage): void {
    const own = { ...message, seq: ++this.seq, replayed: true };
    const key = `${message.client}|${keyOf(0, message.name, message.addresses)}`;
    if (this.agent?.isOpen === true && this.agent.send(own))
      this.told.set(own.seq, { key, message: own, at: this.now(), release: undefined });
    else this.keep(key, own);
  }

  /** What is kept for an agent, taken out. */
  take(): AnswerMessage[] {
    const all = [...this.kept.values()];
    this.kept.clear();
    return all;
  }

  /**
   * Many times a second: tells the agent of some answers that came again, and forgets some. Little at a time: queries
   * wait meanwhile.
   */
  tick(): void {
    const now = this.now();
    for (let i = 0; i < LOOKED_AT; i++) {
      const next = this.round.next();
      if (next.done === true) {
        this.round = this.known.entries();
        break;
      }
      const [key, known] = next.value;
      if (now >= known.until) this.lapse(key, known, now);
    }
    if (this.kept.size > 0) this.replay(LOOKED_AT);
    for (const [seq, told] of this.told) {
      if (this.told.size <= MAX_KEPT) break;
      this.told.delete(seq);
      this.release(told, now);
      this.metrics.answersLost++;
    }
  }

  private lapse(key: string, known: Known, now: number): void {
    this.known.delete(key);
    if (known.again === undefined || this.agent?.isOpen !== true) return;
    const message = { ...known.message, seq: ++this.seq, time: Date.now(), addresses: known.again };
    if (this.agent.send(message)) this.told.set(message.seq, { key, message, at: now, release: undefined });
  }

  private isHeard(now: number): boolean {
    if (this.agent?.isOpen !== true) return false;
    const oldest = this.told.values().next().value;
    return oldest === undefined || now - Math.max(oldest.at, this.lastAck) < SILENT_AFTER_MS;
  }

  private replay(most: number): void {
    const now = this.now();
    let left = most;
    for (const [key, message] of this.kept) {
      if (left-- === 0) return;
      if (!this.isHeard(now) || this.agent?.send(message) !== true) return;
      this.kept.delete(key);
      this.told.set(message.seq, { key, message, at: now, release: undefined });
    }
  }

  private remember(key: string, message: AnswerMessage, now: number): void {
    let least = MAX_QUIET_MS * 2;
    for (const { ttl } of message.addresses) least = Math.min(least, ttl * 1000);
    if (least < LEAST_KNOWN_MS) return;
    if (this.known.size >= MAX_KNOWN) {
      const first = this.known.keys().next().value;
      if (first !== undefined) this.known.delete(first);
    }
    this.known.set(key, { message, until: now + least / 2, again: undefined });
  }

  private keep(key: string, message: AnswerMessage): void {
    this.kept.delete(key);
    if (this.kept.size >= MAX_KEPT) {
      const first = this.kept.keys().next().value;
      if (first !== undefined) this.kept.delete(first);
      this.metrics.answersLost++;
    }
    this.kept.set(key, message);
  }

  private release(told: Told, now: number): void {
    const { release } = told;
    if (release === undefined) return;
    told.release = undefined;
    this.held--;
    this.metrics.dataplane.observe((now - told.at) / 1000);
    release();
  }

  /** One timer for all: the budget is the same, so they end in the order in which they came. */
  private schedule(): void {
    if (this.timer !== undefined) return;
    this.timer = setTimeout(() => this.expire(), this.budgetMs());
  }

  private expire(): void {
    this.timer = undefined;
    const now = this.now();
    const budget = this.budgetMs();
    for (const told of this.told.values()) {
      if (told.release === undefined) continue;
      const left = told.at + budget - now;
      if (left > 0.5) {
        this.timer = setTimeout(() => this.expire(), left);
        return;
      }
      this.metrics.overBudget++;
      this.release(told, now);
    }
  }
}
