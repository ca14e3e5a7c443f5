import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { crd } from "./manifest.ts";
import {
  array,
  boolean,
  doc,
  type Infer,
  int64,
  integer,
  mapOf,
  object,
  oneWordOf,
  string,
} from "./schema.ts";

/** IPv4 and IPv6 address of one interface. */
export const addressPair = object({ ipv4: string(), ipv6: string() });

export const encryption = object({ key: doc("Index of the key; 0 is none.", integer()) });

const identity = object({ id: int64(), labels: array(string()) });

export const networking = object(
  { addressing: array(addressPair), node: doc("Address of the node.", string()) },
  ["addressing"],
);

export const namedPorts = array(
  object({ name: string(), port: integer({ minimum: 0, maximum: 65535 }), protocol: string() }),
);

const identityTuple = object({
  identity: int64(),
  "identity-labels": mapOf(string()),
  "dest-port": integer({ minimum: 0, maximum: 65535 }),
  protocol: integer({ minimum: 0, maximum: 255 }),
});

const tuples = array(identityTuple);

const direction = object(
  {
    enforcing: boolean(),
    allowed: tuples,
    denied: tuples,
    removing: tuples,
    adding: tuples,
    state: string(),
  },
  ["enforcing"],
);

const controller = object({
  name: string(),
  configuration: object({
    "error-retry": boolean(),
    "error-retry-base": string(),
    interval: string(),
  }),
  status: object({
    "consecutive-failure-count": int64(),
    "failure-count": int64(),
    "last-failure-msg": string(),
    "last-failure-timestamp": string(),
    "last-success-timestamp": string(),
    "success-count": int64(),
  }),
  uuid: string(),
});

const endpointStates = [
  "creating",
  "waiting-for-identity",
  "not-ready",
  "waiting-to-regenerate",
  "regenerating",
  "restoring",
  "ready",
  "disconnecting",
  "disconnected",
  "invalid",
] as const;

const status = object({
  id: doc("Number of the endpoint on its node.", int64()),
  controllers: array(controller),
  "external-identifiers": object({
    "cni-attachment-id": string(),
    "container-id": string(),
    "container-name": string(),
    "docker-endpoint-id": string(),
    "docker-network-id": string(),
    "k8s-namespace": string(),
    "k8s-pod-name": string(),
    "pod-name": string(),
  }),
  health: object({ bpf: string(), policy: string(), overallHealth: string(), connected: boolean() }),
  identity,
  log: array(object({ code: string(), message: string(), state: string(), timestamp: string() })),
  networking,
  encryption,
  policy: object({ ingress: direction, egress: direction }),
  state: oneWordOf(endpointStates),
  "named-ports": namedPorts,
  "service-account": string(),
});

export interface EndpointStatus extends Infer<typeof status> {}
export type EndpointState = (typeof endpointStates)[number];

/** cilium.io/v2 CiliumEndpoint: a pod's network as its node sees it; named as the pod. */
export interface CiliumEndpoint {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  status?: EndpointStatus;
}

/** No status subresource, as in the field: one create writes the whole object. */
export const endpointCrd = crd({
  kind: "CiliumEndpoint",
  plural: "ciliumendpoints",
  shortNames: ["cep", "ciliumep"],
  scope: "Namespaced",
  printerColumns: [
    { name: "Security Identity", type: "integer", jsonPath: ".status.identity.id" },
    { name: "Ingress Enforcement", type: "string", jsonPath: ".status.policy.ingress.state", priority: 1 },
    { name: "Egress Enforcement", type: "string", jsonPath: ".status.policy.egress.state", priority: 1 },
    { name: "Endpoint State", type: "string", jsonPath: ".status.state" },
    { name: "IPv4", type: "string", jsonPath: ".status.networking.addressing[0].ipv4" },
    { name: "IPv6", type: "string", jsonPath: ".status.networking.addressing[0].ipv6" },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  schema: object({ metadata: { type: "object" }, status }, ["metadata"]),
});
