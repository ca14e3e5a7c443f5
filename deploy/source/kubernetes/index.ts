import { agent, cleanUp, secretsNamespaceObject } from "./agent.ts";
import { agentConfig, operatorConfig, relayConfig } from "./config.ts";
import { dnsproxy } from "./dnsproxy.ts";
import { pageService, relay, relayService } from "./hubble.ts";
import type { Node, Scope } from "./marks.ts";
import { secretsNamespace } from "./names.ts";
import { operator, operatorBudget } from "./operator.ts";
import { agentRbac, operatorRbac, relayRbac } from "./rbac.ts";
import { type KubernetesObject, render } from "./render.ts";

export { agentCapabilities } from "./agent.ts";
export { proxyCapabilities } from "./dnsproxy.ts";
export type { Scope } from "./marks.ts";
export { names, secretsNamespace } from "./names.ts";
export type { KubernetesObject } from "./render.ts";
export { defaultsOf, merge, schemaOfTree } from "./value-tree.ts";
export { valueTree } from "./values.ts";

/** What is installed, by the files of the chart, in the order in which it is made. */
export const files: Readonly<Record<string, readonly Node[]>> = {
  "namespace.yaml": [secretsNamespaceObject(secretsNamespace)],
  "rbac.yaml": [...agentRbac, ...operatorRbac, ...relayRbac],
  "config.yaml": [agentConfig, operatorConfig, relayConfig],
  "operator.yaml": [operator, operatorBudget],
  "agent.yaml": [agent],
  "dnsproxy.yaml": [dnsproxy],
  "hubble.yaml": [relay, relayService, pageService],
};

/** The objects with these values. */
export function objects(scope: Scope): KubernetesObject[] {
  return Object.values(files)
    .flat()
    .map((node) => render(node, scope) as KubernetesObject | undefined)
    .filter((object) => object !== undefined);
}

/** What an uninstall runs on each node. */
export function cleanUpObject(scope: Scope): KubernetesObject {
  return render(cleanUp, scope) as KubernetesObject;
}
