import { FrameBatch, GrpcError, grpcCode, type ServerCall } from "@axoneme/grpc";
import {
  type FieldTree,
  FlowSchema,
  fieldTree,
  GetAgentEventsRequestSchema,
  GetAgentEventsResponseSchema,
  GetDebugEventsRequestSchema,
  GetDebugEventsResponseSchema,
  GetFlowsRequestSchema,
  GetFlowsResponseSchema,
  GetNamespacesResponseSchema,
  JsonEncoder,
  ServerStatusResponseSchema,
} from "@axoneme/proto";
import { readDebugEvents } from "../debug-events.ts";
import { loadEngines } from "../expression/lazy.ts";
import type { SeenNamespaces } from "./namespaces.ts";
import type { HubbleOptions } from "./options.ts";
import { eventsRequest, flowsRequest } from "./request.ts";
import { answering, type Handlers, readRequest, refusing } from "./service.ts";

/** Lists that many flows share: labels of an identity, labels of a policy. */
const shared = ["labels"];
/** Bytes that go with one write: a reader that is slow holds us back by no more than this. */
const writeBytes = 64 * 1024;

/** `observer.Observer` of one node. */
export class ObserverService {
  readonly #options: HubbleOptions;
  readonly #namespaces: SeenNamespaces;
  readonly #all = new JsonEncoder(GetFlowsResponseSchema, { shared });
  readonly #events = new JsonEncoder(GetAgentEventsResponseSchema, { shared });
  readonly #debug = new JsonEncoder(GetDebugEventsResponseSchema, { shared });
  readonly #status = new JsonEncoder(ServerStatusResponseSchema);
  readonly #list = new JsonEncoder(GetNamespacesResponseSchema);
  #streams = 0;

  constructor(options: HubbleOptions, namespaces: SeenNamespaces) {
    this.#options = options;
    this.#namespaces = namespaces;
  }

  get streams(): number {
    return this.#streams;
  }

  handlers(): Handlers {
    return {
      GetFlows: answering((call) => this.#getFlows(call)),
      GetAgentEvents: answering((call) => this.#getAgentEvents(call)),
      GetDebugEvents: answering((call) => this.#getDebugEvents(call)),
      GetNodes: refusing("an agent knows its own node only; ask a relay"),
      GetNamespaces: (call) => this.#getNamespaces(call),
      ServerStatus: async (call) => {
        await call.request();
        this.#nameVersion(call);
        await call.write(this.#status.encode(this.#options.observer.status()));
      },
    };
  }

  async #getFlows(call: ServerCall): Promise<void> {
    this.#streams++;
    try {
      const wire = await readRequest(GetFlowsRequestSchema, call);
      const encoder = this.#encoderFor(wire.fieldMask?.paths ?? []);
      const request = flowsRequest(wire);
      await loadEngines(request.whitelist, request.blacklist);
      await this.#stream(call, this.#options.observer.getFlowBatches(request, call.signal), encoder);
    } finally {
      this.#streams--;
    }
  }

  async #getAgentEvents(call: ServerCall): Promise<void> {
    const { agentEvents } = this.#options;
    if (agentEvents === undefined)
      throw new GrpcError(grpcCode.unimplemented, "there are no agent events here");
    const wire = await readRequest(GetAgentEventsRequestSchema, call);
    await this.#stream(call, agentEvents.read(eventsRequest(wire), call.signal), this.#events);
  }

  async #getDebugEvents(call: ServerCall): Promise<void> {
    const wire = await readRequest(GetDebugEventsRequestSchema, call);
    const { observer } = this.#options;
    this.#streams++;
    try {
      await this.#stream(call, readDebugEvents(observer, eventsRequest(wire), call.signal), this.#debug);
    } finally {
      this.#streams--;
    }
  }

  /** The reader knows at once that it is served, also when there is nothing to say. */
  async #stream(call: ServerCall, batches: AsyncIterable<object[]>, encoder: JsonEncoder): Promise<void> {
    this.#nameVersion(call);
    call.begin();
    const out = new FrameBatch();
    for await (const batch of batches) await send(call, batch, encoder, out);
  }

  /** With a mask only the named fields of a flow are looked at; what is around the flow is always told. */
  #encoderFor(paths: readonly string[]): JsonEncoder {
    if (paths.length === 0) return this.#all;
    const fields = new Map<string, FieldTree | true>();
    for (const { name } of GetFlowsResponseSchema.fields) fields.set(name, true);
    fields.set("flow", fieldTree(FlowSchema, paths));
    return new JsonEncoder(GetFlowsResponseSchema, { fields, shared });
  }

  async #getNamespaces(call: ServerCall): Promise<void> {
    await call.request();
    const names = await this.#namespaces.list();
    const cluster = this.#options.clusterName;
    this.#nameVersion(call);
    await call.write(this.#list.encode({ namespaces: names.map((namespace) => ({ cluster, namespace })) }));
  }

  #nameVersion(call: ServerCall): void {
    call.setMetadata({ "hubble-server-version": this.#options.version });
  }
}

/** Returns when the reader has taken (nearly) all of it: the observer is not asked for more than is read. */
async function send(
  call: ServerCall,
  batch: readonly object[],
  encoder: JsonEncoder,
  out: FrameBatch,
): Promise<void> {
  for (const response of batch) {
    out.add(encoder.encode(response));
    if (out.length < writeBytes) continue;
    await call.writeBatch(out);
    if (call.signal.aborted) return;
  }
  if (out.length > 0) await call.writeBatch(out);
}
