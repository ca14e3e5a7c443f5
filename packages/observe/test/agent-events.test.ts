import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Emitter, FakeClock, silentLogger, waitFor } from "@axoneme/base";
import { emptyResolver, RawStore } from "@axoneme/flow";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import {
  type AgentEvent,
  type AgentEventResponse,
  AgentEvents,
  type EventsRequest,
  Observer,
  openHubble,
  type PeerChange,
  serveHubble,
} from "../src/index.ts";

// Connections, certificates and pauses of the code itself: on a busy machine they add up.
vi.setConfig({ testTimeout: 20_000 });

const startMs = Date.parse("2026-11-20T12:00:00Z");
const at = (seconds: number): string => new Date(startMs + seconds * 1000).toISOString();
const created = (name: string): AgentEvent => ({
  type: "ENDPOINT_CREATED",
  endpoint_update: { namespace: "shop", pod_name: name },
});

/** Events 1..n, a second apart. */
function eventsOf(count: number): { events: AgentEvents; clock: FakeClock } {
  const clock = new FakeClock(startMs);
  const events = new AgentEvents("node1", clock);
  for (let i = 1; i <= count; i++) {
    clock.advance(1000);
    events.add(created(`${i}`));
  }
  return { events, clock };
}

const nameOf = ({ agent_event: event }: AgentEventResponse): string =>
  (event as unknown as { endpoint_update: { pod_name: string } }).endpoint_update.pod_name;

async function names(events: AgentEvents, request: EventsRequest, signal?: AbortSignal): Promise<string> {
  const found: string[] = [];
  for await (const batch of events.read(request, signal ?? new AbortController().signal))
    found.push(...batch.map(nameOf));
  return found.join();
}

describe("events of the agent", () => {
  it.each<[EventsRequest, string]>([
    [{}, "1,2,3,4,5"],
    [{ number: 2 }, "4,5"],
    [{ number: 2, first: true }, "1,2"],
    [{ since: at(4) }, "4,5"],
    [{ since: at(2), until: at(3) }, "2,3"],
    [{ until: at(3), number: 2 }, "2,3"],
    [{ since: at(2), number: 1 }, "2"],
  ])("%j", async (request, expected) => {
    expect(await names(eventsOf(5).events, request)).toBe(expected);
  });

  it("follow: from now on, or from the last ones", async () => {
    const { events } = eventsOf(3);
    const stop = new AbortController();
    const seen: string[] = [];
    const follow = (async () => {
      for await (const batch of events.read({ follow: true, number: 1 }, stop.signal))
        seen.push(...batch.map(nameOf));
    })();
    await waitFor(() => events.readers === 1 && seen.join() === "3", { what: "the last one" });
    events.add(created("4"));
    await waitFor(() => seen.join() === "3,4", { what: "a new one" });
    stop.abort();
    await follow;
    expect(events.readers).toBe(0);
  });

  it("the oldest go when there are too many, and a reader is told what it missed", async () => {
    const { events } = eventsOf(1);
    let lost = 0;
    events.readerLost.on((count) => {
      lost += count;
    });
    const reader = events.read({}, new AbortController().signal);
    await reader.next();
    const slow = events.read({ follow: true, number: 1 }, new AbortController().signal);
    await slow.next();
    for (let i = 0; i < 5000; i++) events.add(created("x"));
    await slow.next();
    expect(lost).toBe(5000 - 4096);
    expect((await names(events, {})).split(",")).toHaveLength(4096);
  });

  it("refuses what contradicts itself", () => {
    expect(() =>
      eventsOf(1).events.read({ first: true, follow: true }, new AbortController().signal),
    ).toThrow();
    expect(() => eventsOf(1).events.read({ since: "yesterday" }, new AbortController().signal)).toThrow();
  });

  it("every kind of them goes over the wire as it is", async () => {
    const all: AgentEvent[] = [
      { type: "AGENT_STARTED", agent_start: { time: at(0).replace(".000Z", "Z") } },
      { type: "POLICY_UPDATED", policy_update: { labels: ["k8s:a=b"], revision: "7", rule_count: "2" } },
      { type: "ENDPOINT_REGENERATE_SUCCESS", endpoint_regenerate: { id: "3", labels: ["k8s:app=web"] } },
      created("web"),
      {
        type: "IPCACHE_UPSERTED",
        ipcache_update: { cidr: "10.0.0.1/32", identity: 1000, old_identity: 2, host_ip: "192.0.2.1" },
      },
      {
        type: "SERVICE_UPSERTED",
        service_upsert: {
          frontend_address: { ip: "10.96.0.1", port: 443 },
          type: "ClusterIP",
          name: "kubernetes",
          namespace: "default",
          ext_traffic_policy: "Cluster",
          int_traffic_policy: "Cluster",
        },
      },
      { type: "SERVICE_DELETED", service_delete: {} },
    ];
    const events = new AgentEvents("node1", new FakeClock(startMs));
    for (const event of all) events.add(event);
    const dir = mkdtempSync(join(tmpdir(), "axon-events-"));
    const resolver = emptyResolver("node1");
    const server = await serveHubble({
      observer: new Observer({ store: new RawStore({ capacity: 16 }), resolver, version: "1" }),
      resolver,
      clusterName: "default",
      version: "1",
      peers: { list: () => [], changes: new Emitter<PeerChange>() },
      agentEvents: events,
      socketPath: join(dir, "hubble.sock"),
      log: silentLogger,
    });
    const client = await openHubble({ target: { path: join(dir, "hubble.sock") } }, 1000);
    onTestFinished(async () => {
      client.close();
      await server.stop();
      rmSync(dir, { recursive: true });
    });
    const found: AgentEventResponse[] = [];
    for await (const event of client.agentEvents({}, new AbortController().signal)) found.push(event);
    expect(found.map(({ agent_event: event }) => event)).toEqual(all);
    expect(found[0]).toMatchObject({ node_name: "node1", time: "2026-11-20T12:00:00Z" });
  });
});
