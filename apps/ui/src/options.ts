import { logLevels, type OptionSet, type Values } from "@axoneme/app";

/** Every option of the page's server. */
export const uiOptions = {
  servers: {
    default: [] as readonly string[],
    doc: "relays or agents to read flows from: unix:///path, host:port, tls://host:port; at least one",
    liveness: "restart",
    key: "server",
  },
  agents: {
    default: [] as readonly string[],
    doc: "agents' UNIX sockets to read policies from, for the question why",
    liveness: "restart",
    key: "agent",
  },
  listen: {
    default: "127.0.0.1:12000",
    doc: "host:port where the page is served; port 0: any that is free. There is no login: what is reachable from elsewhere belongs behind a proxy that has one",
    liveness: "restart",
  },
  hostNames: {
    default: [] as readonly string[],
    doc: "names under which browsers may ask for it besides localhost and that of listen",
    liveness: "restart",
    key: "host-name",
  },
  tlsCa: {
    default: "",
    doc: "PEM file of the CA that signed the servers' certificates",
    liveness: "restart",
  },
  tlsCert: {
    default: "",
    doc: "PEM file of the certificate that is shown to them",
    liveness: "restart",
  },
  tlsKey: { default: "", doc: "PEM file of its key", liveness: "restart" },
  tlsServerName: {
    default: "",
    doc: "name in the servers' certificates; empty: the host",
    liveness: "restart",
  },
  logLevel: { default: "warn", doc: "least severe line logged", liveness: "restart", oneOf: logLevels },
} as const satisfies OptionSet;

/** The page's server's checked configuration. */
export type UiConfig = Values<typeof uiOptions>;
