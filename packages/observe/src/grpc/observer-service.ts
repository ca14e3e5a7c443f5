import type { GetFlowsResponse } from "@axoneme/flow";
import {
  type FieldTree,
  FlowSchema,
  fieldTree,
  GetFlowsResponseSchema,
  GetNamespacesResponseSchema,
  JsonEncoder,
  ServerStatusResponseSchema,
  type GetFlowsRequest as WireRequest,
} from "@axoneme/proto";
import { Metadata, type ServerUnaryCall, type sendUnaryData, status } from "@grpc/grpc-js";
import type { SeenNamespaces } from "./namespaces.ts";
import type { HubbleOptions } from "./options.ts";
import { flowsRequest } from "./request.ts";
import { bufferOf, type Handlers } from "./service.ts";
import { statusOf } from "./status.ts";
import { type ByteStream, drained, goneSignal } from "./stream.ts";

/** Lists that many flows share: labels of an identity, labels of a policy. */
const shared = ["labels"];

type Done = sendUnaryData<Buffer>;
type Call = ServerUnaryCall<unknown, Buffer>;

/** `observer.Observer` of one node. */
export class ObserverService {
  readonly #options: HubbleOptions;
  readonly #namespaces: SeenNamespaces;
  readonly #all = new JsonEncoder(GetFlowsResponseSchema, { shared });
  readonly #status = new JsonEncoder(ServerStatusResponseSchema);
  readonly #list = new JsonEncoder(GetNamespacesResponseSchema);
  readonly #streams = new Set<AbortController>();

  constructor(options: HubbleOptions, namespaces: SeenNamespaces) {
    this.#options = options;
    this.#namespaces = namespaces;
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** Ends all streams. */
  stop(): void {
    for (const stream of this.#streams) stream.abort();
  }

  handlers(): Handlers {
    return {
      GetFlows: (call: ByteStream<WireRequest>) => void this.#getFlows(call),
      GetAgentEvents: (call: ByteStream<unknown>) => refuse(call, "agent events are not served yet"),
      GetDebugEvents: (call: ByteStream<unknown>) => refuse(call, "debug events are not served yet"),
      GetNodes: (_call: Call, done: Done) =>
        done({ code: status.UNIMPLEMENTED, details: "an agent knows its own node only; ask a relay" }),
      GetNamespaces: (call: Call, done: Done) => void this.#getNamespaces(call, done),
      ServerStatus: (call: Call, done: Done) => {
        call.sendMetadata(this.#metadata());
        done(null, bufferOf(this.#status.encode(this.#options.observer.status())));
      },
    };
  }

  async #getFlows(call: ByteStream<WireRequest>): Promise<void> {
    const gone = goneSignal(call);
    this.#streams.add(gone);
    try {
      const request = flowsRequest(call.request);
      const encoder = this.#encoderFor(call.request.fieldMask?.paths ?? []);
      const batches = this.#options.observer.getFlowBatches(request, gone.signal);
      call.sendMetadata(this.#metadata());
      for await (const batch of batches) await send(call, batch, encoder, gone.signal);
      call.end();
    } catch (error) {
      const answer = statusOf(error);
      if (answer.code === status.INTERNAL) this.#options.log.error({ err: error }, "GetFlows failed");
      call.emit("error", answer);
    } finally {
      this.#streams.delete(gone);
    }
  }

  /** With a mask only the named fields of a flow are looked at; what is around the flow is always told. */
  #encoderFor(paths: readonly string[]): JsonEncoder {
    if (paths.length === 0) return this.#all;
    const fields = new Map<string, FieldTree | true>();
    for (const { name } of GetFlowsResponseSchema.fields) fields.set(name, true);
    fields.set("flow", fieldTree(FlowSchema, paths));
    return new JsonEncoder(GetFlowsResponseSchema, { fields, shared });
  }

  async #getNamespaces(call: Call, done: Done): Promise<void> {
    try {
      const names = await this.#namespaces.list();
      const cluster = this.#options.clusterName;
      call.sendMetadata(this.#metadata());
      const namespaces = names.map((namespace) => ({ cluster, namespace }));
      done(null, bufferOf(this.#list.encode({ namespaces })));
    } catch (error) {
      done(statusOf(error));
    }
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    metadata.set("hubble-server-version", this.#options.version);
    return metadata;
  }
}

function refuse(call: ByteStream<unknown>, details: string): void {
  call.emit("error", { code: status.UNIMPLEMENTED, details });
}

/** Returns when the reader has taken (nearly) all of it: the observer is not asked for more than is read. */
async function send(
  call: ByteStream<unknown>,
  batch: readonly GetFlowsResponse[],
  encoder: JsonEncoder,
  gone: AbortSignal,
): Promise<void> {
  for (const response of batch) {
    if (gone.aborted) return;
    if (!call.write(bufferOf(encoder.encode(response)))) await drained(call, gone);
  }
}
