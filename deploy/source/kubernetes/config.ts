import { all, asText, choose, Entries, type Node, namespace, not, text, value, when } from "./marks.ts";
import { inNamespace, labelsOf, names, secretsNamespace } from "./names.ts";
import { configEntries } from "./value-tree.ts";
import { valueTree } from "./values.ts";

/** Where parts of the node are in the agent's container. */
export const inContainer = {
  config: "/etc/axoneme/config",
  cgroup: "/host/sys/fs/cgroup",
  procSys: "/host/proc/sys",
  cniConf: "/host/etc/cni/net.d",
  cniBin: "/host/opt/cni/bin",
  relaySocket: "/run/hubble/relay.sock",
} as const;

const logLevel = choose(value("debug.enabled"), "debug", "info");
const plainText = asText(not(value("hubble.tls.enabled")));

function configMap(name: string, part: string, data: { readonly [key: string]: Node | Entries }): Node {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: inNamespace(name, labelsOf(part)), data };
}

export const agentConfig = configMap(names.agentConfig, names.agent, {
  ...configEntries(valueTree, "agent"),
  "log-level": logLevel,
  "agent-health-port": asText(value("healthPort")),
  "cgroup-root": inContainer.cgroup,
  "cni-conf-dir": choose(value("cni.install"), inContainer.cniConf, ""),
  "cni-bin-dir": choose(value("cni.install"), inContainer.cniBin, ""),
  "dns-proxy": choose(value("dnsProxy.enabled"), "external", "off"),
  "lease-namespace": namespace,
  "hubble-tls-secret-namespace": secretsNamespace,
  "hubble-disable-tls": plainText,
  "hubble-listen-address": when(value("hubble.enabled"), value("hubble.listenAddress")),
  "prometheus-serve-addr": when(value("prometheus.enabled"), text(":", value("prometheus.port"))),
  extraConfig: new Entries("extraConfig"),
});

export const operatorConfig = configMap(names.operatorConfig, names.operator, {
  ...configEntries(valueTree, "operator"),
  "log-level": logLevel,
  "lease-namespace": namespace,
  "operator-prometheus-serve-addr": text(
    choose(value("operator.prometheus.enabled"), "", "127.0.0.1"),
    ":",
    value("operator.prometheus.port"),
  ),
  "agent-not-ready-taint-key": value("agentNotReadyTaintKey"),
  "agent-pod-namespace": namespace,
  "hubble-certificates": asText(
    all(value("hubble.enabled"), value("hubble.tls.enabled"), value("hubble.tls.auto.enabled")),
  ),
  "hubble-certificates-namespace": secretsNamespace,
  "hubble-ca-namespace": namespace,
  extraConfig: new Entries("operator.extraConfig"),
});

export const relayConfig = when(
  all(value("hubble.enabled"), value("hubble.relay.enabled")),
  configMap(names.relayConfig, names.relay, {
    ...configEntries(valueTree, "relay"),
    "log-level": logLevel,
    "peer-service": "kubernetes",
    "socket-path": inContainer.relaySocket,
    "listen-address": text(":", value("hubble.relay.listenPort")),
    "metrics-address": text(":", value("hubble.relay.prometheus.port")),
    "disable-server-tls": plainText,
    "disable-client-tls": plainText,
    "tls-secret-namespace": secretsNamespace,
    extraConfig: new Entries("hubble.relay.extraConfig"),
  }),
);
