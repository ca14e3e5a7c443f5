import type { GetFlowsRequest, GetFlowsResponse } from "@axoneme/flow";
import { type ClientOptions, Connection } from "@axoneme/grpc";
import {
  ChangeNotificationSchema,
  GetAgentEventsRequestSchema,
  GetAgentEventsResponseSchema,
  GetDebugEventsRequestSchema,
  GetDebugEventsResponseSchema,
  GetFlowsRequestSchema,
  GetFlowsResponseSchema,
  GetNamespacesResponseSchema,
  GetNodesResponseSchema,
  Observer,
  Peer,
  ServerStatusResponseSchema,
} from "@axoneme/proto";
import {
  type DescMessage,
  type DescMethod,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import type {
  AgentEventResponse,
  DebugEventResponse,
  EventsRequest,
  HubbleNamespace,
  HubbleNode,
  HubbleStatus,
  PeerNotice,
} from "./client-types.ts";
import { pathOf } from "./service.ts";

const none = new Uint8Array(0);

/** The flow API of an agent or a relay, for who reads it: messages in their JSON form. */
export class HubbleClient {
  readonly #connection: Connection;
  readonly #timeoutMs: number;

  private constructor(connection: Connection, timeoutMs: number) {
    this.#connection = connection;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * @param timeoutMs for answers that are no streams
   * @throws GrpcError unavailable
   */
  static async open(options: ClientOptions, timeoutMs: number, signal?: AbortSignal): Promise<HubbleClient> {
    return new HubbleClient(await Connection.open(options, signal), timeoutMs);
  }

  close(): void {
    this.#connection.close();
  }

  /** @param fieldMask paths of Flow; empty: all */
  flows(
    request: GetFlowsRequest,
    signal: AbortSignal,
    fieldMask: readonly string[] = [],
  ): AsyncGenerator<GetFlowsResponse, void> {
    const wire = fromJson(GetFlowsRequestSchema, request as JsonValue);
    if (fieldMask.length > 0)
      wire.fieldMask = { $typeName: "google.protobuf.FieldMask", paths: [...fieldMask] };
    const bytes = toBinary(GetFlowsRequestSchema, wire);
    return this.#stream<GetFlowsResponse>(Observer.method.getFlows, GetFlowsResponseSchema, bytes, signal);
  }

  agentEvents(request: EventsRequest, signal: AbortSignal): AsyncGenerator<AgentEventResponse, void> {
    const bytes = encoded(GetAgentEventsRequestSchema, request);
    return this.#stream(Observer.method.getAgentEvents, GetAgentEventsResponseSchema, bytes, signal);
  }

  debugEvents(request: EventsRequest, signal: AbortSignal): AsyncGenerator<DebugEventResponse, void> {
    const bytes = encoded(GetDebugEventsRequestSchema, request);
    return this.#stream(Observer.method.getDebugEvents, GetDebugEventsResponseSchema, bytes, signal);
  }

  peers(signal: AbortSignal): AsyncGenerator<PeerNotice, void> {
    return this.#stream(Peer.method.notify, ChangeNotificationSchema, none, signal);
  }

  status(): Promise<HubbleStatus> {
    return this.#unary(Observer.method.serverStatus, ServerStatusResponseSchema);
  }

  async nodes(): Promise<readonly HubbleNode[]> {
    const { nodes = [] } = await this.#unary<{ nodes?: HubbleNode[] }>(
      Observer.method.getNodes,
      GetNodesResponseSchema,
    );
    return nodes;
  }

  async namespaces(): Promise<readonly HubbleNamespace[]> {
    const { namespaces = [] } = await this.#unary<{ namespaces?: HubbleNamespace[] }>(
      Observer.method.getNamespaces,
      GetNamespacesResponseSchema,
    );
    return namespaces;
  }

  async #unary<T>(method: DescMethod, schema: DescMessage): Promise<T> {
    const { message } = await this.#connection.unary(pathOf(method), none, { timeoutMs: this.#timeoutMs });
    return readable<T>(schema, message);
  }

  async *#stream<T>(
    method: DescMethod,
    schema: DescMessage,
    request: Uint8Array,
    signal: AbortSignal,
  ): AsyncGenerator<T, void> {
    for await (const messages of this.#connection.stream(pathOf(method), request, signal)) {
      for (const message of messages) yield readable<T>(schema, message);
    }
  }
}

function readable<T>(schema: DescMessage, bytes: Uint8Array): T {
  return toJson(schema, fromBinary(schema, bytes), { useProtoFieldName: true }) as T;
}

function encoded(schema: DescMessage, request: EventsRequest): Uint8Array {
  return toBinary(schema, fromJson(schema, { ...request } as JsonValue));
}
