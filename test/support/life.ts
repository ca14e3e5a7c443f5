/** Traffic that must not notice what happens to agents, which versions of them run, and what they use meanwhile. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { BpfMap } from "@axoneme/bpf";
import { addresses, NameServer, Resolver } from "../../bpf/test/dns.ts";
import { buildNext } from "../../scripts/build-next.mjs";
import { type Running, root } from "./command.ts";
import { type Place, port, type TestLab, type TestPod } from "./lab.ts";

/** Milliseconds a test goes on with all of it: `make soak` sets it; 0: once, in short. */
export const soakMs = Number(process.env["AXON_SOAK_MINUTES"] ?? 0) * 60_000;
/** Connections held open. */
export const crowdSize = Number(process.env["AXON_SOAK_CONNECTIONS"] ?? (soakMs > 0 ? 10_000 : 800));

/** Which version the agents of a lab start with: this one, or the one after it (scripts/build-next.mjs). */
export class Versions {
  readonly #folder = mkdtempSync(join(tmpdir(), "axon-versions-"));
  readonly #file = join(this.#folder, "agent");

  constructor() {
    this.use("this");
  }

  /** For the lab: what starts an agent of the version in force. */
  get agentCommand(): readonly string[] {
    return ["/bin/sh", "-c", `exec ${process.execPath} "$(cat ${this.#file})" --config "$0"`, "{{config}}"];
  }

  /** Agents that start from now on are of that version. */
  use(which: "this" | "next"): void {
    writeFileSync(this.#file, join(root, which === "next" ? "build/next" : "", "dist/agent.mjs"));
  }

  static async build(): Promise<void> {
    await buildNext();
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Queries without an answer so far: with more, sockets of this process would lose packets while it does something else. */
const mostOpen = 32;

/** Names asked for each millisecond, in a pod's namespace. */
export class Asking {
  readonly #server: NameServer;
  readonly #resolver: Resolver;
  readonly #address: string;
  readonly #failed: string[] = [];
  readonly #open = new Set<Promise<void>>();
  #latencies: number[] = [];
  #timer: NodeJS.Timeout | undefined;
  #count = 0;
  #last = performance.now();

  private constructor(server: NameServer, resolver: Resolver, address: string) {
    this.#server = server;
    this.#resolver = resolver;
    this.#address = address;
  }

  static async start(from: TestPod, at: TestPod): Promise<Asking> {
    const server = await NameServer.start(at.netns, at.v4, ({ name }) => ({
      answers: addresses(name, ["192.0.2.9"]),
    }));
    const asking = new Asking(server, await Resolver.open(from.netns, "v4"), at.v4);
    asking.#timer = setInterval(() => asking.#turn(), 1);
    return asking;
  }

  get count(): number {
    return this.#count;
  }

  /** Milliseconds that half of the answers, and 99 of 100, took since the last call. */
  latency(): { readonly p50: number; readonly p99: number } {
    const sorted = this.#latencies.sort((a, b) => a - b);
    this.#latencies = [];
    const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? 0;
    return { p50: at(0.5), p99: at(0.99) };
  }

  /** What was not answered. */
  async stop(): Promise<readonly string[]> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    this.#resolver.close();
    this.#server.stop();
    return this.#failed;
  }

  /** A timer may come late: what it missed is asked now, unless it is more than the sockets take. */
  #turn(): void {
    const now = performance.now();
    const due = Math.min(Math.floor(now - this.#last), mostOpen - this.#open.size);
    for (let i = 0; i < due; i++) this.#ask();
    this.#last = now;
    // What the server was asked is of no interest, and would be all of the memory of a long run.
    this.#server.asked.length = 0;
  }

  #ask(): void {
    const name = `n${this.#count++}.test`;
    const start = performance.now();
    const asked: Promise<void> = this.#resolver
      .ask(this.#address, name)
      .then(
        () => void this.#latencies.push(performance.now() - start),
        (error: unknown) => void this.#failed.push(`${name}: ${String(error)}`),
      )
      .finally(() => this.#open.delete(asked));
    this.#open.add(asked);
  }
}

/** Open connections through a Service, all asked in rounds. */
export class Crowd {
  readonly #running: Running[];

  private constructor(running: Running[]) {
    this.#running = running;
  }

  /** @param ways from where to which address and port; the crowd is shared out among them. */
  static async start(lab: TestLab, ways: readonly (readonly [Place, string, number])[]): Promise<Crowd> {
    const each = String(Math.ceil(crowdSize / ways.length));
    const forMs = String(soakMs + 600_000);
    const running = ways.map(([from, address, at]) =>
      lab.start(
        from,
        [
          "crowd",
          address,
          String(at),
          "--count",
          each,
          "--for",
          forMs,
          "--every",
          "500",
          "--timeout",
          "8000",
        ],
        { timeoutMs: soakMs + 620_000 },
      ),
    );
    await waitFor(() => running.every((one) => /^start unanswered/m.test(one.stdout)), {
      timeoutMs: 60_000,
      what: `${crowdSize} connections`,
    });
    return new Crowd(running);
  }

  kill(): void {
    for (const one of this.#running) one.kill();
  }

  /** How many were alive all the time, and what became of the others. */
  async stop(): Promise<{ readonly alive: number; readonly troubles: readonly string[] }> {
    let alive = 0;
    const troubles: string[] = [];
    for (const one of this.#running) {
      one.process.kill("SIGTERM");
      const { stdout, stderr, code } = await one.ended;
      if (code !== 0 || !stdout.includes("start unanswered 0")) troubles.push(`${stdout}${stderr}`);
      for (const [line, count, lost, changed] of stdout.matchAll(
        /^end \S+ alive (\d+) lost (\d+) changed (\d+)$/gm,
      )) {
        alive += Number(count);
        if (lost !== "0" || changed !== "0") troubles.push(line);
      }
    }
    return { alive, troubles };
  }
}

/** Datagrams of one socket each millisecond: what was not answered. */
export function datagrams(lab: TestLab, from: Place, to: string): { stop(): Promise<string> } {
  const args = ["flow", to, port, "--every", "1", "--timeout", "2000", "--for", String(soakMs + 600_000)];
  const running = lab.start(from, args, { timeoutMs: soakMs + 620_000 });
  return {
    stop: async () => {
      running.process.kill("SIGTERM");
      const { stdout } = await running.ended;
      return /\d+ answers, (.*)/.exec(stdout)?.[1] ?? stdout;
    },
  };
}

/** Connections made one after the other. */
export interface Dialing {
  /** What was said of those that failed so far. */
  readonly failed: readonly string[];
  /** Ends it; how many were made. */
  readonly stop: () => Promise<{ readonly count: number }>;
}

/** Fresh connections one after the other: those that failed, and how many there were. */
export function dialing(lab: TestLab, from: Place, address: string, at: number): Dialing {
  const failed: string[] = [];
  const stopped = new AbortController();
  let count = 0;
  const work = (async () => {
    for (; !stopped.signal.aborted; count++) {
      const { code, stderr } = await lab.probe(from, ["tcp", address, String(at), "--timeout", "5000"]);
      if (code !== 0) failed.push(stderr.trim());
    }
  })();
  return {
    failed,
    stop: async () => {
      stopped.abort();
      await work;
      return { count };
    },
  };
}

/** What a node's agent and its maps use. */
export interface Usage {
  readonly rssMiB: number;
  readonly files: number;
  readonly rows: Readonly<Record<string, number>>;
}

const watched = ["ax_ct", "ax_nat", "ax_svc_flows", "ax_policy", "ax_ipcache"];

export function usageOf(lab: TestLab, node: string): Usage {
  const pid = lab.agentPid(node) ?? 0;
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const rows = watched.map((name) => {
    const map = BpfMap.openPinned(join(lab.paths.bpffs(node), "maps", name));
    const { count } = map.dump();
    map.close();
    return [name, count] as const;
  });
  return {
    rssMiB: Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024),
    files: readdirSync(`/proc/${pid}/fd`).length,
    rows: Object.fromEntries(rows),
  };
}
