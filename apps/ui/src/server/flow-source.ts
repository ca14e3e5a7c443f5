import { backoff, delay, errorText, type Logger } from "@axoneme/base";
import { type ClientOptions, Connection } from "@axoneme/grpc";
import { GetFlowsRequestSchema, Observer, ServerStatusResponseSchema } from "@axoneme/proto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { NodeHealth, SourceState } from "../shared/model.ts";
import { RelayNodes } from "./relay-nodes.ts";

const paths = {
  flows: `/${Observer.typeName}/GetFlows`,
  status: `/${Observer.typeName}/ServerStatus`,
};
/** What a page shows of a flow: the rest does not travel. */
const fields = [
  "time",
  "uuid",
  "verdict",
  "drop_reason_desc",
  "IP",
  "l4",
  "source",
  "destination",
  "node_name",
  "source_names",
  "destination_names",
  "is_reply",
  "traffic_direction",
  "egress_allowed_by",
  "ingress_allowed_by",
  "egress_denied_by",
  "ingress_denied_by",
  "Summary",
];
const statusEveryMs = 5000;
const callMs = 5000;
/** Flows of the past that a start begins with: a page is not empty until something happens. */
const beginWith = 1000;

/** A time span, milliseconds since the epoch; `limit`: at most so many flows, the newest. */
export interface Span {
  readonly since: number;
  readonly until: number;
  readonly limit: number;
}

/** Where flows come from: a relay, or an agent. Follows them, and connects again whenever it is cut off. */
export class FlowSource {
  readonly name: string;
  readonly #options: ClientOptions;
  readonly #onMessage: (message: Uint8Array) => number;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #nodes = new RelayNodes();
  #state: SourceState;
  #running: Promise<void> | undefined;

  /** @param onMessage gets each GetFlowsResponse; returns how many events it says were lost */
  constructor(name: string, options: ClientOptions, onMessage: (message: Uint8Array) => number, log: Logger) {
    this.name = name;
    this.#options = options;
    this.#onMessage = onMessage;
    this.#log = log;
    this.#state = {
      name,
      state: "connecting",
      message: "",
      version: "",
      flowsPerSecond: 0,
      numFlows: 0,
      lost: 0,
      nodes: { connected: 0, unavailable: [] },
    };
  }

  /** Nodes that a relay knows; none of an agent. */
  get nodes(): readonly NodeHealth[] {
    return this.#nodes.nodes;
  }

  get state(): SourceState {
    return this.#state;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Flows of the past. @throws GrpcError */
  async past({ since, until, limit }: Span, onMessage: (message: Uint8Array) => void): Promise<void> {
    const request = create(GetFlowsRequestSchema, {
      number: BigInt(limit),
      since: timestampFromMs(since),
      until: timestampFromMs(until),
      fieldMask: { paths: fields },
    });
    const connection = await Connection.open(this.#options);
    try {
      const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(30_000)]);
      const bytes = toBinary(GetFlowsRequestSchema, request);
      for await (const messages of connection.stream(paths.flows, bytes, signal)) {
        for (const message of messages) onMessage(message);
      }
    } finally {
      connection.close();
    }
  }

  async #run(): Promise<void> {
    const pause = backoff({ baseMs: 200, maxMs: 5000 });
    const { signal } = this.#stop;
    let first = true;
    while (!signal.aborted) {
      try {
        await this.#follow(first, () => {
          first = false;
          pause.reset();
        });
      } catch (error) {
        if (signal.aborted) return;
        const message = errorText(error);
        if (this.#state.state !== "failed")
          this.#log.warn({ source: this.name, err: message }, "no flows from here");
        this.#state = { ...this.#state, state: "failed", message };
      }
      await delay(pause.next());
    }
  }

  async #follow(first: boolean, onConnected: () => void): Promise<void> {
    const { signal } = this.#stop;
    const connection = await Connection.open(this.#options, signal);
    const over = new AbortController();
    try {
      onConnected();
      this.#state = { ...this.#state, state: "connected", message: "" };
      const watching = this.#watchStatus(connection, over.signal);
      const request = create(GetFlowsRequestSchema, {
        follow: true,
        fieldMask: { paths: fields },
        ...(first ? { number: BigInt(beginWith) } : { since: timestampFromMs(Date.now()) }),
      });
      const bytes = toBinary(GetFlowsRequestSchema, request);
      for await (const messages of connection.stream(paths.flows, bytes, signal)) {
        let lost = 0;
        for (const message of messages) lost += this.#onMessage(message);
        if (lost > 0) this.#state = { ...this.#state, lost: this.#state.lost + lost };
      }
      over.abort();
      await watching;
    } finally {
      over.abort();
      this.#nodes.forget();
      connection.close();
    }
  }

  async #watchStatus(connection: Connection, over: AbortSignal): Promise<void> {
    while (!over.aborted && !connection.isClosed) {
      try {
        const { message } = await connection.unary(paths.status, new Uint8Array(), {
          timeoutMs: callMs,
          signal: over,
        });
        const status = fromBinary(ServerStatusResponseSchema, message);
        this.#state = {
          ...this.#state,
          version: status.version,
          flowsPerSecond: Math.round(status.flowsRate * 10) / 10,
          numFlows: Number(status.numFlows),
          nodes: { connected: status.numConnectedNodes ?? 1, unavailable: status.unavailableNodes },
        };
        await this.#nodes.ask(connection, over);
      } catch (error) {
        if (over.aborted) return;
        this.#state = { ...this.#state, message: errorText(error) };
      }
      await Promise.race([delay(statusEveryMs), aborted(over)]);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
