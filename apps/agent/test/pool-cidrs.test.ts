import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatPrefix, parsePrefix } from "@axoneme/base";
import { ClusterPool, defaultPool, NodePools } from "@axoneme/ipam";
import fc from "fast-check";
import { expect, test } from "vitest";
import { PoolCidrs } from "../src/node/pool-cidrs.ts";

/** Every change is synced: in memory it takes no time. */
const place = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

type Allocated = { pool: string; cidrs: string[] }[];

/** What the API server holds of a node. */
interface Told {
  version: number;
  allocated: Allocated;
  needed: number;
}

/** One agent: its file outlives it, and so do its pods. */
class Agent {
  readonly dir = mkdtempSync(join(place, "axon-pools-"));
  readonly pods = new Map<string, string>();
  cidrs: PoolCidrs | undefined;
  pools = new NodePools("n");
  /** The object as the watch has it: may lag, and never goes back. */
  seen: Told = { version: 0, allocated: [], needed: 0 };

  /** An agent begins with what is on the disk. */
  start(): void {
    this.pools = new NodePools("n");
    this.cidrs = new PoolCidrs(join(this.dir, "pools.json"), (cidrs) => this.pools.setCidrs(cidrs));
    for (const [pod, text] of this.pods) this.pools.reserve(pod, parsePrefix(`${text}/32`).ip);
  }

  /** CIDRs that it would give addresses of. */
  get usable(): string[] {
    return this.pools.default.cidrs.map(formatPrefix);
  }
}

/** Two agents and an operator that is made anew whenever it looks. */
class Cluster {
  readonly agents = [new Agent(), new Agent()];
  readonly api: Told[] = this.agents.map(() => ({ version: 1, allocated: [], needed: 0 }));
  readonly #history: Told[][] = this.agents.map(() => []);
  #pod = 0;

  constructor() {
    for (const agent of this.agents) agent.start();
  }

  reconcile(): void {
    const pool = new ClusterPool([{ cidr: parsePrefix("10.0.0.0/28"), maskSize: 31 }]);
    const held = this.api.map(({ allocated }, at) => ({
      node: String(at),
      cidrs: (allocated[0]?.cidrs ?? []).map(parsePrefix),
    }));
    expect(pool.restore(held), "the objects overlap").toEqual([]);
    for (const [at, told] of this.api.entries()) {
      try {
        pool.fill(String(at), 4, told.needed);
      } catch {
        // The pool is empty: whoever gives back helps.
      }
      this.write(at, told.version, [
        { pool: defaultPool, cidrs: pool.cidrsOf(String(at)).map(formatPrefix) },
      ]);
    }
  }

  /** A write on a version; false when there is a newer one. */
  write(at: number, version: number, allocated: Allocated): boolean {
    const told = this.api[at];
    if (told?.version !== version) return false;
    if (JSON.stringify(told.allocated) !== JSON.stringify(allocated)) {
      const next = { ...told, version: version + 1, allocated };
      this.api[at] = next;
      this.#history[at]?.push(next);
    }
    return true;
  }

  run(at: number, step: Step): void {
    const agent = this.agents[at] as Agent;
    const { cidrs, pools } = agent;
    if (step === "grow") for (const each of ["add", "ask", "operator", "watch"] as const) this.run(at, each);
    else if (step === "giveBack") for (const each of ["ask", "leave", "tell"] as const) this.run(at, each);
    else if (step === "empty") {
      // Made anew: freed addresses rest no more.
      while (agent.pods.size > 0) this.#remove(agent);
      agent.start();
    } else if (step === "operator") this.reconcile();
    else if (step === "watch") this.#watch(at);
    else if (step === "restart") {
      agent.start();
      // A list is of the present.
      if (cidrs) this.#watch(at, true);
    } else if (step === "offline") agent.start();
    else if (step === "leave") cidrs?.leave(pools.spare({ [defaultPool]: 1 }));
    else if (step === "ask") this.#ask(at);
    else if (step === "tell" && cidrs)
      this.write(at, agent.seen.version, cidrs.without(agent.seen.allocated) as Allocated);
    else if (step === "add") this.#add(agent);
    else if (step === "remove") this.#remove(agent);
  }

  /** A watch tells of one state after the other; a list, of the present. */
  #watch(at: number, isList = false): void {
    const agent = this.agents[at] as Agent;
    const next = this.#history[at]?.find(({ version }) => version > agent.seen.version);
    agent.seen = (isList ? undefined : next) ?? (this.api[at] as Told);
    agent.cidrs?.learn(agent.seen.allocated);
  }

  #ask(at: number): void {
    const [demand] = (this.agents[at] as Agent).pools.demand({ [defaultPool]: 1 });
    this.api[at] = { ...(this.api[at] as Told), needed: demand?.v4 ?? 0 };
  }

  #add(agent: Agent): void {
    const pod = `p${this.#pod++}`;
    try {
      const { v4 } = agent.pools.allocate(pod);
      if (v4) agent.pods.set(pod, [...v4.slice(12)].join("."));
    } catch {
      // Full: the next demand says so.
    }
  }

  #remove(agent: Agent): void {
    const [first] = agent.pods.keys();
    if (first === undefined) return;
    agent.pods.delete(first);
    agent.pools.release(first);
  }

  /** What two agents would give addresses of, or have given. */
  get shared(): string[] {
    const [a, b] = this.agents as [Agent, Agent];
    const pods = [...a.pods.values()].filter((ip) => [...b.pods.values()].includes(ip));
    return [...a.usable.filter((cidr) => b.usable.includes(cidr)), ...pods];
  }
}

const steps = [
  ...(["grow", "grow", "grow", "add", "remove", "empty", "empty", "giveBack", "giveBack"] as const),
  ...(["ask", "leave", "tell", "operator", "watch", "restart", "offline"] as const),
];
type Step = (typeof steps)[number];

test("a CIDR that goes back is never two nodes', whoever dies between the writes", () => {
  let most = 0;
  const plan = fc.array(fc.record({ at: fc.nat(1), step: fc.constantFrom(...steps) }), {
    minLength: 10,
    maxLength: 60,
  });
  fc.assert(
    fc.property(plan, (all) => {
      const cluster = new Cluster();
      try {
        for (const { at, step } of all) {
          cluster.run(at, step);
          expect(cluster.shared).toEqual([]);
          most = Math.max(most, ...cluster.agents.map(({ usable }) => usable.length));
        }
        // Everything is given back in the end but what somebody asks for.
        for (const at of [0, 1]) while (cluster.agents[at]?.pods.size) cluster.run(at, "remove");
        for (const at of [0, 1, 0, 1])
          for (const step of [
            "restart",
            "ask",
            "watch",
            "leave",
            "tell",
            "watch",
            "operator",
            "watch",
          ] as const)
            cluster.run(at, step);
        expect(cluster.shared).toEqual([]);
        for (const { allocated } of cluster.api)
          expect(allocated[0]?.cidrs.length ?? 0).toBeLessThanOrEqual(1);
      } finally {
        for (const { dir } of cluster.agents) rmSync(dir, { recursive: true });
      }
    }),
    { numRuns: 300, interruptAfterTimeLimit: 8000, markInterruptAsFailure: false },
  );
  expect(most, "plans in which a node has several").toBeGreaterThan(1);
}, 30_000);
