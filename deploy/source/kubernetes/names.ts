import { appVersion, digest, either, Marked, type Node, namespace, text, value, when } from "./marks.ts";

/** What everything of ours carries. */
export const partOf = { "app.kubernetes.io/part-of": "axoneme" };
/** Namespace of the certificates that agents and relays read; apart from the CA's key and from other people's Secrets. */
export const secretsNamespace = "axoneme-secrets";

export const names = {
  agent: "axoneme",
  agentConfig: "axoneme-config",
  operator: "axoneme-operator",
  operatorConfig: "axoneme-operator-config",
  dnsproxy: "axoneme-dnsproxy",
  relay: "hubble-relay",
  relayConfig: "hubble-relay-config",
  ui: "hubble-ui",
} as const;

/** Labels of a part; `k8s-app` selects its pods. */
export function labelsOf(name: string): { "k8s-app": string } & typeof partOf {
  return { "k8s-app": name, ...partOf };
}

/** Where the programs are in the image. */
export function command(program: string): readonly string[] {
  return ["node", `/usr/lib/axoneme/dist/${program}.mjs`];
}

/** The image, by its digest where there is one. */
export const image = text(
  value("image.repository"),
  new Marked(
    'ternary (printf ":%v" (.Values.image.tag | default .Chart.AppVersion)) (printf "@%v" .Values.image.digest) (empty .Values.image.digest)',
    (scope) => {
      const digest = value("image.digest").of(scope);
      return digest === "" ? `:${either(value("image.tag"), appVersion).of(scope)}` : `@${digest}`;
    },
  ),
);

/** What every container of ours starts from. */
export const container = { image, imagePullPolicy: value("image.pullPolicy") } as const;

/** Who is asked for the API where its Service is not served yet. */
export const apiServer: readonly Node[] = [
  when(value("k8sServiceHost"), {
    name: "KUBERNETES_SERVICE_HOST",
    value: value("k8sServiceHost"),
  }),
  when(value("k8sServicePort"), {
    name: "KUBERNETES_SERVICE_PORT",
    value: new Marked(".Values.k8sServicePort | toString", (scope) =>
      String(value("k8sServicePort").of(scope)),
    ),
  }),
];

/** A variable that Kubernetes fills from the pod. */
export function fromField(name: string, fieldPath: string): Node {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}

/** Programs that read their options once are replaced when values change; agents are not: they tell what waits. */
export const restartsWithValues = { "axoneme.io/values": digest };

/** Where a part's pods run, by its values. */
export function placement(prefix = ""): { readonly [key: string]: Node } {
  return {
    nodeSelector: value(`${prefix}nodeSelector`),
    tolerations: value(`${prefix}tolerations`),
    priorityClassName: value(`${prefix}priorityClassName`),
  };
}

/** For containers that need nothing of the node. */
export const unprivileged = {
  runAsNonRoot: true,
  runAsUser: 65532,
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
};

export function inNamespace(name: string, labels = labelsOf(name)) {
  return { name, namespace, labels };
}
