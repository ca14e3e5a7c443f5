import type { Relay, WatchedPeers } from "@axoneme/observe";
import { Counter, collectDefaultMetrics, Gauge, type Registry } from "prom-client";

/** The relay's numbers, read when asked for; by the field's name where it has one. */
export function registerMetrics(registry: Registry, relay: Relay, peers: WatchedPeers): void {
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: "hubble_relay_pool_peer_connection_status",
    help: "Nodes by state of the connection to them",
    labelNames: ["status"],
    registers: [registry],
    collect() {
      const { connected, unavailable } = relay.health;
      this.set({ status: "READY" }, connected.length);
      this.set({ status: "TRANSIENT_FAILURE" }, unavailable.size);
    },
  });
  const gauge = (name: string, help: string, value: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value());
      },
    });
  const counter = (name: string, help: string, value: () => number): Counter =>
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  const { figures } = relay;
  gauge("axoneme_relay_streams", "Readers of flows", () => figures.streams);
  gauge("axoneme_relay_peer_list_stale", "1 while the list of nodes may be old", () =>
    peers.problem === undefined ? 0 : 1,
  );
  counter("axoneme_relay_requests_total", "Requests for flows", () => figures.requests);
  counter("axoneme_relay_messages_total", "Messages of nodes passed on to readers", () => figures.messages);
  counter("axoneme_relay_bytes_total", "Bytes passed on to readers", () => figures.bytes);
  counter("axoneme_relay_stream_failures_total", "Streams of nodes that broke", () => figures.failures);
}
