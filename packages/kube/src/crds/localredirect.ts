import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { crd } from "./manifest.ts";
import {
  array,
  boolean,
  doc,
  exactlyOneOf,
  type Infer,
  immutable,
  object,
  oneWordOf,
  string,
} from "./schema.ts";
import { address, labelSelector } from "./selector.ts";

/** As many as a policy's list of ports may have. */
const maxPorts = 40;

const port = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

const portInfo = object(
  {
    port: doc("A number, 1 to 65535.", string({ maxLength: 5, pattern: `^${port}$` })),
    protocol: oneWordOf(["TCP", "UDP"]),
    name: doc(
      "Pairs a port of the frontend with one of the backend; needed where there are several.",
      string({ maxLength: 63, pattern: "^([0-9]{1,4}|([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*)$" }),
    ),
  },
  ["port", "protocol"],
);

/** A port of a redirect's frontend or backend. */
export interface RedirectPort extends Infer<typeof portInfo> {}

const ports = array(portInfo, { maxItems: maxPorts });
const somePorts = array(portInfo, { minItems: 1, maxItems: maxPorts });

const objectName = string({
  minLength: 1,
  maxLength: 253,
  pattern: "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
});

const frontend = object(
  {
    addressMatcher: doc(
      "An address that is no Service's.",
      object({ ip: address, toPorts: somePorts }, ["ip", "toPorts"]),
    ),
    serviceMatcher: doc(
      "A Service of type ClusterIP in the policy's namespace.",
      object(
        { serviceName: objectName, namespace: objectName, toPorts: doc("Absent: all its ports.", ports) },
        ["serviceName", "namespace"],
      ),
    ),
  },
  [],
  { ...exactlyOneOf("addressMatcher", "serviceMatcher"), ...immutable("redirectFrontend") },
);

const backend = object(
  {
    localEndpointSelector: doc("Pods of the policy's namespace on the client's node.", labelSelector),
    toPorts: somePorts,
  },
  ["localEndpointSelector", "toPorts"],
  immutable("redirectBackend"),
);

const spec = object(
  {
    redirectFrontend: doc("What is redirected.", frontend),
    redirectBackend: doc("Where to.", backend),
    skipRedirectFromBackend: doc(
      "Traffic of the backend pods to the frontend goes its usual way.",
      boolean({ default: false, ...immutable("skipRedirectFromBackend") }),
    ),
    description: string(),
  },
  ["redirectFrontend", "redirectBackend"],
);

const status = object({ ok: boolean() });

export interface LocalRedirectPolicySpec extends Infer<typeof spec> {}

/** cilium.io/v2 CiliumLocalRedirectPolicy: traffic to an address or a Service goes to pods of the client's node. */
export interface CiliumLocalRedirectPolicy {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec?: LocalRedirectPolicySpec;
  status?: Infer<typeof status>;
}

export const localRedirectPolicyCrd = crd({
  kind: "CiliumLocalRedirectPolicy",
  plural: "ciliumlocalredirectpolicies",
  shortNames: ["clrp"],
  scope: "Namespaced",
  categories: ["cilium", "ciliumpolicy"],
  subresources: { status: {} },
  printerColumns: [
    { name: "Service", type: "string", jsonPath: ".spec.redirectFrontend.serviceMatcher.serviceName" },
    { name: "Address", type: "string", jsonPath: ".spec.redirectFrontend.addressMatcher.ip" },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  schema: object({ metadata: { type: "object" }, spec, status }, ["metadata"]),
});
