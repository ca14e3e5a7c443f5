import { dump } from "js-yaml";
import { files, type Scope } from "./index.ts";
import type { Node } from "./marks.ts";
import { render } from "./render.ts";
import { template } from "./template.ts";
import { defaultsOf, schemaOfTree, valuesYaml } from "./value-tree.ts";
import { valueTree } from "./values.ts";

const notice = "Written by scripts/gen-deploy.mjs from deploy/source/kubernetes; change it there.";
const head = `# ${notice}\n`;

/** Where manifests install to. */
const defaultNamespace = "kube-system";

const notes = `Axoneme {{ .Chart.AppVersion }} is being installed in {{ .Release.Namespace }}.

The agents serve pods once their DaemonSet is ready:

  kubectl -n {{ .Release.Namespace }} rollout status daemonset/axoneme
  axon config view          what each node's options are, and which wait for a restart
{{- if and .Values.hubble.enabled .Values.hubble.relay.enabled }}

Flows of all nodes:

  kubectl -n {{ .Release.Namespace }} port-forward service/hubble-relay 4245:{{ ternary "443" "80" .Values.hubble.tls.enabled }}
{{- end }}
{{- if and .Values.hubble.enabled .Values.hubble.relay.enabled .Values.hubble.ui.enabled }}

The page:

  kubectl -n {{ .Release.Namespace }} port-forward service/hubble-ui 12000:80
{{- end }}

Before you uninstall: \`axon uninstall\` also takes what is on the nodes away (plugin, CNI configuration, programs).
With Helm alone, set cni.uninstall to true first, so that each agent does when it ends.
`;

/** The chart's files by their paths in it. */
export function chartFiles(version: string): Record<string, string> {
  const chart = {
    apiVersion: "v2",
    name: "axoneme",
    description: "Kubernetes networking on eBPF",
    type: "application",
    version,
    appVersion: version,
    kubeVersion: ">= 1.27.0-0",
  };
  const templates = Object.entries(files).map(([name, nodes]) => [
    `templates/${name}`,
    head + nodes.map((node) => `---\n${template(node)}`).join(""),
  ]);
  const schema = { $schema: "http://json-schema.org/draft-07/schema#", ...schemaOfTree(withGlobal()) };
  return {
    "Chart.yaml": head + dump(chart),
    "values.yaml": head + valuesYaml(valueTree),
    "values.schema.json": `${JSON.stringify({ $comment: notice, ...schema }, null, 2)}\n`,
    "templates/NOTES.txt": notes,
    ...Object.fromEntries(templates),
  };
}

/** Helm hands every chart a mapping that charts share. */
function withGlobal() {
  return {
    ...valueTree,
    global: { default: {}, doc: "what charts share; unused", schema: { type: "object" }, sets: [] },
  };
}

/** The objects with the default values, by files. */
export function manifestFiles(version: string): Record<string, string> {
  const scope = { values: defaultsOf(valueTree), namespace: defaultNamespace, appVersion: version };
  const texts = Object.entries(files).map(([name, nodes]) => [name, manifest(nodes, scope)] as const);
  return Object.fromEntries(texts);
}

function manifest(nodes: readonly Node[], scope: Scope): string {
  const objects = nodes.map((node) => render(node, scope)).filter((object) => object !== undefined);
  return head + objects.map((object) => `---\n${dump(object, { noRefs: true, lineWidth: 120 })}`).join("");
}
