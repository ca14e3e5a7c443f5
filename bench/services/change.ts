import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { AxonError, delay } from "@axoneme/base";
import { resources } from "@axoneme/kube";
import { builtFile, launch } from "@axoneme/netlink";
import { sliceObject } from "./cluster.ts";
import { answers, backendPort, type ModelService, serviceOf, servicePort } from "./model.ts";
import type { OurNode } from "./ours.ts";

/** Nobody listens there: connections are refused at once. */
const closedPort = backendPort + 1;
/** Services that take turns. */
const inTurn = 25;

/** Milliseconds of every change, sorted. */
export interface ChangeTimes {
  /** From the API's acknowledgement until a connection got through. */
  readonly sinceAnswer: readonly number[];
  /** From the sending of the request. */
  readonly sinceRequest: readonly number[];
}

/** The value below which a share of sorted values lies. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** axon-first in the client's place: tells when the first connection to an address got through. */
class Prober {
  readonly #child;
  readonly #lines: AsyncIterator<string>;

  constructor(netns: string, cgroup: string) {
    const { file, args } = launch({ netns, cgroups: [cgroup], parentDeathSignal: "KILL" }, [
      builtFile("bin/axon-first"),
    ]);
    this.#child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Resolves once connections are refused and it tries again and again. */
  async begin(host: string, port: number): Promise<void> {
    const until = performance.now() + 10_000;
    do {
      this.#child.stdin.write(`${host} ${port}\n`);
      if ((await this.#line()) === "trying") return;
      await delay(5);
    } while (performance.now() < until);
    throw new AxonError("bench.change", `${host}:${port} still has the backends of the change before`);
  }

  /** CLOCK_MONOTONIC nanoseconds at which a connection was accepted. */
  async through(): Promise<number> {
    const [, ns] = (await this.#line()).split(" ").map(Number);
    if (ns === undefined) throw new AxonError("bench.change", "a change had no effect within ten seconds");
    return ns;
  }

  async #line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new AxonError("bench.change", "axon-first ended");
    return value;
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }
}

const nowNs = () => Number(process.hrtime.bigint());

function withPort(service: ModelService, port: number): ModelService {
  return { ...service, backends: service.backends.map(({ ip }) => ({ ip, port })) };
}

/**
 * Changes endpoints of Services among `count`, spread over all of them, and times how long a client of a pod has to wait
 * for each. Before a change the Service's backends refuse connections, after it they accept them.
 */
export async function changeTimes(node: OurNode, count: number, changes: number): Promise<ChangeTimes> {
  const slices = node.client.resource(resources.endpointslices);
  const servers = node.servers.map(({ ipv4 }) => ipv4);
  const all = Array.from({ length: count }, (_, i) => i).filter(answers);
  const chosen = Array.from({ length: Math.min(inTurn, all.length) }, (_, i) =>
    serviceOf(all[Math.floor((i * all.length) / inTurn)] ?? 0, servers),
  );
  const put = async (service: ModelService) => {
    const options = { namespace: service.namespace, type: "merge" as const };
    const { ports } = sliceObject(service);
    await slices.patch(service.name, { ports }, options);
  };
  const sinceAnswer: number[] = [];
  const sinceRequest: number[] = [];
  const prober = new Prober(node.clientNs, node.cgroup);
  try {
    for (const service of chosen) await put(withPort(service, closedPort));
    for (let i = 0; i < changes; i++) {
      const service = chosen[i % chosen.length];
      if (service === undefined) break;
      // What was changed just before has come to rest.
      await delay(30);
      await prober.begin(service.clusterIp, servicePort);
      const sent = nowNs();
      await put(service);
      const answered = nowNs();
      const ns = await prober.through();
      sinceAnswer.push(Math.max(0, ns - answered) / 1e6);
      sinceRequest.push((ns - sent) / 1e6);
      await put(withPort(service, closedPort));
    }
    for (const service of chosen) await put(service);
  } finally {
    prober.close();
  }
  const ascending = (a: number, b: number) => a - b;
  return { sinceAnswer: sinceAnswer.sort(ascending), sinceRequest: sinceRequest.sort(ascending) };
}
