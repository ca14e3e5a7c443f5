import { AxonError } from "@axoneme/base";
import { type AnswerHead, answerWithout, type Learned, type Query, RCODE, readQuery } from "@axoneme/dns";
import { DATAGRAM_WORDS, type DatagramSet, datagram } from "@axoneme/netlink";
import type { AgentLink } from "./agent-link.ts";
import type { AsPods } from "./as-pods.ts";
import type { AwaitedRules } from "./awaited-rules.ts";
import { type Answer, type AnswerGate, keyOf } from "./gate.ts";
import type { InFlight } from "./in-flight.ts";
import { judge, refusalCode } from "./judge.ts";
import { answerTo, exchange, learned, settle } from "./learn.ts";
import type { Metrics } from "./metrics.ts";
import { type AddressWords, ipOf, isMapped, type Listener, type Origin, type Origins } from "./origin.ts";
import { LaterOutbox, Outbox } from "./outbox.ts";
import { randomBelow } from "./random.ts";
import type { Rules } from "./rules.ts";
import { FIRST_UPSTREAM_TAG, UpstreamSockets } from "./upstream-sockets.ts";

/** Who asks is gone after this: resolvers ask again after 5 s, from another port. Milliseconds. */
const UPSTREAM_TIMEOUT_MS = 8000;
/** Messages in one turn of the loop. */
const BATCH = 64;
const MAX_TAG = 0xffff_ffff;

export interface UdpListener extends Listener {
  readonly fd: number;
}

/** A query that its server has not answered yet. */
interface Pending {
  readonly listener: UdpListener;
  readonly pod: AddressWords;
  readonly podPort: number;
  /** As the pod chose it. */
  readonly id: number;
  readonly question: Query;
  readonly origin: Origin;
  readonly received: number;
  readonly sent: number;
}

/** Who asks, and whom. */
type Asker = Omit<Pending, "id" | "question" | "sent">;

/** What the UDP side works with. */
export interface UdpDeps {
  readonly set: DatagramSet;
  readonly origins: Origins;
  readonly asPods: AsPods;
  readonly rules: Rules;
  readonly awaited: AwaitedRules;
  readonly gate: AnswerGate;
  readonly link: AgentLink;
  readonly inFlight: InFlight;
  readonly metrics: Metrics;
  readonly upstreamSockets: number;
}

/**
 * Queries and answers over UDP. Messages are forwarded from the buffer they were read into, with nothing changed but
 * their id: whatever else a message has (EDNS, cookies, options to come) is between the pod and its server.
 */
export class UdpProxy {
  private readonly deps: UdpDeps;
  private readonly listeners: UdpListener[] = [];
  private readonly pending = new Map<number, Pending>();
  private readonly v4: UpstreamSockets;
  private readonly v6: UpstreamSockets | undefined;
  private readonly out: Outbox;
  private readonly later: LaterOutbox;
  private tag = FIRST_UPSTREAM_TAG;

  /** Throws NetlinkError. */
  constructor(deps: UdpDeps, withV6: boolean) {
    const tag = () => {
      const tag = this.tag;
      this.tag = tag === MAX_TAG ? FIRST_UPSTREAM_TAG : tag + 1;
      return tag;
    };
    this.deps = deps;
    this.out = new Outbox(deps.set.buffer, BATCH * 2, deps.metrics);
    this.later = new LaterOutbox(deps.metrics);
    this.v4 = new UpstreamSockets(deps.set, "0.0.0.0", deps.upstreamSockets, tag);
    this.v6 = withV6 ? new UpstreamSockets(deps.set, "::", deps.upstreamSockets, tag) : undefined;
  }

  /** Queries that are not answered yet. */
  get size(): number {
    return this.pending.size + this.deps.awaited.size;
  }

  /** Begins to take queries from a bound socket. Throws NetlinkError. */
  listen(listener: UdpListener): void {
    this.deps.set.add(listener.fd, this.listeners.push(listener) - 1);
  }

  /** Takes no more queries; answers to those in flight still go out. Throws NetlinkError. */
  deafen(): void {
    for (const { fd } of this.listeners) this.deps.set.remove(fd);
  }

  /** To be called when the set has something to read. */
  readonly ready = (): void => {
    const { set } = this.deps;
    const count = set.receive();
    for (let i = 0; i < count; i++) {
      const base = i * DATAGRAM_WORDS;
      const tag = set.words[base + datagram.socket] ?? 0;
      if (tag < FIRST_UPSTREAM_TAG) this.fromPod(base, tag);
      else this.fromServer(base, tag);
    }
    this.out.flush();
  };

  /** Once a second. */
  tick(now: number): void {
    this.v4.tick(now);
    this.v6?.tick(now);
    for (const [key, { sent, origin }] of this.pending) {
      if (now - sent < UPSTREAM_TIMEOUT_MS) break;
      this.pending.delete(key);
      this.deps.inFlight.leave(origin.endpoint);
      this.deps.metrics.lose("timeout");
    }
  }

  close(): void {
    this.v4.close();
    this.v6?.close();
  }

  private bytes(base: number): Uint8Array {
    const { words, buffer } = this.deps.set;
    const offset = words[base + datagram.offset] ?? 0;
    return buffer.subarray(offset, offset + (words[base + datagram.length] ?? 0));
  }

  // ---- from the pod -------------------------------------------------------------------------------------------

  private fromPod(base: number, tag: number): void {
    const { set, origins, awaited, metrics } = this.deps;
    const listener = this.listeners[tag];
    if (listener === undefined) return;
    metrics.received++;
    const { words } = set;
    const at = base + datagram.address;
    const podPort = words[base + datagram.port] ?? 0;
    const origin = origins.find(words, at, podPort, listener);
    if (origin === undefined) {
      metrics.lose("stray");
      return;
    }
    const bytes = this.bytes(base);
    const pod = [words[at] ?? 0, words[at + 1] ?? 0, words[at + 2] ?? 0, words[at + 3] ?? 0];
    const asker = { listener, pod, podPort, origin, received: performance.now() };
    if (!awaited.isDue(origin.rules)) {
      this.asked(asker, bytes, base);
      return;
    }
    const copy = bytes.slice();
    awaited.wait(origin.rules, () => this.asked(asker, copy, undefined));
  }

  /** `base`: of the message in the set's words; undefined for bytes that lie elsewhere. */
  private asked(asker: Asker, bytes: Uint8Array, base: number | undefined): void {
    const { rules, metrics, link } = this.deps;
    const { listener, pod, podPort, origin } = asker;
    let query: Query;
    try {
      query = readQuery(bytes);
    } catch (error) {
      if (!(error instanceof AxonError)) throw error;
      metrics.parseErrors++;
      metrics.lose("malformed");
      // What has a header and is no answer is told; an answer to an answer would go back and forth.
      if (bytes.length >= 12 && (bytes[2] ?? 0) < 0x80)
        this.later.add(listener.fd, podPort, answerWithout(bytes, 12, RCODE.formErr), pod);
      return;
    }
    const verdict = judge(rules, origin, query);
    if (link.isListening) {
      const who = exchange(
        query,
        "udp",
        { ip: ipOf(pod), port: podPort },
        { ip: ipOf(origin.server), port: origin.serverPort },
      );
      link.observe({ t: "query", rules: origin.rules, verdict, ...who });
    }
    if (verdict === "refused") {
      metrics.denied++;
      this.later.add(listener.fd, podPort, answerWithout(bytes, query.end, refusalCode(rules)), pod);
      return;
    }
    if (verdict === "audit") metrics.audited++;
    this.forward(asker, query, bytes, base);
  }

  private forward(asker: Asker, question: Query, bytes: Uint8Array, base: number | undefined): void {
    const { inFlight, metrics, set, asPods } = this.deps;
    const { origin } = asker;
    if (!inFlight.enter(origin.endpoint)) return;
    const isV4 = isMapped(origin.server);
    const { fd, tag } = (isV4 || this.v6 === undefined ? this.v4 : this.v6).choose();
    let id = randomBelow(0x10000);
    while (this.pending.has(tag * 0x10000 + id)) id = randomBelow(0x10000);
    bytes[0] = id >> 8;
    bytes[1] = id & 0xff;
    const sent = performance.now();
    this.pending.set(tag * 0x10000 + id, {
      listener: asker.listener,
      pod: asker.pod,
      podPort: asker.podPort,
      origin,
      received: asker.received,
      id: question.id,
      question,
      sent,
    });
    metrics.forwarded++;
    metrics.processing.observe((sent - asker.received) / 1000);
    const mark = asPods.markFor(origin.endpoint, asker.pod);
    if (base === undefined) this.later.add(fd, origin.serverPort, bytes, origin.server, mark);
    else
      this.out.add(
        fd,
        origin.serverPort,
        set.words[base + datagram.offset] ?? 0,
        bytes.length,
        origin.server,
        0,
        mark,
      );
  }

  // ---- from a server ------------------------------------------------------------------------------------------

  private fromServer(base: number, tag: number): void {
    const { words } = this.deps.set;
    const { metrics } = this.deps;
    const bytes = this.bytes(base);
    const key = tag * 0x10000 + (((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0));
    const pending = this.pending.get(key);
    if (pending === undefined) {
      metrics.lose("unmatched");
      return;
    }
    if (!this.isFrom(words, base, pending.origin)) {
      metrics.lose("spoofed");
      return;
    }
    const head = answerTo(bytes, pending.question, metrics);
    if (head === undefined) return;
    this.pending.delete(key);
    this.deps.inFlight.leave(pending.origin.endpoint);
    this.answered(pending, head, bytes, base);
  }

  private isFrom(words: Uint32Array, base: number, { server, serverPort }: Origin): boolean {
    const at = base + datagram.address;
    return (
      words[at] === server[0] &&
      words[at + 1] === server[1] &&
      words[at + 2] === server[2] &&
      words[at + 3] === server[3] &&
      words[base + datagram.port] === serverPort
    );
  }

  private answered(pending: Pending, head: AnswerHead, bytes: Uint8Array, base: number): void {
    const { metrics, set } = this.deps;
    const { listener, pod, podPort, id, received, sent } = pending;
    const now = performance.now();
    metrics.upstream.observe((now - sent) / 1000);
    bytes[0] = id >> 8;
    bytes[1] = id & 0xff;
    const found = learned(bytes, head);
    if (this.isHeld(pending, head, found, bytes)) return;
    metrics.total.observe((now - received) / 1000);
    this.out.add(listener.fd, podPort, set.words[base + datagram.offset] ?? 0, bytes.length, pod, 0);
  }

  /** False: the pod may have its answer now. Most answers are known, and nothing is made for them. */
  private isHeld(pending: Pending, head: AnswerHead, found: Learned, bytes: Uint8Array): boolean {
    const { gate, metrics } = this.deps;
    const { listener, pod, podPort, origin, question, received, sent } = pending;
    const about = { endpoint: origin.endpoint, name: question.name };
    if (
      found.addresses.length > 0 &&
      gate.isKnown(keyOf(about.endpoint, about.name, found.addresses), found.addresses)
    )
      return false;
    const latencyUs = Math.round((performance.now() - sent) * 1000);
    const answer = (): Answer => ({
      ...exchange(
        question,
        "udp",
        { ip: ipOf(pod), port: podPort },
        { ip: ipOf(origin.server), port: origin.serverPort },
      ),
      rcode: head.rcode,
      ...found,
      latencyUs,
    });
    // The bytes lie in the buffer that the next turn reads into.
    let copy: Uint8Array | undefined;
    const release = (): void => {
      metrics.total.observe((performance.now() - received) / 1000);
      if (copy !== undefined) this.later.add(listener.fd, podPort, copy, pod);
    };
    if (settle(this.deps, about, found, answer, release)) return false;
    copy = bytes.slice();
    return true;
  }
}
