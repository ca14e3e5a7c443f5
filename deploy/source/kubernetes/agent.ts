import { inContainer } from "./config.ts";
import { type Node, value, when } from "./marks.ts";
import {
  apiServer,
  command,
  container,
  fromField,
  inNamespace,
  labelsOf,
  names,
  placement,
} from "./names.ts";

/**
 * What the agent does as root, and the capability for it; a test runs agents with these and no others.
 * Everything else of root is dropped, and the container is not privileged.
 */
export const agentCapabilities = [
  "NET_ADMIN", // links, addresses, routes, sysctls; programs on devices
  "NET_RAW", // announcements of addresses by ARP and neighbour discovery
  "SYS_ADMIN", // enter the namespaces of pods; load programs (it includes BPF and PERFMON)
] as const;

/** SELinux hosts keep ordinary containers from the node's files. */
const seLinuxOptions = { level: "s0", type: "spc_t" };

const hostPath = (name: string, path: Node, type: string): Node => ({ name, hostPath: { path, type } });
/** Mounts that the node makes later are seen in the container too. */
const later = { mountPropagation: "HostToContainer" };

const env: readonly Node[] = [
  fromField("NODE_NAME", "spec.nodeName"),
  fromField("NAMESPACE", "metadata.namespace"),
  { name: "AXON_PROC_SYS", value: inContainer.procSys },
  ...apiServer,
];

const startArguments = [
  ...command("agent"),
  `--config-dir=${inContainer.config}`,
  "--node-name=$(NODE_NAME)",
  "--config-namespace=$(NAMESPACE)",
  `--config-map=${names.agentConfig}`,
];

const probe = (path: string): { readonly [key: string]: Node } => ({
  httpGet: { host: "127.0.0.1", path, port: value("healthPort"), scheme: "HTTP" },
  timeoutSeconds: 5,
});

const mounts: readonly Node[] = [
  { name: "config", mountPath: inContainer.config, readOnly: true },
  { name: "run", mountPath: "/run/axoneme" },
  { name: "bpf", mountPath: "/sys/fs/bpf", ...later },
  { name: "cgroup", mountPath: inContainer.cgroup },
  { name: "netns", mountPath: "/run/netns", ...later },
  { name: "proc-sys-net", mountPath: `${inContainer.procSys}/net` },
  { name: "tmp", mountPath: "/tmp" },
  when(value("cni.install"), { name: "cni-conf", mountPath: inContainer.cniConf }),
  when(value("cni.install"), { name: "cni-bin", mountPath: inContainer.cniBin }),
];

/** Volumes of the node; the cleaning up after an uninstall has them too. */
export const nodeVolumes: readonly Node[] = [
  hostPath("run", "/run/axoneme", "DirectoryOrCreate"),
  hostPath("bpf", "/sys/fs/bpf", "DirectoryOrCreate"),
  hostPath("cgroup", "/sys/fs/cgroup", "Directory"),
  hostPath("netns", "/run/netns", "DirectoryOrCreate"),
  hostPath("proc-sys-net", "/proc/sys/net", "Directory"),
  { name: "tmp", emptyDir: {} },
  when(value("cni.install"), hostPath("cni-conf", value("cni.confPath"), "DirectoryOrCreate")),
  when(value("cni.install"), hostPath("cni-bin", value("cni.binPath"), "DirectoryOrCreate")),
];

/** A bpffs that a container mounts is the node's only from a privileged one; where there is one, nothing is done. */
export const mountBpffs: Node = {
  name: "mount-bpffs",
  ...container,
  command: [...command("agent"), "--prepare-node"],
  securityContext: { privileged: true },
  volumeMounts: [{ name: "bpf", mountPath: "/sys/fs/bpf", mountPropagation: "Bidirectional" }],
};

export const agent: Node = {
  apiVersion: "apps/v1",
  kind: "DaemonSet",
  metadata: inNamespace(names.agent),
  spec: {
    selector: { matchLabels: { "k8s-app": names.agent } },
    updateStrategy: value("updateStrategy"),
    template: {
      metadata: { labels: labelsOf(names.agent), annotations: value("podAnnotations") },
      spec: {
        serviceAccountName: names.agent,
        hostNetwork: true,
        // which of the processes that flows name still run
        hostPID: true,
        dnsPolicy: "Default",
        ...placement(),
        imagePullSecrets: value("imagePullSecrets"),
        terminationGracePeriodSeconds: value("terminationGracePeriodSeconds"),
        securityContext: { appArmorProfile: { type: "Unconfined" } },
        initContainers: [mountBpffs],
        containers: [
          {
            name: "agent",
            ...container,
            command: startArguments,
            env,
            resources: value("resources"),
            // What takes long is the first verification of the programs on a slow machine.
            startupProbe: { ...probe("/healthz"), periodSeconds: 2, failureThreshold: 150 },
            livenessProbe: { ...probe("/healthz"), periodSeconds: 30, failureThreshold: 10 },
            // Ready is who can serve pods: the operator then lets them onto the node.
            readinessProbe: { ...probe("/readyz"), periodSeconds: 5, failureThreshold: 3 },
            lifecycle: when(value("cni.uninstall"), {
              preStop: {
                exec: {
                  command: [...command("agent"), `--config-dir=${inContainer.config}`, "--remove-cni"],
                },
              },
            }),
            securityContext: {
              privileged: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ["ALL"], add: agentCapabilities },
              seLinuxOptions,
            },
            volumeMounts: mounts,
          },
        ],
        volumes: [{ name: "config", configMap: { name: names.agentConfig } }, ...nodeVolumes],
      },
    },
  },
};

/** What is left of us on a node, taken away: runs on each node during an uninstall, outside of charts. */
export const cleanUp: Node = {
  apiVersion: "apps/v1",
  kind: "DaemonSet",
  metadata: inNamespace(`${names.agent}-cleanup`),
  spec: {
    selector: { matchLabels: { "k8s-app": `${names.agent}-cleanup` } },
    template: {
      metadata: { labels: labelsOf(`${names.agent}-cleanup`) },
      spec: {
        automountServiceAccountToken: false,
        hostNetwork: true,
        ...placement(),
        imagePullSecrets: value("imagePullSecrets"),
        initContainers: [
          {
            name: "clean-up",
            ...container,
            command: [
              ...command("agent"),
              "--remove-node",
              `--cni-conf-dir=${inContainer.cniConf}`,
              `--cni-bin-dir=${inContainer.cniBin}`,
            ],
            securityContext: { privileged: true },
            volumeMounts: [
              { name: "run", mountPath: "/run/axoneme" },
              { name: "bpf", mountPath: "/sys/fs/bpf" },
              { name: "cni-conf", mountPath: inContainer.cniConf },
              { name: "cni-bin", mountPath: inContainer.cniBin },
            ],
          },
        ],
        containers: [
          {
            name: "done",
            ...container,
            command: ["node", "-e", "setInterval(() => {}, 1e9)"],
            securityContext: { runAsNonRoot: true, runAsUser: 65532, capabilities: { drop: ["ALL"] } },
          },
        ],
        volumes: [
          hostPath("run", "/run/axoneme", "DirectoryOrCreate"),
          hostPath("bpf", "/sys/fs/bpf", "DirectoryOrCreate"),
          hostPath("cni-conf", value("cni.confPath"), "DirectoryOrCreate"),
          hostPath("cni-bin", value("cni.binPath"), "DirectoryOrCreate"),
        ],
      },
    },
  },
};

/** Namespace of the Secrets that agents read. */
export function secretsNamespaceObject(name: string): Node {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels: { ...labelsOf(names.agent) } } };
}
