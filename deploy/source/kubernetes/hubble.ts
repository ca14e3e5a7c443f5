import { inContainer } from "./config.ts";
import { all, asJson, choose, isEmpty, Marked, type Node, text, value, when } from "./marks.ts";
import {
  apiServer,
  command,
  container,
  inNamespace,
  labelsOf,
  names,
  placement,
  restartsWithValues,
  unprivileged,
} from "./names.ts";

const hasRelay = all(value("hubble.enabled"), value("hubble.relay.enabled"));
const hasPage = all(value("hubble.enabled"), value("hubble.relay.enabled"), value("hubble.ui.enabled"));
const selector = { "k8s-app": names.relay };
const pagePort = 8081;

/** Who wants the page at a name of its own has to let it be reached; else only a port-forward gets there. */
const isExposed = new Marked(
  "not (empty .Values.hubble.ui.hostNames)",
  (scope) => !isEmpty(value("hubble.ui.hostNames").of(scope)),
);

const relayContainer: Node = {
  name: "relay",
  ...container,
  command: [...command("relay"), "--config-dir=/etc/axoneme/config"],
  env: [{ name: "NODE_ENV", value: "production" }, ...apiServer],
  ports: [{ name: "grpc", containerPort: value("hubble.relay.listenPort") }],
  resources: value("hubble.relay.resources"),
  startupProbe: { ...alive(), periodSeconds: 2, failureThreshold: 60 },
  livenessProbe: { ...alive(), periodSeconds: 20 },
  readinessProbe: {
    httpGet: { path: "/healthz", port: value("hubble.relay.prometheus.port") },
    periodSeconds: 5,
    timeoutSeconds: 5,
  },
  securityContext: unprivileged,
  volumeMounts: [
    { name: "config", mountPath: "/etc/axoneme/config", readOnly: true },
    { name: "socket", mountPath: "/run/hubble" },
  ],
};

/** A relay that reaches no node is no use to readers, and would not be if it were started again. */
function alive(): { readonly [key: string]: Node } {
  return { tcpSocket: { port: value("hubble.relay.prometheus.port") }, timeoutSeconds: 5 };
}

/** The page reads the relay's flows by its socket: it needs no certificate and has no network of its own to guard. */
const pageContainer: Node = {
  name: "page",
  ...container,
  command: [
    ...command("ui"),
    `--server=unix://${inContainer.relaySocket}`,
    text("--listen=", choose(isExposed, "0.0.0.0", "127.0.0.1"), `:${pagePort}`),
    text("--host-name=", asJson(value("hubble.ui.hostNames"))),
  ],
  ports: [{ name: "http", containerPort: pagePort }],
  resources: value("hubble.ui.resources"),
  securityContext: unprivileged,
  volumeMounts: [{ name: "socket", mountPath: "/run/hubble" }],
};

export const relay = when(hasRelay, {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: inNamespace(names.relay),
  spec: {
    replicas: value("hubble.relay.replicas"),
    selector: { matchLabels: selector },
    template: {
      metadata: { labels: labelsOf(names.relay), annotations: restartsWithValues },
      spec: {
        serviceAccountName: names.relay,
        ...placement("hubble.relay."),
        imagePullSecrets: value("imagePullSecrets"),
        containers: [relayContainer, when(value("hubble.ui.enabled"), pageContainer)],
        volumes: [
          { name: "config", configMap: { name: names.relayConfig } },
          { name: "socket", emptyDir: {} },
        ],
      },
    },
  },
} satisfies Node);

const service = (name: string, port: Node, targetPort: string): Node => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: inNamespace(name),
  spec: { type: "ClusterIP", selector, ports: [{ name: targetPort, port, targetPort, protocol: "TCP" }] },
});

/** As the field's: clients of flows know the Service by its name and port. */
export const relayService = when(hasRelay, service(names.relay, choosePort(), "grpc"));

/** 443 with TLS, 80 without. */
function choosePort(): Node {
  return new Marked("ternary 443 80 .Values.hubble.tls.enabled", (scope) =>
    value("hubble.tls.enabled").of(scope) === true ? 443 : 80,
  );
}

export const pageService = when(hasPage, service(names.ui, 80, "http"));
