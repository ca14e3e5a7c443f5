import type { OptionSet } from "@axoneme/app";

/** The agent's options that are about flows: what is kept, counted and served. */
export const hubbleOptions = {
  enableHubble: {
    default: true,
    doc: "serve flows over gRPC and count hubble_* metrics; false: axon monitor and axon why still see them",
    liveness: "restart",
  },
  flowBufferCapacity: {
    default: 65536,
    doc: "flow records kept in memory",
    key: "hubble-event-buffer-capacity",
    liveness: "restart",
    min: 1024,
    max: 4194304,
  },
  hubbleHistory: {
    default: "",
    doc: "size of the flow history on disk, as 10GiB; questions about the past reach as far back; empty: none",
    liveness: "restart",
  },
  hubbleHistoryDir: {
    default: "/var/lib/axoneme/history",
    doc: "directory of the flow history, of this agent alone",
    liveness: "restart",
  },
  hubbleRedactEnabled: {
    default: false,
    doc: "take secrets out of flows of layer 7 before they leave the agent, as the options below say",
    liveness: "restart",
  },
  hubbleRedactHttpUrlquery: {
    default: false,
    doc: "when redacting: URLs lose query and fragment",
    liveness: "restart",
  },
  hubbleRedactHttpUserinfo: {
    default: true,
    doc: "when redacting: passwords in URLs are taken out",
    liveness: "restart",
  },
  hubbleRedactHttpHeadersAllow: {
    default: [] as readonly string[],
    doc: "when redacting: HTTP headers whose values are kept; without a list of either kind none is",
    commas: true,
    liveness: "restart",
  },
  hubbleRedactHttpHeadersDeny: {
    default: [] as readonly string[],
    doc: "when redacting: HTTP headers whose values are taken out; without an allow list all others are kept",
    commas: true,
    liveness: "restart",
  },
  hubbleRedactKafkaApikey: {
    default: false,
    doc: "when redacting: API keys of Kafka are taken out",
    liveness: "restart",
  },
  hubbleProcesses: {
    default: "names",
    doc: "flows name the process that owns a local pod's socket: off, by names (binary, pid, container), or with the arguments too, which may hold secrets",
    liveness: "restart",
    oneOf: ["off", "names", "arguments"] as const,
  },
  hubbleMetrics: {
    default: ["flow", "drop", "tcp", "icmp", "port-distribution", "policy", "dns"] as readonly string[],
    doc: "hubble_* metrics, each name[:option;...], as flow:sourceContext=workload-name|reserved-identity;labelsContext=source_namespace",
    commas: true,
    liveness: "restart",
  },
  hubbleDynamicMetricsConfigPath: {
    default: "",
    doc: "YAML file of hubble_* metrics (metrics: name, contextOptions, includeFilters, excludeFilters) in place of hubbleMetrics; a change of it is taken up within seconds",
    liveness: "restart",
  },
  hubbleMetricsSeriesMax: {
    default: 4096,
    doc: "series of one hubble_* metric at most; the rest is counted together as other",
    liveness: "restart",
    min: 16,
    max: 1_000_000,
  },
  hubbleExportFilePath: {
    default: "",
    doc: "file, or stdout, to which flows are written as lines of JSON, or otlp+http(s)://host:4318/v1/logs; empty: none",
    liveness: "restart",
  },
  hubbleExportFileMaxSizeMb: {
    default: 10,
    doc: "MiB at which that file is rotated",
    liveness: "restart",
    min: 1,
    max: 1_000_000,
  },
  hubbleExportFileMaxBackups: {
    default: 5,
    doc: "rotated files kept; 0: none",
    liveness: "restart",
    min: 0,
    max: 1_000_000,
  },
  hubbleExportFileCompress: { default: false, doc: "gzip rotated files", liveness: "restart" },
  hubbleExportAllowlist: {
    default: [] as readonly string[],
    doc: 'FlowFilters in JSON, as {"verdict":["DROPPED"]}: flows that match one are written; empty: all',
    commas: true,
    liveness: "restart",
  },
  hubbleExportDenylist: {
    default: [] as readonly string[],
    doc: "FlowFilters in JSON: flows that match one are not written",
    commas: true,
    liveness: "restart",
  },
  hubbleExportFieldmask: {
    default: [] as readonly string[],
    doc: "fields of a flow that are written, as source.pod_name; empty: all",
    liveness: "restart",
  },
  hubbleFlowlogsConfigPath: {
    default: "",
    doc: "YAML file with more such logs (flowLogs); a change of it is taken up within seconds",
    liveness: "restart",
  },
  hubbleSocketPath: {
    default: "",
    doc: "UNIX socket that serves flows over gRPC; empty: hubble.sock in runDir",
    liveness: "restart",
  },
  hubbleListenAddress: {
    default: "",
    doc: "host:port that serves flows to relays, as [::]:4244, with certificates on both sides; empty: UNIX socket only",
    liveness: "restart",
  },
  hubbleDisableTls: {
    default: false,
    doc: "serve flows on hubbleListenAddress in plain text to whoever can reach it",
    liveness: "restart",
  },
  hubbleTlsCert: {
    default: "",
    doc: "PEM file of this node's certificate for flows, read again when it changes; empty: the Secret the operator makes",
    key: "hubble-tls-cert-file",
    liveness: "restart",
  },
  hubbleTlsKey: { default: "", doc: "PEM file of its key", key: "hubble-tls-key-file", liveness: "restart" },
  hubbleTlsClientCa: {
    default: "",
    doc: "PEM file of the CA that signs certificates of readers",
    key: "hubble-tls-client-ca-files",
    liveness: "restart",
  },
  hubbleTlsSecretNamespace: {
    default: "kube-system",
    doc: "namespace of the Secret with this node's certificate (hubble-server-certs.NODE)",
    liveness: "restart",
  },
} as const satisfies OptionSet;
