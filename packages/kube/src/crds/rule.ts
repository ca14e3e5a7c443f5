import { icmpRule, portDenyRule, portRule } from "./ports.ts";
import {
  array,
  atLeastOneOf,
  boolean,
  doc,
  exactlyOneOf,
  type Infer,
  mapOf,
  object,
  oneWordOf,
  string,
} from "./schema.ts";
import { addressOrPrefix, cidrRule, fqdnSelector, labelSelector } from "./selector.ts";

export const entities = [
  "all",
  "world",
  "cluster",
  "cluster-mesh",
  "host",
  "init",
  "ingress",
  "unmanaged",
  "remote-node",
  "health",
  "none",
  "kube-apiserver",
] as const;

/** A name of an entity, as policies may use it. */
export type EntityName = (typeof entities)[number];

const groups = array(
  object({
    aws: object({
      labels: mapOf(string()),
      securityGroupsIds: array(string()),
      securityGroupsNames: array(string()),
      region: string(),
    }),
  }),
);

const authentication = object({ mode: oneWordOf(["disabled", "required", "test-always-fail"]) }, ["mode"]);

const service = object({
  k8sServiceSelector: object({ selector: labelSelector, namespace: string() }, ["selector"]),
  k8sService: object({ serviceName: string(), namespace: string() }),
});

// The peer families carry the direction in their names; what they hold is the same.
const peers = {
  endpoints: doc("Pods by their labels.", array(labelSelector)),
  requires: doc("What pods must fulfil besides, whatever lets them in.", array(labelSelector)),
  cidr: doc("Addresses and prefixes outside of the cluster.", array(addressOrPrefix)),
  cidrSet: doc("Prefixes with exceptions, or groups of prefixes.", array(cidrRule)),
  entities: doc("Well-known peers.", array(oneWordOf(entities))),
  groups: doc("Groups of a cloud provider.", groups),
  nodes: doc("Nodes by their labels.", array(labelSelector)),
};

const from = {
  fromEndpoints: peers.endpoints,
  fromRequires: peers.requires,
  fromCIDR: peers.cidr,
  fromCIDRSet: peers.cidrSet,
  fromEntities: peers.entities,
  fromGroups: peers.groups,
  fromNodes: peers.nodes,
};

const to = {
  toEndpoints: peers.endpoints,
  toRequires: peers.requires,
  toCIDR: peers.cidr,
  toCIDRSet: peers.cidrSet,
  toEntities: peers.entities,
  toServices: doc("Kubernetes services.", array(service)),
  toGroups: peers.groups,
  toNodes: peers.nodes,
};

const icmps = doc("ICMP types; not together with toPorts.", array(icmpRule));
const allowPorts = doc("Destination ports; absent: all.", array(portRule));
const denyPorts = doc("Destination ports; absent: all.", array(portDenyRule));

const ingressRule = object({ ...from, toPorts: allowPorts, icmps, authentication });
const ingressDenyRule = object({ ...from, toPorts: denyPorts, icmps });
const egressRule = object({
  ...to,
  toFQDNs: doc("DNS names, resolved through the DNS proxy.", array(fqdnSelector)),
  toPorts: allowPorts,
  icmps,
  authentication,
});
const egressDenyRule = object({ ...to, toPorts: denyPorts, icmps });

export interface IngressRule extends Infer<typeof ingressRule> {}
export interface IngressDenyRule extends Infer<typeof ingressDenyRule> {}
export interface EgressRule extends Infer<typeof egressRule> {}
export interface EgressDenyRule extends Infer<typeof egressDenyRule> {}

const label = object({ key: string(), value: string(), source: string() }, ["key"]);

/** One rule: `spec`, or an entry of `specs`. */
export const rule = object(
  {
    endpointSelector: doc("The pods this rule is for; {} means all.", labelSelector),
    nodeSelector: doc("The nodes this rule is for (host policy; cluster-wide policies only).", labelSelector),
    ingress: doc("What may come in.", array(ingressRule)),
    ingressDeny: doc("What may not come in, whatever allows it.", array(ingressDenyRule)),
    egress: doc("What may go out.", array(egressRule)),
    egressDeny: doc("What may not go out, whatever allows it.", array(egressDenyRule)),
    labels: doc("Labels of the rule itself.", array(label)),
    enableDefaultDeny: doc(
      "Per direction: whether what no rule allows is denied. Default: true where the rule has entries.",
      object({ ingress: boolean(), egress: boolean() }),
    ),
    description: string(),
    log: doc(
      "Copied into flows.",
      object({ value: string({ maxLength: 32, pattern: "^[^\\x00-\\x1f\\x7f-\\x9f]*$" }) }),
    ),
  },
  [],
  {
    ...exactlyOneOf("endpointSelector", "nodeSelector"),
    ...atLeastOneOf("ingress", "ingressDeny", "egress", "egressDeny"),
  },
);

/** One policy rule: whom it is for, what it allows and denies. */
export interface Rule extends Infer<typeof rule> {}
