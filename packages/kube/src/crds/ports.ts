import {
  array,
  doc,
  exactlyOneOf,
  type Infer,
  integer,
  intOrString,
  object,
  oneWordOf,
  string,
} from "./schema.ts";
import { dnsRule } from "./selector.ts";

/** Most entries of a list of ports or ICMP types: what the field's maps and validators are made for. */
const maxPorts = 40;

const portNumber = "0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})";
const portName = "([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*";

const protocols = ["TCP", "UDP", "SCTP", "VRRP", "IGMP", "GRE", "IPIP", "IPV6", "ESP", "AH", "ANY"] as const;

const portProtocol = object({
  port: doc(
    'A number, 0 to 65535 ("0": all), or a port\'s name.',
    string({ maxLength: 15, pattern: `^(${portNumber}|${portName})$` }),
  ),
  endPort: doc(
    "Last port of a range; not with a name.",
    integer({ format: "int32", minimum: 0, maximum: 65535 }),
  ),
  protocol: doc("Default ANY, which is TCP, UDP and SCTP.", oneWordOf(protocols)),
});

/** A port or a range of ports. */
export interface PortProtocol extends Infer<typeof portProtocol> {}

const secret = object({ namespace: string(), name: string() }, ["name"]);

const tlsContext = object(
  {
    secret: doc("The secret that holds certificates and keys.", secret),
    trustedCA: doc("Key in the secret; default ca.crt.", string()),
    certificate: doc("Key in the secret; default tls.crt.", string()),
    privateKey: doc("Key in the secret; default tls.key.", string()),
  },
  ["secret"],
);

const headerMatch = object(
  {
    mismatch: doc(
      "What to do when the value differs: default is to refuse the request.",
      oneWordOf(["LOG", "ADD", "DELETE", "REPLACE"]),
    ),
    name: string({ minLength: 1 }),
    secret: doc("A secret that holds the expected value.", secret),
    value: doc("The expected value.", string()),
  },
  ["name"],
);

const httpRule = object({
  path: doc("RE2 regular expression for the whole path.", string()),
  method: doc("RE2 regular expression for the whole method.", string()),
  host: doc("RE2 regular expression for the Host header.", string()),
  headers: doc('Headers that must be there: "Name: value" or "Name".', array(string())),
  headerMatches: array(headerMatch),
});

/** One HTTP request pattern; a request passes that matches any rule. */
export interface PortRuleHTTP extends Infer<typeof httpRule> {}

const l7Rules = object(
  {
    http: doc("Requests that may pass.", array(httpRule)),
    dns: doc("Names that may be asked for.", array(dnsRule)),
  },
  [],
  exactlyOneOf("http", "dns"),
);

/** Rules above the transport. */
export interface L7Rules extends Infer<typeof l7Rules> {}

const listener = object(
  {
    envoyConfig: object(
      {
        kind: oneWordOf(["CiliumEnvoyConfig", "CiliumClusterwideEnvoyConfig"]),
        name: string({ minLength: 1 }),
      },
      ["name"],
    ),
    name: string({ minLength: 1 }),
    priority: doc("1 is the highest.", integer({ minimum: 1, maximum: 100 })),
  },
  ["envoyConfig", "name"],
);

const ports = array(portProtocol, { maxItems: maxPorts });

export const portRule = object({
  ports: doc("Destination ports, at most 40.", ports),
  terminatingTLS: tlsContext,
  originatingTLS: tlsContext,
  serverNames: doc(
    "Server names (SNI) that may be asked for.",
    array(string({ minLength: 1, maxLength: 255, pattern: "^([-a-zA-Z0-9_*]+[.]?)+$" }), {
      minItems: 1,
      "x-kubernetes-list-type": "set",
    }),
  ),
  listener,
  rules: l7Rules,
});

/** Ports, and what may be said on them. */
export interface PortRule extends Infer<typeof portRule> {}

export const portDenyRule = object({ ports: doc("Destination ports, at most 40.", ports) });

/** Ports that are denied. */
export interface PortDenyRule extends Infer<typeof portDenyRule> {}

export const icmpRule = object({
  fields: array(
    object(
      {
        family: doc("Default IPv4.", oneWordOf(["IPv4", "IPv6"], { default: "IPv4" })),
        type: doc(
          "A number, 0 to 255, or a name such as EchoRequest.",
          intOrString({ pattern: "^([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]|[A-Z][a-zA-Z0-9]*)$" }),
        ),
      },
      ["type"],
    ),
    { maxItems: maxPorts },
  ),
});

/** ICMP types. */
export interface ICMPRule extends Infer<typeof icmpRule> {}
