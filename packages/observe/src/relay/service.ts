import { errorText } from "@axoneme/base";
import type { ServerCall } from "@axoneme/grpc";
import {
  FlowSchema,
  fieldTree,
  GetFlowsRequestSchema,
  GetNamespacesResponseSchema,
  GetNodesResponseSchema,
  JsonEncoder,
  Observer,
  type ServerStatusResponse,
  ServerStatusResponseSchema,
} from "@axoneme/proto";
import { fromBinary } from "@bufbuild/protobuf";
import { loadEngines } from "../expression/lazy.ts";
import { flowsRequest } from "../grpc/request.ts";
import { answering, type Handlers, parse, pathOf, refusing } from "../grpc/service.ts";
import { checkFlowsQuery } from "../query.ts";
import { type MergeTimes, RelayStream } from "./flows.ts";
import type { RelayFigures } from "./metrics.ts";
import type { PeerLink } from "./peer-link.ts";
import type { PeerPool } from "./pool.ts";

/** How long a node may take for what is no stream. */
const answerMs = 3000;
/** Names of nodes in one ServerStatus at most, as in the field. */
const namedNodes = 10;

export interface RelayServiceOptions {
  readonly pool: PeerPool;
  readonly version: string;
  /** Of the relay, in what it says itself. */
  readonly nodeName: string;
  readonly figures: RelayFigures;
  readonly times: MergeTimes;
}

interface Asked<T> {
  readonly link: PeerLink;
  /** Undefined: it did not answer. */
  readonly answer: T | undefined;
  readonly problem: string;
}

/** `observer.Observer` of all nodes together. */
export class RelayService {
  readonly #options: RelayServiceOptions;
  readonly #status = new JsonEncoder(ServerStatusResponseSchema);
  readonly #nodes = new JsonEncoder(GetNodesResponseSchema);
  readonly #namespaces = new JsonEncoder(GetNamespacesResponseSchema);

  constructor(options: RelayServiceOptions) {
    this.#options = options;
  }

  handlers(): Handlers {
    const own = "events of agents are not merged: ask the agent of the node";
    return {
      GetFlows: answering((call) => this.#getFlows(call)),
      GetAgentEvents: refusing(own),
      GetDebugEvents: refusing(own),
      GetNodes: (call) => this.#getNodes(call),
      GetNamespaces: (call) => this.#getNamespaces(call),
      ServerStatus: (call) => this.#serverStatus(call),
    };
  }

  async #getFlows(call: ServerCall): Promise<void> {
    const { pool, nodeName, figures, times } = this.#options;
    const bytes = await call.request();
    const request = parse(GetFlowsRequestSchema, bytes);
    // What no node would take is told once, and not by each of them.
    const query = flowsRequest(request);
    await loadEngines(query.whitelist, query.blacklist);
    checkFlowsQuery(query);
    fieldTree(FlowSchema, request.fieldMask?.paths ?? []);
    this.#nameVersion(call);
    figures.requests++;
    figures.streams++;
    try {
      await new RelayStream({ pool, call, request, bytes, nodeName, times, figures }).run();
    } finally {
      figures.streams--;
    }
  }

  async #serverStatus(call: ServerCall): Promise<void> {
    await call.request();
    const asked = await this.#askStatus(call);
    const found = asked.flatMap(({ answer }) => (answer === undefined ? [] : [answer]));
    const missing = asked.filter(({ answer }) => answer === undefined).map(({ link }) => link.peer.name);
    const sum = (of: (status: ServerStatusResponse) => bigint): string =>
      `${found.reduce((total, status) => total + of(status), 0n)}`;
    this.#nameVersion(call);
    await call.write(
      this.#status.encode({
        num_flows: sum(({ numFlows }) => numFlows),
        max_flows: sum(({ maxFlows }) => maxFlows),
        seen_flows: sum(({ seenFlows }) => seenFlows),
        uptime_ns: `${
          found
            .map(({ uptimeNs }) => uptimeNs)
            .sort(ascending)
            .at(-1) ?? 0n
        }`,
        num_connected_nodes: found.length,
        num_unavailable_nodes: missing.length,
        unavailable_nodes: missing.slice(0, namedNodes),
        version: this.#options.version,
        flows_rate: found.reduce((total, { flowsRate }) => total + flowsRate, 0),
      }),
    );
  }

  async #getNodes(call: ServerCall): Promise<void> {
    await call.request();
    const nodes = (await this.#askStatus(call)).map(({ link: { peer }, answer }) => ({
      name: peer.name,
      address: peer.address,
      state: answer === undefined ? "NODE_UNAVAILABLE" : "NODE_CONNECTED",
      tls: { enabled: peer.serverName !== undefined, server_name: peer.serverName ?? "" },
      ...(answer === undefined
        ? {}
        : {
            version: answer.version,
            uptime_ns: `${answer.uptimeNs}`,
            num_flows: `${answer.numFlows}`,
            max_flows: `${answer.maxFlows}`,
            seen_flows: `${answer.seenFlows}`,
          }),
    }));
    this.#nameVersion(call);
    await call.write(this.#nodes.encode({ nodes }));
  }

  async #getNamespaces(call: ServerCall): Promise<void> {
    await call.request();
    const asked = await this.#ask(call, pathOf(Observer.method.getNamespaces), (bytes) =>
      fromBinary(GetNamespacesResponseSchema, bytes),
    );
    const all = asked.flatMap(({ answer }) => answer?.namespaces ?? []);
    const byKey = new Map(
      all.map(({ cluster, namespace }) => [`${cluster}/${namespace}`, { cluster, namespace }]),
    );
    const namespaces = [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
    this.#nameVersion(call);
    await call.write(this.#namespaces.encode({ namespaces }));
  }

  #askStatus(call: ServerCall): Promise<Asked<ServerStatusResponse>[]> {
    return this.#ask(call, pathOf(Observer.method.serverStatus), (bytes) =>
      fromBinary(ServerStatusResponseSchema, bytes),
    );
  }

  /** Asks all nodes at once; those that are slow or silent are missing in the answer, and hold up nobody. */
  #ask<T>(call: ServerCall, path: string, read: (bytes: Uint8Array) => T): Promise<Asked<T>[]> {
    return Promise.all(
      this.#options.pool.links().map(async (link): Promise<Asked<T>> => {
        if (link.connection === undefined) return { link, answer: undefined, problem: link.problem };
        try {
          const options = { timeoutMs: answerMs, signal: call.signal };
          const { message } = await link.connection.unary(path, new Uint8Array(0), options);
          return { link, answer: read(message), problem: "" };
        } catch (error) {
          return { link, answer: undefined, problem: errorText(error) };
        }
      }),
    );
  }

  #nameVersion(call: ServerCall): void {
    call.setMetadata({ "hubble-relay-version": this.#options.version });
  }
}

function ascending(a: bigint, b: bigint): number {
  return a < b ? -1 : 1;
}
