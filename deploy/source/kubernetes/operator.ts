import { type Node, value, when } from "./marks.ts";
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

const selector = { matchLabels: { "k8s-app": names.operator } };
const healthz = { path: "/healthz", port: value("operator.prometheus.port"), host: "127.0.0.1" };

/** It is there before there is a network for pods: it makes the addresses that agents wait for. */
export const operator: Node = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: inNamespace(names.operator),
  spec: {
    replicas: value("operator.replicas"),
    selector,
    // Their port is the node's: an old one has to go before a new one can come where there are few nodes.
    strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: "25%", maxUnavailable: "50%" } },
    template: {
      metadata: { labels: labelsOf(names.operator), annotations: restartsWithValues },
      spec: {
        serviceAccountName: names.operator,
        hostNetwork: true,
        dnsPolicy: "Default",
        ...placement("operator."),
        imagePullSecrets: value("imagePullSecrets"),
        affinity: {
          podAntiAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [
              { labelSelector: selector, topologyKey: "kubernetes.io/hostname" },
            ],
          },
        },
        containers: [
          {
            name: "operator",
            ...container,
            command: [...command("operator"), "--config-dir=/etc/axoneme/config"],
            env: [{ name: "NODE_ENV", value: "production" }, ...apiServer],
            resources: value("operator.resources"),
            livenessProbe: {
              httpGet: healthz,
              initialDelaySeconds: 10,
              periodSeconds: 20,
              timeoutSeconds: 5,
            },
            readinessProbe: { httpGet: healthz, periodSeconds: 5, timeoutSeconds: 5 },
            securityContext: unprivileged,
            volumeMounts: [{ name: "config", mountPath: "/etc/axoneme/config", readOnly: true }],
          },
        ],
        volumes: [{ name: "config", configMap: { name: names.operatorConfig } }],
      },
    },
  },
};

export const operatorBudget = when(value("operator.podDisruptionBudget.enabled"), {
  apiVersion: "policy/v1",
  kind: "PodDisruptionBudget",
  metadata: inNamespace(names.operator),
  spec: { maxUnavailable: 1, selector },
} satisfies Node);
