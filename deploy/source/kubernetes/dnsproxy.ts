import { type Node, value, when } from "./marks.ts";
import { command, container, inNamespace, labelsOf, names, placement } from "./names.ts";
import { configEntries } from "./value-tree.ts";
import { valueTree } from "./values.ts";

/** What the DNS proxy does as root, and the capability for it. */
export const proxyCapabilities = [
  "BPF", // the datapath's maps: who asked, and whom
  "NET_ADMIN", // mark packets: servers see the pod
] as const;

/**
 * The DNS proxy stands beside the agents, in pods of its own: names go on being resolved while agents are replaced.
 * A new one takes the sockets over from the old one, so that no query is lost: both have to run for a moment.
 */
export const dnsproxy = when(value("dnsProxy.enabled"), {
  apiVersion: "apps/v1",
  kind: "DaemonSet",
  metadata: inNamespace(names.dnsproxy),
  spec: {
    selector: { matchLabels: { "k8s-app": names.dnsproxy } },
    updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    template: {
      metadata: { labels: labelsOf(names.dnsproxy) },
      spec: {
        automountServiceAccountToken: false,
        hostNetwork: true,
        dnsPolicy: "Default",
        ...placement(),
        imagePullSecrets: value("imagePullSecrets"),
        // It answers for those that asked before it was told to go.
        terminationGracePeriodSeconds: 15,
        securityContext: { appArmorProfile: { type: "Unconfined" } },
        containers: [
          {
            name: "dnsproxy",
            ...container,
            command: command("dnsproxy"),
            args: Object.entries(configEntries(valueTree, "dnsproxy")).flatMap(([key, of]) => [
              `--${key}`,
              of,
            ]),
            resources: value("dnsProxy.resources"),
            securityContext: {
              privileged: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ["ALL"], add: proxyCapabilities },
              seLinuxOptions: { level: "s0", type: "spc_t" },
            },
            volumeMounts: [
              { name: "run", mountPath: "/run/axoneme" },
              { name: "bpf", mountPath: "/sys/fs/bpf", mountPropagation: "HostToContainer" },
            ],
          },
        ],
        volumes: [
          { name: "run", hostPath: { path: "/run/axoneme", type: "DirectoryOrCreate" } },
          { name: "bpf", hostPath: { path: "/sys/fs/bpf", type: "DirectoryOrCreate" } },
        ],
      },
    },
  },
} satisfies Node);
