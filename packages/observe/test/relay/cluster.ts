import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Emitter, FakeClock, silentLogger, waitFor } from "@axoneme/base";
import { emptyResolver, RawStore } from "@axoneme/flow";
import { Connection, type Handler, RpcServer } from "@axoneme/grpc";
import { GetFlowsRequestSchema, GetFlowsResponseSchema } from "@axoneme/proto";
import {
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonObject,
  type JsonValue,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import {
  type HubblePeer,
  type HubbleServer,
  type MergeTimes,
  Observer,
  type PeerChange,
  type PeerSource,
  type Relay,
  serveHubble,
  startRelay,
} from "../../src/index.ts";
import { batchOf, type TestRecord } from "../records.ts";

export const startMs = Date.parse("2026-11-20T12:00:00Z");

/** A node: its store, and what serves it. */
export interface TestNode {
  readonly name: string;
  readonly observer: Observer;
  server: HubbleServer | undefined;
}

/** Nodes with observers, and a relay over them, all in this process and on UNIX sockets. */
export class TestCluster implements PeerSource {
  readonly changes = new Emitter<PeerChange>();
  readonly dir = mkdtempSync(join(tmpdir(), "axon-relay-"));
  readonly nodes = new Map<string, TestNode>();
  readonly #peers = new Map<string, HubblePeer>();
  readonly #others: RpcServer[] = [];
  #relay: Relay | undefined;
  #connections: Connection[] = [];

  list(): readonly HubblePeer[] {
    return [...this.#peers.values()];
  }

  get relay(): Relay {
    if (this.#relay === undefined) throw new Error("no relay");
    return this.#relay;
  }

  async startRelay(times?: MergeTimes): Promise<Relay> {
    const options = {
      peers: this,
      clientTls: undefined,
      version: "9.9",
      nodeName: "relay",
      log: silentLogger,
    };
    this.#relay = await startRelay({ ...options, ...(times === undefined ? {} : { times }) });
    await this.#relay.listenUnix(join(this.dir, "relay.sock"));
    return this.#relay;
  }

  /** Until the relay reaches so many nodes. */
  async connected(count: number): Promise<void> {
    const has = () => this.relay.health.connected.length === count;
    await waitFor(has, { timeoutMs: 10_000, what: `${count} connected nodes` });
  }

  /** Adds a node that serves. `skewMs`: how far its clock is ahead. */
  async node(name: string, { capacity = 1024, skewMs = 0 } = {}): Promise<TestNode> {
    const clock = new FakeClock(startMs + skewMs);
    const observer = new Observer({
      store: new RawStore({ capacity }),
      resolver: emptyResolver(name),
      version: "1",
      clock,
      seed: new Uint8Array(8),
    });
    const node: TestNode = { name, observer, server: undefined };
    this.nodes.set(name, node);
    await this.serve(node);
    this.announce(name);
    return node;
  }

  async serve(node: TestNode): Promise<void> {
    node.server = await serveHubble({
      observer: node.observer,
      resolver: emptyResolver(node.name),
      clusterName: "default",
      version: "1",
      peers: this,
      socketPath: this.#socket(node.name),
      log: silentLogger,
    });
  }

  /** A node of another make. */
  async strange(name: string, methods: ReadonlyMap<string, Handler>): Promise<void> {
    const server = new RpcServer({ methods, log: silentLogger });
    await server.listenUnix(this.#socket(name));
    this.#others.push(server);
    this.announce(name);
  }

  announce(name: string): void {
    const peer = { name, address: this.#socket(name) };
    this.#peers.set(name, peer);
    this.changes.emit({ type: "PEER_ADDED", peer });
  }

  remove(name: string): void {
    const peer = this.#peers.get(name);
    this.#peers.delete(name);
    if (peer !== undefined) this.changes.emit({ type: "PEER_DELETED", peer });
  }

  add(name: string, ...records: TestRecord[]): void {
    this.nodes.get(name)?.observer.ingest(batchOf(records), records.length);
  }

  async connect(): Promise<Connection> {
    const connection = await Connection.open({ target: { path: join(this.dir, "relay.sock") } });
    this.#connections.push(connection);
    return connection;
  }

  async *flows(
    request: JsonValue = {},
    signal = new AbortController().signal,
  ): AsyncGenerator<JsonObject, void> {
    const connection = await this.connect();
    const bytes = toBinary(GetFlowsRequestSchema, fromJson(GetFlowsRequestSchema, request));
    for await (const messages of connection.stream("/observer.Observer/GetFlows", bytes, signal)) {
      for (const message of messages) yield readable(GetFlowsResponseSchema, message);
    }
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.close();
    await this.#relay?.stop();
    for (const { server } of this.nodes.values()) await server?.stop();
    for (const server of this.#others) await server.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  #socket(name: string): string {
    return join(this.dir, `${name}.sock`);
  }
}

export function readable(schema: DescMessage, bytes: Uint8Array): JsonObject {
  return toJson(schema, fromBinary(schema, bytes), { useProtoFieldName: true }) as JsonObject;
}

interface Shown {
  node_name: string;
  flow?: { l4?: { UDP?: { destination_port?: number } } };
  node_status?: { state_change: string; node_names: string[]; message?: string };
  lost_events?: { num_events_lost: string };
}

/** `node:port` of a flow, `STATE a,b` of a status, `lost n` of a loss. */
export function brief(response: JsonObject): string {
  const { node_name: node, flow, node_status: status, lost_events: lost } = response as unknown as Shown;
  if (status !== undefined) return `${status.state_change} ${status.node_names.join(",")}`;
  if (lost !== undefined) return `lost ${lost.num_events_lost}`;
  return `${node}:${flow?.l4?.UDP?.destination_port ?? 0}`;
}
