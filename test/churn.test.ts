/**
 * Pods by the thousand, and an agent that dies again and again meanwhile. The test plays the container runtime with the
 * real plugin; the Pods are in the API, bound to a node whose own runner is stopped.
 */
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { delay, waitFor } from "@axoneme/base";
import { resources } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root } from "./support/command.ts";
import { labName, podObject, TestLab } from "./support/lab.ts";
import { Random } from "./support/random.ts";
import {
  type AddResult,
  addressesOf,
  type NodeState,
  nodeState,
  openFiles,
  type PodName,
  Runtime,
} from "./support/runtime.ts";

const name = labName("it-churn");
const node = "node1";
const seed = Number(process.env["AXON_TEST_SEED"] ?? 20_261_121);

describe("pods come and go", () => {
  let lab: TestLab | undefined;
  let runtime: Runtime | undefined;

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const rt = (): Runtime => {
    if (runtime === undefined) throw new Error("the lab is not up");
    return runtime;
  };

  beforeAll(async () => {
    // A shell starts the agent again at once: the lab itself would wait longer after each of a hundred deaths.
    const agent = `while :; do ${process.execPath} ${join(root, "dist/agent.mjs")} --config "$0"; done`;
    lab = await TestLab.up(name, {
      nodes: 1,
      agentCommand: ["/bin/sh", "-c", agent, "{{config}}"],
      nodeGraceMs: 3_600_000,
    });
    // From here on the test is the runtime of this node.
    process.kill(lab.runnerPid(node), "SIGSTOP");
    runtime = new Runtime(lab, node);
  });

  afterAll(() => TestLab.down(lab, name));

  /** Creates Pods that nobody runs. */
  async function bind(prefix: string, count: number): Promise<PodName[]> {
    const pods = the().client.resource(resources.pods);
    return inParallel(
      Array.from({ length: count }, (_, i) => i),
      16,
      async (i) => {
        const made = await pods.create(podObject({ name: `${prefix}-${i}`, node, labels: { app: prefix } }));
        return { namespace: "default", name: `${prefix}-${i}`, uid: made.metadata?.uid ?? "" };
      },
    );
  }

  async function unbind(pods: readonly PodName[]): Promise<void> {
    const client = the().client.resource(resources.pods);
    await inParallel(pods, 16, ({ name: pod, namespace }) =>
      client.deleteIfExists(pod, { namespace, gracePeriodSeconds: 0 }),
    );
  }

  it("a thousand pods in bursts of two hundred leave nothing behind", async () => {
    const pods = await bind("burst", 200);
    const warm = await rt().sandbox(pods[0]);
    await rt().add(warm);
    await rt().del(warm);
    const before = await quiet();
    const pid = agentOf(the());
    const files = openFiles(pid);
    const seen = new Set<string>();
    for (let round = 0; round < 5; round++) {
      const held = await inParallel(pods, 8, async (pod) => {
        const sandbox = await rt().sandbox(pod);
        return { sandbox, result: await rt().add(sandbox) };
      });
      const ips = held.flatMap(({ result }) => addressesOf(result));
      expect(new Set(ips).size).toBe(400);
      for (const ip of ips) seen.add(ip);
      expect((await nodeState(the(), node)).records).toHaveLength(200 + before.records.length);
      await inParallel(held, 8, async ({ sandbox }) => {
        await rt().del(sandbox);
        await rt().discard(sandbox);
      });
    }
    await settled(before);
    expect(agentOf(the())).toBe(pid);
    await waitFor(() => openFiles(pid) <= files, {
      timeoutMs: 15_000,
      what: "the agent's descriptors to close",
    });
    await rt().discard(warm);
    await unbind(pods);
  }, 240_000);

  it(`an agent killed a hundred times at random points leaks nothing and gives no address twice (seed ${seed})`, async () => {
    const random = new Random(seed);
    const pods = await bind("chaos", 24);
    const before = await quiet();
    const ledger = new Ledger();
    const stop = new AbortController();
    const workers = pods.map((pod) => churn(rt(), pod, ledger, random, stop.signal));
    const failed = Promise.all(workers);
    failed.catch(() => undefined);
    const kills = killOften(the(), random, 100);
    await Promise.race([kills, failed.then(() => kills)]);
    await waitFor(() => the().agent(node).isReady(), { timeoutMs: 30_000, what: "the last agent" });
    stop.abort();
    await failed;
    expect(ledger.twice).toEqual([]);
    expect(ledger.adds).toBeGreaterThan(50);
    await settled(before);
    console.log(`churn: ${ledger.adds} ADDs, ${ledger.failed} failed and were done again, 100 kills`);
    await unbind(pods);
  }, 420_000);

  it("pods that were there before a restart keep their addresses to themselves", async () => {
    const pods = await bind("restart", 60);
    const first = await inParallel(pods.slice(0, 20), 8, async (pod) => {
      const sandbox = await rt().sandbox(pod);
      return { sandbox, result: await rt().add(sandbox) };
    });
    await killAgent(the());
    const second = await inParallel(pods.slice(20), 8, async (pod) => {
      const sandbox = await rt().sandbox(pod);
      return { sandbox, result: await rt().add(sandbox) };
    });
    const ips = [...first, ...second].flatMap(({ result }) => addressesOf(result));
    expect(new Set(ips).size).toBe(120);
    for (const { sandbox } of [...first, ...second]) await rt().del(sandbox);
    await unbind(pods);
  });

  /** What the node holds once the pods of before are gone altogether: devices go a moment after DEL. */
  function quiet(): Promise<NodeState> {
    return waitFor(
      async () => {
        const state = await nodeState(the(), node);
        const isQuiet =
          state.links.every((link) => !link.startsWith("lxc")) && state.ciliumEndpoints.length === 0;
        return isQuiet && state;
      },
      { timeoutMs: 20_000, everyMs: 50, what: "the devices of the pods of before to go" },
    );
  }

  /** Waits until the node holds what it held before, and says what differs when it does not. */
  async function settled(before: NodeState): Promise<void> {
    const same = async () => JSON.stringify(await nodeState(the(), node)) === JSON.stringify(before);
    await waitFor(same, { timeoutMs: 20_000, everyMs: 250, what: "the node to be as before" }).catch(
      () => undefined,
    );
    expect(await nodeState(the(), node)).toEqual(before);
  }
});

/** Who holds which address: from a successful ADD until the DEL is sent. */
class Ledger {
  readonly #held = new Map<string, string>();
  readonly twice: string[] = [];
  adds = 0;
  failed = 0;

  take(id: string, result: AddResult): void {
    this.adds++;
    for (const ip of addressesOf(result)) {
      const holder = this.#held.get(ip);
      if (holder !== undefined) this.twice.push(`${ip}: ${holder} and ${id}`);
      this.#held.set(ip, id);
    }
  }

  release(id: string): void {
    for (const [ip, holder] of this.#held) if (holder === id) this.#held.delete(ip);
  }
}

/** One pod started and stopped over and over, as a kubelet does: a failed ADD is followed by DEL and a new sandbox. */
async function churn(
  runtime: Runtime,
  pod: PodName,
  ledger: Ledger,
  random: Random,
  stop: AbortSignal,
): Promise<void> {
  while (!stop.aborted) {
    const sandbox = await runtime.sandbox(pod);
    const added = await runtime.call("ADD", sandbox);
    if (added.code === 0) {
      ledger.take(sandbox.id, JSON.parse(added.stdout) as AddResult);
      await delay(random.below(400));
      ledger.release(sandbox.id);
    } else {
      ledger.failed++;
    }
    // A kubelet repeats DEL until it works; sometimes the namespace is gone by then.
    const isGoneFirst = random.below(4) === 0;
    if (isGoneFirst) await runtime.discard(sandbox);
    await waitFor(async () => (await runtime.call("DEL", sandbox)).code === 0, {
      timeoutMs: 60_000,
      everyMs: 50,
      what: `DEL of ${sandbox.id}`,
    });
    if (!isGoneFirst) await runtime.discard(sandbox);
  }
}

/** Kills each agent at a random moment of its life: while it starts, while it restores, while it serves. */
async function killOften(lab: TestLab, random: Random, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const patience = random.below(3);
    if (patience > 0) {
      const options = { timeoutMs: 30_000, everyMs: 5, what: `agent number ${i}` };
      await waitFor(() => lab.agent(node).isReady(), options);
    }
    // The moment is the test's input, not a wait for something.
    await delay(random.below(patience === 2 ? 1500 : 250));
    await killAgent(lab);
  }
}

async function killAgent(lab: TestLab): Promise<void> {
  const pid = await waitFor(() => findAgent(lab), {
    timeoutMs: 15_000,
    everyMs: 2,
    what: "an agent process",
  });
  process.kill(pid, "SIGKILL");
  // Gone altogether: while its threads end, its socket still takes calls that nobody will answer.
  await waitFor(() => !existsSync(`/proc/${pid}`), {
    timeoutMs: 15_000,
    everyMs: 2,
    what: "the agent to be gone",
  });
}

/** The agent's own process: the shell that starts it again lives in the same cgroup. */
function findAgent(lab: TestLab): number | undefined {
  const pids = readFileSync(join(lab.paths.nodeCgroup(node), "agent/cgroup.procs"), "utf8").split("\n");
  return pids
    .filter((pid) => pid !== "")
    .map(Number)
    .find(isNode);
}

function isNode(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`) === process.execPath;
  } catch {
    // It ended meanwhile.
    return false;
  }
}

function agentOf(lab: TestLab): number {
  const pid = findAgent(lab);
  if (pid === undefined) throw new Error("no agent runs");
  return pid;
}

/** Does `work` for each, so many at a time; results in order. */
async function inParallel<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) {
      const item = items[i] as T;
      results[i] = await work(item);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}
