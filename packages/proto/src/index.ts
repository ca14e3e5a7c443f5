export { type FieldTree, fieldTree, JsonEncoder, type JsonEncoderOptions } from "./encoder.ts";
export {
  DropReasonSchema,
  type Endpoint as FlowEndpoint,
  EndpointSchema as FlowEndpointSchema,
  type Flow,
  FlowFilterSchema,
  FlowSchema,
  TrafficDirection,
  Verdict as FlowVerdict,
} from "./gen/flow/flow.gen.ts";
export {
  Health,
  type HealthCheckRequest,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
} from "./gen/grpc/health/v1/health.gen.ts";
export {
  ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from "./gen/grpc/reflection/v1/reflection.gen.ts";
export { ServerReflection as ServerReflectionAlpha } from "./gen/grpc/reflection/v1alpha/reflection.gen.ts";
export {
  type GetAgentEventsRequest,
  GetAgentEventsRequestSchema,
  GetAgentEventsResponseSchema,
  type GetDebugEventsRequest,
  GetDebugEventsRequestSchema,
  GetDebugEventsResponseSchema,
  type GetFlowsRequest,
  GetFlowsRequestSchema,
  GetFlowsResponseSchema,
  GetNamespacesResponseSchema,
  GetNodesResponseSchema,
  Observer,
  type ServerStatusResponse,
  ServerStatusResponseSchema,
} from "./gen/observer/observer.gen.ts";
export {
  type ChangeNotification,
  ChangeNotificationSchema,
  ChangeNotificationType,
  Peer,
} from "./gen/peer/peer.gen.ts";
export { NodeState } from "./gen/relay/relay.gen.ts";
