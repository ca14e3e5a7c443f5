import type { CiliumLoadBalancerIPPool, Condition, Service } from "@axoneme/kube";
import { type AddressRequest, requestOf } from "@axoneme/loadbalancer";

type LoadBalancerStatus = NonNullable<NonNullable<Service["status"]>["loadBalancer"]>;
export type Ingress = NonNullable<LoadBalancerStatus["ingress"]>[number];

/** What is kept of a Service. */
export interface ServiceRow {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly ingress: readonly Ingress[];
  readonly conditions: readonly Condition[];
  readonly request: AddressRequest;
}

/** `classless`: Services without a load balancer class are ours too. */
export function serviceRow(service: Service, classless: boolean): ServiceRow {
  const { name = "", namespace = "", uid = "", resourceVersion = "" } = service.metadata ?? {};
  const { loadBalancer, conditions = [] } = service.status ?? {};
  const request = requestOf(service, classless);
  return { name, namespace, uid, resourceVersion, ingress: loadBalancer?.ingress ?? [], conditions, request };
}

/** What is kept of a pool. */
export interface PoolRow {
  readonly name: string;
  /** As the allocator takes it. */
  readonly object: Pick<CiliumLoadBalancerIPPool, "metadata" | "spec">;
  /** Equal where the allocator would see no difference. */
  readonly text: string;
  readonly conditions: readonly { type: string; status: string; reason: string; message: string }[];
}

export function poolRow({ metadata = {}, spec, status }: CiliumLoadBalancerIPPool): PoolRow {
  const { name = "", creationTimestamp = "" } = metadata;
  const object = { metadata: { name, creationTimestamp }, spec };
  return { name, object, text: JSON.stringify(object), conditions: status?.conditions ?? [] };
}

/** Now, as meta/v1 Time writes it. */
export function timeNow(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}
