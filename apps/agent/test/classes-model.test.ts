/**
 * Two agents that hear of things in different orders, with policies, pods and labels that come, change and go. At every
 * single write of either, each endpoint answers each packet as in the state before or as in the state after: never in a
 * third way. The judge is the deliberately simple evaluator of the policy package.
 */
import { parseIp } from "@axoneme/base";
import { answersFor, isClassIdentity, parseLabelLines, RelevantKeys, withPorts } from "@axoneme/identity";
import { Direction } from "@axoneme/policy";
import fc from "fast-check";
import { expect, test } from "vitest";
import { podArb, policyArb, type RawPolicy, serviceArb } from "../../../packages/policy/test/generate.ts";
import { type Objects, type Pod, verdict } from "../../../packages/policy/test/oracle.ts";
import { keyOf } from "../../../packages/policy/test/world.ts";
import { addressOf, type Event, ModelAgent, ModelApi } from "./model-agent.ts";

const words = ["allow", "deny", "deny", "audit"] as const;
const probes: [proto: number, port: number][] = [
  [6, 80],
  [6, 8080],
  [17, 53],
];
const agents = [0, 1] as const;

/** What an agent knows at a moment. */
interface Knowledge {
  readonly policies: RawPolicy[];
  readonly objects: Objects;
  readonly local: Map<string, Pod>;
  readonly remote: Map<string, Pod>;
}

function knowledgeOf(agent: ModelAgent): Knowledge {
  const services = [...agent.services.values()];
  return {
    policies: [...agent.policies.values()],
    objects: { groups: [], services, auditedNamespaces: [] },
    local: agent.localPods(),
    remote: new Map(agent.remotePods),
  };
}

interface Cell {
  readonly subject: string;
  readonly peer: string;
  readonly direction: Direction;
  readonly proto: number;
  readonly port: number;
}

function* cellsOf({ local, remote }: Knowledge): Generator<Cell> {
  for (const subject of local.keys()) {
    for (const peer of [...local.keys(), ...remote.keys()]) {
      for (const direction of [Direction.INGRESS, Direction.EGRESS]) {
        for (const [proto, port] of probes) yield { subject, peer, direction, proto, port };
      }
    }
  }
}

/** Whether its endpoint and its peer are there all the time. */
function isIn({ subject, peer }: Cell, states: readonly Knowledge[]): boolean {
  if (!states.every(({ local, remote }) => local.has(subject) && (local.has(peer) || remote.has(peer))))
    return false;
  if (peer !== subject) return true;
  // Of a pod whose labels change, its policy and its identity go one after the other: it is not its own peer then.
  return new Set(states.map(({ local }) => JSON.stringify(local.get(subject)))).size === 1;
}

function truth(of: Knowledge, { subject, peer, direction, proto, port }: Cell): string {
  const pod = of.local.get(subject);
  const other = of.local.get(peer) ?? of.remote.get(peer);
  if (!pod || !other) throw new Error("no such pod");
  const seen = { ...other, ip: addressOf(other) };
  return verdict(of.policies, pod, seen, direction === Direction.INGRESS, proto, port, of.objects);
}

/** Asks an agent's maps about a cell; what does not change between two writes is made once. */
function asker(cell: Cell): (agent: ModelAgent) => string | undefined {
  const { subject, peer, direction, proto, port } = cell;
  const [of, to] = [subject, peer].map((name) => parseIp(addressOf({ name }))) as [Uint8Array, Uint8Array];
  return (agent) => {
    const decision = agent.kernel.judge(of, to, direction, proto, port);
    return decision && words[decision.verdict];
  };
}

function answer(agent: ModelAgent, cell: Cell): string | undefined {
  return asker(cell)(agent);
}

/** What an agent answers while something is done: by the cell, and by what the agent knew when it wrote. */
class Watch {
  readonly #agent: ModelAgent;
  readonly #asked: { cell: Cell; ask: (agent: ModelAgent) => string | undefined; said: Set<string>[] }[];
  /** One after the other: a step may bring a policy, and then the labels of a pod that had waited for an answer. */
  readonly #states: Knowledge[];
  #moment: unknown[];
  #hasWritten = false;

  constructor(agent: ModelAgent) {
    const before = knowledgeOf(agent);
    this.#agent = agent;
    this.#states = [before];
    this.#moment = agent.moment();
    this.#asked = [...cellsOf(before)].map((cell) => ({ cell, ask: asker(cell), said: [] }));
  }

  /** The agent has written something. */
  wrote(): void {
    this.#hasWritten = true;
    this.#look(this.#agent);
    const at = this.#states.length - 1;
    for (const { ask, said } of this.#asked) {
      const is = ask(this.#agent);
      if (is === undefined) continue;
      said[at] ??= new Set();
      said[at].add(is);
    }
  }

  #look(agent: ModelAgent): void {
    const moment = agent.moment();
    const same = moment.length === this.#moment.length && moment.every((of, i) => of === this.#moment[i]);
    if (same && agent === this.#agent) return;
    this.#moment = moment;
    this.#states.push(knowledgeOf(agent));
  }

  /** All is done. @param agent it, or the one that took over from it: that knows everything from the start. */
  check(agent: ModelAgent): void {
    this.#look(agent);
    // Nothing was written and nothing is known that was not: it is as the last step left it.
    if (!this.#hasWritten && this.#states.length === 1) return;
    const { number } = agent;
    const states = this.#states;
    const after = states.at(-1) as Knowledge;
    for (const { cell, ask, said } of this.#asked) {
      for (const [at, answers] of said.entries()) {
        // As before what is being done, or as after: what is done next may have begun already.
        const near = states.slice(Math.max(0, at - 1), at + 2);
        if (!isIn(cell, near)) continue;
        const may = new Set(near.map((state) => truth(state, cell)));
        const third = [...(answers ?? [])].filter((answered) => !may.has(answered));
        expect({ agent: number, cell, third }, `only ${[...may]}`).toEqual({
          agent: number,
          cell,
          third: [],
        });
      }
      if (!isIn(cell, [states[0] as Knowledge, after])) continue;
      const says = ask(agent) ?? "nothing";
      const may = ["nothing", truth(after, cell)];
      expect({ agent: number, cell, may, says: may.includes(says) ? "ok" : says }, "at the end").toEqual({
        agent: number,
        cell,
        may,
        says: "ok",
      });
    }
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** The cluster: its API server, its agents, and what each of their writes may mean. */
class Model {
  readonly api = new ModelApi(agents.length);
  agents: ModelAgent[];
  writes = 0;

  constructor(mode: readonly ["classes" | "labels", "classes" | "labels"]) {
    this.mode = mode;
    this.agents = agents.map((number) => new ModelAgent(number, this.api, mode[number]));
  }

  readonly mode: readonly ["classes" | "labels", "classes" | "labels"];

  async start(): Promise<void> {
    for (const agent of this.agents) await agent.start();
  }

  /** Does something, with an eye on every write of every agent. */
  async watched(what: () => void | Promise<void>): Promise<void> {
    const watches = this.agents.map((agent) => new Watch(agent));
    for (const [i, agent] of this.agents.entries()) {
      agent.kernel.onWrite = () => {
        this.writes++;
        watches[i]?.wrote();
      };
    }
    await what();
    for (let i = 0; i < 4; i++) await turn();
    for (const [i, agent] of this.agents.entries()) {
      agent.kernel.onWrite = () => undefined;
      watches[i]?.check(agent);
    }
  }

  /** Delivers the next event of a kind to an agent; false: there is none. */
  async deliver(number: number, kind: Event["kind"]): Promise<boolean> {
    const events = this.api.streams[number]?.get(kind);
    const event = events?.shift();
    const agent = this.agents[number];
    if (event === undefined || agent === undefined) return false;
    await this.watched(() => agent.take(event));
    return true;
  }

  async answerOne(): Promise<boolean> {
    let answered = false;
    await this.watched(() => {
      answered = this.api.answer();
    });
    return answered;
  }

  /** An agent dies; another takes over what it left. */
  async restart(number: number): Promise<void> {
    const old = this.agents[number];
    if (old === undefined) return;
    old.stop();
    const mode = this.mode[number] ?? "classes";
    await this.watched(async () => {
      const agent = new ModelAgent(number, this.api, mode, old);
      this.agents[number] = agent;
      const started = agent.start();
      let over = false;
      void started.then(() => {
        over = true;
      });
      while (!over) {
        this.api.answer();
        await turn();
      }
      await started;
    });
  }

  /** Everything is delivered and answered, and classes have had the time to merge. */
  async settle(): Promise<void> {
    for (let round = 0; round < 60; round++) {
      let busy = false;
      for (const number of agents) {
        for (const kind of kinds) while (await this.deliver(number, kind)) busy = true;
      }
      while (await this.answerOne()) busy = true;
      for (const agent of this.agents) await this.watched(() => agent.clock.advance(5000));
      if (!busy && round > 3) return;
    }
    throw new Error("the agents do not come to rest");
  }
}

const kinds: readonly Event["kind"][] = ["policy", "service", "identity", "endpoint", "pod"];

const unique = fc.constantFrom("a", "b", "c", "d", "e", "f");
const placedPod = fc.tuple(podArb, unique, fc.constantFrom(...agents)).map(([pod, build, node]) => ({
  pod: { ...pod, labels: { ...pod.labels, build } },
  node,
}));
const rawPolicy = policyArb.map((raw) => raw as RawPolicy);
const step = fc.oneof(
  { weight: 3, arbitrary: rawPolicy.map((raw) => ({ kind: "policy" as const, raw })) },
  { weight: 1, arbitrary: rawPolicy.map((raw) => ({ kind: "unpolicy" as const, raw })) },
  { weight: 3, arbitrary: placedPod.map((placed) => ({ kind: "pod" as const, ...placed })) },
  { weight: 1, arbitrary: podArb.map((pod) => ({ kind: "unpod" as const, pod })) },
  { weight: 1, arbitrary: serviceArb.map((service) => ({ kind: "service" as const, service })) },
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("deliver" as const),
      agent: fc.constantFrom(...agents),
      of: fc.constantFrom(...kinds),
    }),
  },
  { weight: 4, arbitrary: fc.constant({ kind: "answer" as const }) },
  { weight: 1, arbitrary: fc.constantFrom(...agents).map((agent) => ({ kind: "time" as const, agent })) },
  { weight: 1, arbitrary: fc.constantFrom(...agents).map((agent) => ({ kind: "restart" as const, agent })) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function act(model: Model, s: Step): Promise<void> {
  const { api } = model;
  if (s.kind === "policy") {
    api.policies.set(keyOf(s.raw), s.raw);
    api.tell({ kind: "policy", raw: s.raw });
  } else if (s.kind === "unpolicy") {
    const raw = api.policies.get(keyOf(s.raw));
    if (raw === undefined) return;
    api.policies.delete(keyOf(raw));
    api.tell({ kind: "policy", raw, gone: true });
  } else if (s.kind === "service") {
    api.services.set(`${s.service.namespace}/${s.service.name}`, s.service);
    api.tell({ kind: "service", service: s.service });
  } else if (s.kind === "pod") {
    // A pod stays on its node and in its namespace, and so does the next one of its name: records go by the name here.
    const home = api.homes.get(s.pod.name) ?? { namespace: s.pod.namespace, node: s.node };
    if (home.namespace !== s.pod.namespace) return;
    api.homes.set(s.pod.name, home);
    const { node } = home;
    api.pods.set(s.pod.name, { pod: s.pod, node });
    api.tell({ kind: "pod", pod: s.pod }, [node]);
  } else if (s.kind === "unpod") {
    const known = api.pods.get(s.pod.name);
    if (known === undefined) return;
    api.pods.delete(s.pod.name);
    api.tell({ kind: "pod", pod: known.pod, gone: true }, [known.node]);
  } else if (s.kind === "deliver") await model.deliver(s.agent, s.of);
  else if (s.kind === "answer") await model.answerOne();
  else if (s.kind === "time") await model.watched(() => model.agents[s.agent]?.clock.advance(3000));
  else await model.restart(s.agent);
}

const runs = Number(process.env["AXON_CLASSES_RUNS"] ?? 25);

/** A slow machine does fewer. */
const limitMs = Number(process.env["AXON_CLASSES_MS"] ?? 30_000);
/** `{"seed": ..., "path": ...}` of a failure. */
const replay = JSON.parse(process.env["AXON_CLASSES_REPLAY"] ?? "{}") as { seed?: number; path?: string };

test.each([
  ["classes", "classes"],
  ["classes", "labels"],
] as const)(
  "agents in the modes %s and %s never give a third answer",
  async (first, second) => {
    let writes = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(placedPod, { minLength: 3, maxLength: 5 }),
        fc.array(step, { minLength: 10, maxLength: 60 }),
        async (pods, steps) => {
          const model = new Model([first, second]);
          await model.start();
          for (const placed of pods) await act(model, { kind: "pod", ...placed });
          await model.settle();
          for (const s of steps) await act(model, s);
          await model.settle();
          for (const agent of model.agents) agent.stop();
          atRest(model, first === second);
          writes += model.writes;
        },
      ),
      { numRuns: runs, interruptAfterTimeLimit: limitMs, markInterruptAsFailure: false, ...replay },
    );
    expect(writes).toBeGreaterThan(runs);
  },
  limitMs * 4,
);

/** All is as if it had always been: numbers of the cluster where agents are of one mode, and no finer than needed. */
function atRest({ api, agents: all }: Model, sameMode: boolean): void {
  for (const agent of all) {
    const own = [...api.pods.values()].filter(({ node }) => node === agent.number);
    const labels = (pods: Iterable<Pod>) =>
      Object.fromEntries([...pods].map((pod) => [pod.name, { labels: pod.labels, ports: pod.ports }]));
    expect(labels(agent.localPods().values())).toEqual(labels(own.map(({ pod }) => pod)));
  }
  if (!sameMode) return;
  for (const endpoint of api.endpoints.values()) {
    const labels = withPorts(parseLabelLines(endpoint.labels ?? []), endpoint.namedPorts);
    const identity = api.identities.get(String(endpoint.identity))?.["security-labels"] ?? {};
    expect(answersFor(identity, labels, new RelevantKeys())).toBe(true);
    expect(Object.keys(identity)).not.toContain("k8s:build");
  }
  for (const agent of all) {
    for (const [, { identity }] of agent.kernel.endpoints.entries())
      expect(isClassIdentity(identity)).toBe(false);
  }
}

test("an agent that takes over moves pods to new numbers under the policies of the one before", async () => {
  const model = new Model(["classes", "classes"]);
  const namespaceLabels = { "kubernetes.io/metadata.name": "red" };
  const pod = (name: string, labels: Record<string, string>): Pod => {
    return { kind: "pod", name, namespace: "red", labels, namespaceLabels, ports: [] };
  };
  const allow = (name: string, matchLabels: object): RawPolicy => ({
    kind: "NetworkPolicy",
    metadata: { name, namespace: "red" },
    spec: {
      podSelector: { matchLabels: { role: "server" } },
      ingress: [{ from: [{ podSelector: { matchLabels } }] }],
    },
  });
  await model.start();
  await act(model, { kind: "pod", pod: pod("p1", { role: "server" }), node: 0 } as unknown as Step);
  for (const [i, node] of [0, 1, 0, 1].entries()) {
    const labels = { app: "web", tier: i < 2 ? "front" : "back" };
    await act(model, { kind: "pod", pod: pod(`p${i + 2}`, labels), node } as unknown as Step);
  }
  await act(model, { kind: "policy", raw: allow("one", { app: "web" }) });
  await model.settle();
  const before = model.writes;
  const numbers = () =>
    [2, 3, 4, 5].map((i) => model.agents[0]?.kernel.identityOf(parseIp(addressOf({ name: `p${i}` }))));
  expect(new Set(numbers()).size).toBe(1);
  // While it is away, a policy comes that tells them apart: pods of both nodes get another number.
  await act(model, { kind: "policy", raw: allow("two", { tier: "front" }) });
  await model.restart(0);
  expect(new Set(numbers()).size).toBeGreaterThan(1);
  await model.settle();
  expect(new Set(numbers()).size).toBe(2);
  expect(model.writes).toBeGreaterThan(before);
  for (const agent of model.agents) agent.stop();
});

test("an agent that takes over makes the policies of the one before know prefixes that are new, and keeps those that went", async () => {
  const model = new Model(["classes", "classes"]);
  const namespaceLabels = { "kubernetes.io/metadata.name": "red" };
  const block = (name: string, ...cidrs: string[]): RawPolicy => ({
    kind: "NetworkPolicy",
    metadata: { name, namespace: "red" },
    spec: {
      podSelector: { matchLabels: { role: "server" } },
      ingress: [{ from: cidrs.map((cidr) => ({ ipBlock: { cidr } })) }],
    },
  });
  await model.start();
  for (const i of [1, 2, 3, 4, 5]) {
    const labels = { role: i < 3 ? "server" : "client" };
    const pod = { kind: "pod", name: `p${i}`, namespace: "red", labels, namespaceLabels, ports: [] };
    await act(model, { kind: "pod", pod, node: i % 2 } as unknown as Step);
  }
  const named = () =>
    [...(model.agents[1]?.kernel.cidrs.entries() ?? [])].map(([{ prefixlen }]) => prefixlen - 96);
  await act(model, { kind: "policy", raw: block("one", "10.244.0.0/29", "10.244.0.4/32") });
  await model.settle();
  expect(named()).toEqual(expect.arrayContaining([29, 32]));
  await act(model, { kind: "policy", raw: block("two", "10.244.0.2/31") });
  await act(model, { kind: "policy", raw: block("one", "10.244.0.0/29") });
  await model.restart(1);
  await model.settle();
  expect(
    named()
      .filter((length) => length > 0)
      .sort(),
  ).toEqual([29, 31]);
  await act(model, { kind: "unpolicy", raw: block("one") });
  await act(model, { kind: "unpolicy", raw: block("two") });
  await model.restart(1);
  await model.settle();
  expect(named().filter((length) => length > 0)).toEqual([]);
  for (const agent of model.agents) agent.stop();
});

test("an agent that takes over knows the named ports of its own pods before the first of them gets its policy", async () => {
  const model = new Model(["classes", "classes"]);
  const namespaceLabels = { "kubernetes.io/metadata.name": "red" };
  const pod = (name: string, role: string, ports: Pod["ports"]): Step => {
    const labels = { role };
    return {
      kind: "pod",
      pod: { kind: "pod", name, namespace: "red", labels, namespaceLabels, ports },
      node: 0,
    } as unknown as Step;
  };
  await model.start();
  // Endpoints are adopted in the order they were made: the client before the one whose port its policy names.
  await act(model, pod("p1", "client", []));
  await act(model, pod("p2", "server", [{ name: "dns", proto: 17, port: 53 }]));
  const raw: RawPolicy = {
    kind: "NetworkPolicy",
    metadata: { name: "one", namespace: "red" },
    spec: {
      podSelector: { matchLabels: { role: "client" } },
      policyTypes: ["Egress"],
      egress: [{ ports: [{ protocol: "UDP", port: "dns" }] }],
    },
  };
  await act(model, { kind: "policy", raw });
  await model.settle();
  const asked = { subject: "p1", peer: "p2", direction: Direction.EGRESS, proto: 17, port: 53 };
  const says = () => model.agents[0] && answer(model.agents[0], asked);
  expect(says()).toBe("allow");
  const before = model.writes;
  await model.restart(0);
  expect(says()).toBe("allow");
  expect(model.writes).toBeGreaterThan(before);
  // The port goes with its pod: nothing that was held for the restart keeps it.
  await act(model, { kind: "unpod", pod: { name: "p2" } } as unknown as Step);
  await model.settle();
  const engine = model.agents[0]?.engine;
  const ports = [...(model.api.identities.keys() ?? [])].flatMap(
    (id) => engine?.peerPortsOf(Number(id)) ?? [],
  );
  expect(ports).toEqual([]);
  for (const agent of model.agents) agent.stop();
});

test("a Pod that changes while its endpoint waits for an identity is followed", async () => {
  const model = new Model(["classes", "classes"]);
  const pod = (role: string): Step => {
    const namespaceLabels = { "kubernetes.io/metadata.name": "red" };
    const labels = { role };
    return {
      kind: "pod",
      pod: { kind: "pod", name: "p1", namespace: "red", labels, namespaceLabels, ports: [] },
      node: 0,
    } as unknown as Step;
  };
  await model.start();
  await act(model, pod("client"));
  await model.deliver(0, "pod");
  await act(model, pod("server"));
  await model.deliver(0, "pod");
  expect(model.agents[0]?.localPods().size).toBe(0);
  await model.settle();
  expect(model.agents[0]?.localPods().get("p1")?.labels).toEqual({ role: "server" });
  for (const agent of model.agents) agent.stop();
});

test("an endpoint whose own policy tells it apart while it is adopted stays under the policy of before", async () => {
  const model = new Model(["classes", "classes"]);
  const namespaceLabels = { "kubernetes.io/metadata.name": "red" };
  const labels = { app: "web", tier: "front" };
  await model.start();
  await act(model, {
    kind: "pod",
    pod: { kind: "pod", name: "p1", namespace: "red", labels, namespaceLabels, ports: [] },
    node: 0,
  } as unknown as Step);
  await model.settle();
  // Keys of the Service's selector count from the moment an endpoint falls under the policy that names it.
  const service = { name: "web", namespace: "red", labels: {}, selector: labels, addresses: [] };
  await act(model, { kind: "service", service });
  const raw: RawPolicy = {
    kind: "CiliumClusterwideNetworkPolicy",
    metadata: { name: "one" },
    specs: [
      {
        endpointSelector: { matchLabels: { tier: "front" } },
        egress: [
          { toServices: [{ k8sServiceSelector: { selector: {} } }], icmps: [{ fields: [{ type: 8 }] }] },
        ],
      },
    ],
  };
  await act(model, { kind: "policy", raw });
  await model.restart(0);
  const asked = { subject: "p1", peer: "p1", direction: Direction.EGRESS, proto: 6, port: 80 };
  const says = () => model.agents[0] && answer(model.agents[0], asked);
  expect(says()).toBe("deny");
  await model.restart(0);
  expect(says()).toBe("deny");
  await model.settle();
  for (const agent of model.agents) agent.stop();
});
