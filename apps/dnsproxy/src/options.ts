import { logLevels, type OptionSet, type Values } from "@axoneme/app";

/** Every option of the DNS proxy. The agent writes them to a file; a proxy in a container of its own has its own. */
export const proxyOptions = {
  runDir: {
    default: "/run/axoneme",
    doc: "directory of the proxy's sockets and of the rules it keeps, shared with the agent",
    liveness: "restart",
  },
  bpffs: {
    default: "/sys/fs/bpf/axoneme/maps",
    doc: "directory of the datapath's pinned maps",
    liveness: "restart",
  },
  addresses: {
    default: ["169.254.42.2", "fd00:6178:6f6e::2"] as readonly string[],
    doc: "where the datapath sends queries to: addresses of this node's loopback device",
    liveness: "restart",
  },
  port: {
    default: 10_053,
    doc: "the first of the four ports that queries come to",
    liveness: "restart",
    min: 1,
    max: 65_531,
  },
  upstreamSockets: {
    default: 64,
    doc: "UDP sockets on ports of the kernel's choice that queries leave from, for each family; replaced one by one",
    liveness: "restart",
    min: 1,
    max: 4096,
  },
  transparent: {
    default: "auto",
    doc: "ask servers in the name of the pod, so that policies on their side are about it; off: as the node",
    liveness: "restart",
    oneOf: ["auto", "off"] as const,
  },
  metricsAddress: {
    default: "",
    doc: "host:port of /metrics; empty: UNIX socket only (dns-metrics.sock in runDir)",
    liveness: "restart",
  },
  logLevel: { default: "info", doc: "least severe line logged", liveness: "restart", oneOf: logLevels },
} as const satisfies OptionSet;

/** The proxy's checked configuration. */
export type ProxyConfig = Values<typeof proxyOptions>;
