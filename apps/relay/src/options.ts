import { logLevels, type OptionSet, type Values } from "@axoneme/app";

/** Every option of the relay. */
export const relayOptions = {
  nodeName: {
    default: "",
    doc: "name by which the relay speaks of itself in flows' streams; empty: the host name",
    liveness: "restart",
  },
  clusterName: { default: "default", doc: "name of the cluster, as the agents have it", liveness: "restart" },
  peerService: {
    default: "unix:///run/axoneme/hubble.sock",
    doc: "who names the nodes: an agent, by its socket or as host:port; kubernetes: the CiliumNodes of the API",
    liveness: "restart",
  },
  peerPort: {
    default: 4244,
    doc: "port of the nodes' flow listeners, when the API names the nodes",
    liveness: "restart",
    min: 1,
    max: 65535,
  },
  kubeconfig: {
    default: "",
    doc: "path of a kubeconfig, for CiliumNodes and Secrets; empty: in-cluster",
    liveness: "restart",
  },
  socketPath: {
    default: "/run/axoneme/relay.sock",
    doc: "UNIX socket that serves the flows of all nodes; empty: none",
    liveness: "restart",
  },
  listenAddress: {
    default: "",
    doc: "host:port that serves them too, as [::]:4245, with certificates on both sides; empty: UNIX socket only",
    liveness: "restart",
  },
  disableServerTls: {
    default: false,
    doc: "serve on listenAddress in plain text to whoever can reach it",
    liveness: "restart",
  },
  serverTlsCert: {
    default: "",
    doc: "PEM file of the listener's certificate, read again when it changes; empty: Secret hubble-relay-server-certs",
    liveness: "restart",
  },
  serverTlsKey: { default: "", doc: "PEM file of its key", liveness: "restart" },
  serverTlsClientCa: {
    default: "",
    doc: "PEM file of the CA that signs certificates of readers",
    liveness: "restart",
  },
  disableClientTls: {
    default: false,
    doc: "speak to nodes in plain text, without knowing who answers",
    liveness: "restart",
  },
  clientTlsCert: {
    default: "",
    doc: "PEM file of the certificate by which nodes know the relay, read again; empty: Secret hubble-relay-client-certs",
    liveness: "restart",
  },
  clientTlsKey: { default: "", doc: "PEM file of its key", liveness: "restart" },
  clientTlsCa: {
    default: "",
    doc: "PEM file of the CA that signs certificates of nodes",
    liveness: "restart",
  },
  tlsSecretNamespace: { default: "kube-system", doc: "namespace of these Secrets", liveness: "restart" },
  mergeWaitMs: {
    default: 250,
    doc: "how long a live flow waits for earlier ones of other nodes",
    liveness: "restart",
    min: 1,
    max: 10_000,
  },
  metricsAddress: {
    default: "",
    doc: "host:port of /healthz and /metrics; empty: none",
    liveness: "restart",
  },
  logLevel: { default: "info", doc: "least severe line logged", liveness: "restart", oneOf: logLevels },
} as const satisfies OptionSet;

/** The relay's checked configuration. */
export type RelayConfig = Values<typeof relayOptions>;
