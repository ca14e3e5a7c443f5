import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { addressPair, encryption } from "./endpoint.ts";
import { crd } from "./manifest.ts";
import {
  anyObject,
  array,
  boolean,
  doc,
  type Infer,
  integer,
  mapOf,
  object,
  oneWordOf,
  string,
} from "./schema.ts";
import { prefix } from "./selector.ts";

const count = integer({ minimum: 0 });
const poolName = string({ minLength: 1 });
const allocation = mapOf(object({ owner: string(), resource: string() }));

const pools = object({
  requested: array(
    object({ pool: poolName, needed: object({ "ipv4-addrs": integer(), "ipv6-addrs": integer() }) }, [
      "pool",
    ]),
  ),
  allocated: array(
    object({ pool: poolName, allowFirstIP: boolean(), allowLastIP: boolean(), cidrs: array(prefix) }, [
      "pool",
    ]),
  ),
});

const ipamSpec = object({
  pool: allocation,
  "ipv6-pool": allocation,
  pools: doc("What this node wants from, and has of, address pools.", pools),
  podCIDRs: doc("Prefixes that the addresses of this node's pods come from.", array(prefix)),
  "min-allocate": count,
  "max-allocate": count,
  "pre-allocate": count,
  "max-above-watermark": count,
  "static-ip-tags": mapOf(string()),
});

const releases = mapOf(oneWordOf(["marked-for-release", "ready-for-release", "do-not-release", "released"]));

const ipamStatus = object({
  used: allocation,
  "ipv6-used": allocation,
  "pod-cidrs": mapOf(object({ status: oneWordOf(["released", "depleted", "in-use"]) })),
  "operator-status": doc("What the operator could not do.", object({ error: string() })),
  "release-ips": releases,
  "release-ipv6s": releases,
  "assigned-static-ip": string(),
});

const spec = object({
  "instance-id": string(),
  bootid: string(),
  addresses: doc(
    "Types InternalIP, ExternalIP, Hostname, CiliumInternalIP.",
    array(object({ type: string(), ip: string() })),
  ),
  health: doc("Addresses of the health endpoint.", addressPair),
  ingress: doc("Addresses of the ingress proxy.", addressPair),
  encryption,
  eni: anyObject(),
  azure: anyObject(),
  "alibaba-cloud": anyObject(),
  ipam: ipamSpec,
});

const status = object({
  eni: anyObject(),
  azure: anyObject(),
  "alibaba-cloud": anyObject(),
  ipam: ipamStatus,
});

export interface CiliumNodeSpec extends Infer<typeof spec> {}
export interface CiliumNodeStatus extends Infer<typeof status> {}

/** cilium.io/v2 CiliumNode: a node's addresses and its share of the pod addresses; named as the Node. */
export interface CiliumNode {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec: CiliumNodeSpec;
  status?: CiliumNodeStatus;
}

export const nodeCrd = crd({
  kind: "CiliumNode",
  plural: "ciliumnodes",
  shortNames: ["cn", "ciliumn"],
  scope: "Cluster",
  subresources: { status: {} },
  printerColumns: [
    {
      name: "CiliumInternalIP",
      type: "string",
      jsonPath: '.spec.addresses[?(@.type=="CiliumInternalIP")].ip',
    },
    { name: "InternalIP", type: "string", jsonPath: '.spec.addresses[?(@.type=="InternalIP")].ip' },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  schema: object({ metadata: { type: "object" }, spec, status }, ["metadata", "spec"]),
});
