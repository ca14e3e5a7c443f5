import type { IncomingMessage, ServerResponse } from "node:http";
import { waitFor } from "@axoneme/base";
import { emptyResolver, type GetFlowsResponse, RawStore, timeText } from "@axoneme/flow";
import { Observer, parseFlowsQuery, parseMonitorQuery } from "@axoneme/observe";
import { describe, expect, it } from "vitest";
import { mergeByTime } from "../src/observe/merge.ts";
import { FakeLabs, now, type Routes } from "./fixture.ts";
import { encodeRecords, type FakeRecord } from "./records.ts";

/** A node with a real observer behind a fake agent. */
class FakeNode {
  readonly observer: Observer;
  /** Queries of /v1/flows, as they came. */
  readonly queries: unknown[] = [];
  streams = 0;

  constructor(node: string) {
    const resolver = {
      ...emptyResolver(node),
      endpointById: (id: number) => ({ namespace: "default", podName: `pod-${id}`, identity: 1000 + id }),
      ruleById: (id: number) =>
        id === 0 ? undefined : { policies: [{ namespace: "default", name: "deny-all" }], defaultDeny: true },
    };
    const clock = { now: () => now, monotonicNs: () => 0n, setTimer: () => ({ cancel: () => undefined }) };
    this.observer = new Observer({ store: new RawStore({ capacity: 256 }), resolver, version: "1", clock });
  }

  add(...records: FakeRecord[]): void {
    this.observer.ingest(encodeRecords(records), records.length);
  }

  routes(): Routes {
    return {
      "/v1/flows": (req: IncomingMessage, res: ServerResponse) => {
        const query = parseFlowsQuery(queryOf(req));
        this.queries.push(query);
        void this.#stream(res, (signal) => this.observer.getFlows(query, signal));
      },
      "/v1/events": (req: IncomingMessage, res: ServerResponse) => {
        const query = parseMonitorQuery(queryOf(req));
        void this.#stream(res, (signal) => this.observer.events(query, signal));
      },
    };
  }

  async #stream(res: ServerResponse, lines: (signal: AbortSignal) => AsyncIterable<unknown>): Promise<void> {
    const gone = new AbortController();
    res.on("close", () => gone.abort());
    res.writeHead(200, { "content-type": "application/x-ndjson" }).flushHeaders();
    this.streams++;
    for await (const line of lines(gone.signal)) res.write(`${JSON.stringify(line)}\n`);
    this.streams--;
    res.end();
  }
}

function queryOf(req: IncomingMessage): string | null {
  return new URL(req.url ?? "", "http://x").searchParams.get("q");
}

async function setUp(...names: string[]): Promise<{ labs: FakeLabs; nodes: FakeNode[] }> {
  const labs = new FakeLabs();
  const nodes = names.map((name) => new FakeNode(name));
  for (const [i, node] of nodes.entries()) await labs.node("default", names[i] ?? "", node.routes());
  return { labs, nodes };
}

const ports = (out: string): number[] => [...out.matchAll(/pod-2:(\d+)/g)].map((match) => Number(match[1]));

describe("axon hubble observe", () => {
  it("prints the last 20 flows, one a line", async () => {
    const { labs, nodes } = await setUp("node1");
    nodes[0]?.add(...Array.from({ length: 30 }, (_, i) => ({ port: i, ms: i })));
    const { code, out } = await labs.axon("hubble", "observe");
    expect(code).toBe(0);
    expect(ports(out)).toEqual(Array.from({ length: 20 }, (_, i) => i + 10));
    expect(out.split("\n")[0]).toBe(
      `${timeText(new Date(now + 10).toISOString())}: default/pod-1:40000 (ID:1001) -> default/pod-2:10 (ID:1002) to-endpoint FORWARDED (TCP Flags: SYN)`,
    );
  });

  it("asks the agent for what the flags say", async () => {
    const { labs, nodes } = await setUp("node1");
    const ask = async (...args: string[]): Promise<unknown> => {
      const { err, code } = await labs.axon("hubble", "observe", ...args);
      expect([err, code]).toEqual(["", 0]);
      return nodes[0]?.queries.at(-1);
    };
    expect(await ask()).toMatchObject({ number: 20, whitelist: [], blacklist: [] });
    expect(await ask("--last", "5", "--verdict", "dropped,audit")).toEqual({
      number: 5,
      whitelist: [{ verdict: ["DROPPED", "AUDIT"] }],
      blacklist: [],
    });
    expect(await ask("--first", "3", "-t", "trace:to-endpoint", "-t", "drop")).toEqual({
      number: 3,
      first: true,
      whitelist: [{ event_type: [{ type: 4, match_sub_type: true, sub_type: 0 }, { type: 1 }] }],
      blacklist: [],
    });
    expect(await ask("--since", "5m", "--until", "2026-11-20T11:59:00Z")).toMatchObject({
      since: "2026-11-20T11:55:00.000Z",
      until: "2026-11-20T11:59:00Z",
    });
    expect(await ask("--all", "--from-pod", "a/b", "--to-port", "80")).toEqual({
      whitelist: [{ source_pod: ["a/b"], destination_port: ["80"] }],
      blacklist: [],
    });
    expect(await ask("--pod", "web", "--namespace", "shop", "--protocol", "tcp")).toMatchObject({
      whitelist: [
        { protocol: ["tcp"], source_pod: ["shop/web"] },
        { protocol: ["tcp"], destination_pod: ["shop/web"] },
      ],
    });
    expect(await ask("-n", "shop", "-n", "bank", "--not", "--ip", "10.0.0.1")).toMatchObject({
      whitelist: [{ source_pod: ["shop/", "bank/"] }, { destination_pod: ["shop/", "bank/"] }],
      blacklist: [{ source_ip: ["10.0.0.1"] }, { destination_ip: ["10.0.0.1"] }],
    });
    expect(await ask("--from-namespace", "shop", "--from-pod", "/web", "--to-all-namespaces")).toMatchObject({
      whitelist: [{ source_pod: ["shop/web"], destination_pod: ["/"] }],
    });
    expect(
      await ask("--identity", "world", "--workload", "Deployment/web", "-4", "--tcp-flags", "syn,ack"),
    ).toMatchObject({
      whitelist: [
        {
          source_identity: [2],
          source_workload: [{ kind: "Deployment", name: "web" }],
          ip_version: ["IPv4"],
          tcp_flags: [{ SYN: true, ACK: true }],
        },
        { destination_identity: [2] },
      ],
    });
    expect(await ask("--allowlist", '{"uuid":["x"]}', "--denylist", '{"verdict":["AUDIT"]}')).toMatchObject({
      whitelist: [{ uuid: ["x"] }],
      blacklist: [{ verdict: ["AUDIT"] }],
    });
  });

  it("a filter that makes no sense is the user's mistake: told once, nobody is asked", async () => {
    const { labs, nodes } = await setUp("node1", "node2");
    for (const filter of [
      ["--ip", "10.0.0"],
      ["--label", "("],
    ]) {
      const { code, err } = await labs.axon("hubble", "observe", ...filter);
      expect(code).toBe(2);
      expect(err).toContain(filter[1] ?? "");
      expect(err.match(/Error/g)).toHaveLength(1);
    }
    expect(nodes.flatMap(({ queries }) => queries)).toEqual([]);
  });

  it("says which policy decided", async () => {
    const { labs, nodes } = await setUp("node1");
    nodes[0]?.add({ port: 80, type: 1, subtype: 133, flags: 2 | 64, ruleIngress: 7 });
    const { out } = await labs.axon("hubble", "observe", "--verdict", "DROPPED");
    const lines = out.trim().split("\n");
    expect(lines[0]).toContain("<> default/pod-2:80 (ID:1002) policy-verdict:none INGRESS DENIED");
    expect(lines[1]).toContain("Policy denied DROPPED (TCP Flags: SYN) by default/deny-all");
    expect((await labs.axon("hubble", "observe", "--no-policy-names")).out).not.toContain("deny-all");
  });

  it("-o json: one GetFlowsResponse a line; dict and table for people", async () => {
    const { labs, nodes } = await setUp("node1");
    nodes[0]?.add({ port: 80 }, { port: 81 });
    const json = await labs.axon("hubble", "observe", "-o", "json");
    const lines = json.out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as GetFlowsResponse);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatchObject({ node_name: "node1", flow: { verdict: "FORWARDED", is_reply: false } });
    const dict = await labs.axon("hubble", "observe", "-o", "dict");
    expect(dict.out.split("------------\n")).toHaveLength(2);
    const table = await labs.axon("hubble", "observe", "-o", "table", "--print-node-name");
    expect(table.out.split("\n")[0]).toMatch(
      /^TIMESTAMP +NODE +SOURCE +DESTINATION +TYPE +VERDICT +SUMMARY +POLICY$/,
    );
  });

  it("merges nodes in time order and keeps the last N of all", async () => {
    const { labs, nodes } = await setUp("node1", "node2");
    nodes[0]?.add({ port: 1, ms: 1 }, { port: 4, ms: 4 }, { port: 5, ms: 5 });
    nodes[1]?.add({ port: 2, ms: 2 }, { port: 3, ms: 3 }, { port: 6, ms: 6 });
    expect(ports((await labs.axon("hubble", "observe")).out)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(ports((await labs.axon("hubble", "observe", "--last", "3")).out)).toEqual([4, 5, 6]);
    expect(ports((await labs.axon("hubble", "observe", "--first", "3")).out)).toEqual([1, 2, 3]);
    expect(ports((await labs.axon("hubble", "observe", "--node", "node2")).out)).toEqual([2, 3, 6]);
  });

  it("a dead node among living ones is told; the exit code says it", async () => {
    const { labs, nodes } = await setUp("node1");
    await labs.node("default", "node2");
    nodes[0]?.add({ port: 1 });
    const { code, out, err } = await labs.axon("hubble", "observe");
    expect([code, ports(out)]).toEqual([4, [1]]);
    expect(err).toContain("node node2");
  });

  it("follows until Ctrl-C, then leaves nothing open", async () => {
    const { labs, nodes } = await setUp("node1", "node2");
    const interrupt = new AbortController();
    let out = "";
    const ended = labs.run(["hubble", "observe", "-f"], {
      signal: interrupt.signal,
      onOut: (text) => {
        out += text;
      },
    });
    await waitFor(() => nodes.every((node) => node.observer.store.onAppend.listenerCount > 0));
    nodes[0]?.add({ port: 1, ms: 1 });
    await waitFor(() => ports(out).length === 1);
    nodes[1]?.add({ port: 2, ms: 2 });
    nodes[0]?.add({ port: 3, ms: 3 });
    await waitFor(() => ports(out).length === 3);
    interrupt.abort();
    const { code, err } = await ended;
    expect([code, err]).toEqual([130, ""]);
    expect(ports(out)).toEqual([1, 2, 3]);
    await waitFor(() => nodes.every((node) => node.streams === 0));
  });

  it("losses go to stderr, and into the JSON", async () => {
    const { labs, nodes } = await setUp("node1");
    nodes[0]?.add({ port: 1 });
    nodes[0]?.observer.ingestLoss(9);
    const { out, err } = await labs.axon("hubble", "observe");
    expect(ports(out)).toEqual([1]);
    expect(err).toContain("EVENTS LOST: PERF_EVENT_RING_BUFFER 9");
    expect((await labs.axon("hubble", "observe", "-o", "json")).out).toContain('"num_events_lost":"9"');
  });
});

describe("axon monitor", () => {
  it("prints records with their numbers", async () => {
    const { labs, nodes } = await setUp("node1");
    nodes[0]?.add({ port: 80, type: 1, subtype: 133, flags: 2 | 64, ruleIngress: 7 }, { port: 81 });
    const { code, out } = await labs.axon("monitor", "--no-follow", "--last", "5", "--type", "drop");
    expect(code).toBe(0);
    expect(out).toContain(
      'drop "Policy denied" TCP 10.0.0.1:40000 -> 10.0.0.2:80 flags SYN identity 0->0 endpoint 1->2 ingress-rule 7 [ingress,denied-ingress] 74 bytes cpu 0',
    );
    const json = await labs.axon("monitor", "--no-follow", "--to", "2", "-o", "json");
    expect(
      json.out
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as { record: { seq: number } }).record.seq),
    ).toEqual([0, 1]);
  });
});

describe("merging", () => {
  const at = (ms: number, node: string): GetFlowsResponse => ({
    time: new Date(ms).toISOString(),
    node_name: node,
  });
  async function* of(...responses: GetFlowsResponse[]): AsyncGenerator<GetFlowsResponse> {
    yield* responses;
  }

  it("does not wait for a silent node longer than told", async () => {
    async function* silent(): AsyncGenerator<GetFlowsResponse> {
      await new Promise(() => undefined);
      yield {};
    }
    const merged = mergeByTime([of(at(1, "a"), at(2, "a")), silent()], 30);
    const start = performance.now();
    expect((await merged.next()).value).toEqual(at(1, "a"));
    expect((await merged.next()).value).toEqual(at(2, "a"));
    expect(performance.now() - start).toBeGreaterThanOrEqual(25);
  });

  it("orders times of different precision", async () => {
    const a = { time: "2026-11-20T12:00:00.1Z", node_name: "a" };
    const b = { time: "2026-11-20T12:00:00.100000001Z", node_name: "b" };
    const c = { time: "2026-11-20T12:00:00Z", node_name: "c" };
    const seen: string[] = [];
    for await (const response of mergeByTime([of(b), of(a), of(c)], 10_000))
      seen.push(response.node_name ?? "");
    expect(seen).toEqual(["c", "a", "b"]);
  });

  it("holds a fast node back rather than its flows in memory", async () => {
    let produced = 0;
    async function* fast(): AsyncGenerator<GetFlowsResponse> {
      for (; produced < 100_000; produced++) yield at(produced, "fast");
    }
    async function* silent(): AsyncGenerator<GetFlowsResponse> {
      await new Promise(() => undefined);
      yield {};
    }
    const merged = mergeByTime([fast(), silent()], 50);
    await merged.next();
    expect(produced).toBeLessThan(1100);
  });
});
