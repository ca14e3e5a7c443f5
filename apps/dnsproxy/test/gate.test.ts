import type { AnswerMessage } from "@axoneme/dns";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { type Answer, AnswerGate, keyOf } from "../src/gate.ts";
import { Metrics } from "../src/metrics.ts";

/** A way to an agent that only writes down; time is the test's. */
class Agent {
  readonly heard: AnswerMessage[] = [];
  isOpen = true;
  takes = true;
  send(message: AnswerMessage): boolean {
    if (this.takes) this.heard.push(message);
    return this.takes;
  }
}

const answer = (name: string, ...ips: string[]): Answer => ({
  time: 0,
  client: "10.0.0.1",
  clientPort: 4000,
  server: "10.0.0.2",
  serverPort: 53,
  proto: "udp",
  name,
  type: "A",
  rcode: 0,
  cnames: [],
  addresses: (ips.length > 0 ? ips : ["192.0.2.1"]).map((ip) => ({ ip, ttl: 60 })),
  latencyUs: 1,
});

let now: number;
let metrics: Metrics;
let gate: AnswerGate;
let agent: Agent;

beforeEach(() => {
  vi.useFakeTimers();
  now = 1000;
  metrics = new Metrics();
  gate = new AnswerGate(
    metrics,
    () => 100,
    () => now,
  );
  agent = new Agent();
});

const offer = (one: Answer, release: () => void = () => undefined): boolean => {
  const key = keyOf(1, one.name, one.addresses);
  return gate.isKnown(key, one.addresses) || gate.offer(key, one, release);
};

const pass = (ms: number): void => {
  now += ms;
  vi.advanceTimersByTime(ms);
};

describe("an answer", () => {
  it("passes at once without an agent, and the agent that comes hears of it", () => {
    expect(offer(answer("a."), () => undefined)).toBe(true);
    expect(offer(answer("a."), () => undefined)).toBe(true);
    gate.opened(agent);
    expect(agent.heard).toMatchObject([{ name: "a.", replayed: true }]);
  });

  it("waits for its ack", () => {
    gate.opened(agent);
    const release = vi.fn();
    expect(offer(answer("a."), release)).toBe(false);
    pass(50);
    expect(release).not.toHaveBeenCalled();
    gate.acked(agent.heard[0]?.seq ?? 0);
    gate.acked(agent.heard[0]?.seq ?? 0);
    pass(500);
    expect(release).toHaveBeenCalledTimes(1);
    expect([gate.held, metrics.overBudget]).toEqual([0, 0]);
  });

  it("waits no longer than the budget, each for its own", () => {
    gate.opened(agent);
    const [first, second] = [vi.fn(), vi.fn()];
    offer(answer("a."), first);
    pass(60);
    offer(answer("b."), second);
    pass(40);
    expect([first, second].map((f) => f.mock.calls.length)).toEqual([1, 0]);
    pass(60);
    expect([first, second].map((f) => f.mock.calls.length)).toEqual([1, 1]);
    expect([gate.held, metrics.overBudget]).toEqual([0, 2]);
  });

  it("that is known passes at once for half of its TTL or 5 s; then the agent hears that it came again", () => {
    gate.opened(agent);
    offer(answer("a."), () => undefined);
    gate.acked(1);
    expect(offer(answer("a."), () => undefined)).toBe(true);
    expect(offer(answer("a.", "192.0.2.2"), () => undefined)).toBe(false);
    expect(offer(answer("b."), () => undefined)).toBe(false);
    expect(agent.heard).toHaveLength(3);
    for (const { seq } of agent.heard) gate.acked(seq);
    pass(5100);
    gate.tick();
    expect(agent.heard.slice(3)).toMatchObject([{ name: "a." }]);
    expect(offer(answer("a."), () => undefined)).toBe(false);
  });

  it("of a short TTL is never taken for known", () => {
    gate.opened(agent);
    const short = { ...answer("a."), addresses: [{ ip: "192.0.2.1", ttl: 1 }] };
    offer(short, () => undefined);
    gate.acked(1);
    expect(offer(short, () => undefined)).toBe(false);
  });
});

describe("an agent", () => {
  it("that goes lets what waits pass; the next one hears of it, and decides anew about what was known", () => {
    gate.opened(agent);
    const release = vi.fn();
    offer(answer("known."), () => undefined);
    gate.acked(1);
    offer(answer("a."), release);
    gate.closed();
    expect(release).toHaveBeenCalledTimes(1);
    const next = new Agent();
    gate.opened(next);
    expect(next.heard).toMatchObject([{ name: "a.", replayed: true }]);
    expect(offer(answer("known."), () => undefined)).toBe(false);
  });

  it("that is silent for a second while it owes acks is taken for absent until it acks", () => {
    gate.opened(agent);
    offer(answer("a."), () => undefined);
    pass(1100);
    expect(offer(answer("b."), () => undefined)).toBe(true);
    gate.acked(1);
    gate.tick();
    expect(agent.heard.at(-1)).toMatchObject({ name: "b.", replayed: true });
    expect(offer(answer("c."), () => undefined)).toBe(false);
  });

  it("that takes no more costs nobody an answer", () => {
    gate.opened(agent);
    agent.takes = false;
    expect(offer(answer("a."), () => undefined)).toBe(true);
    agent.takes = true;
    gate.tick();
    expect(agent.heard).toMatchObject([{ name: "a.", replayed: true }]);
  });
});

it("what is kept has a bound, and what is lost is counted", () => {
  for (let i = 0; i < 5000; i++) offer(answer(`n${i}.`), () => undefined);
  expect(gate.sizes.kept).toBe(4096);
  expect(metrics.answersLost).toBe(904);
  expect(gate.take()).toHaveLength(4096);
  expect(gate.sizes.kept).toBe(0);
});
