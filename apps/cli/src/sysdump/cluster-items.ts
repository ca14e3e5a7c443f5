import { type KubeClient, type KubeObject, type Resource, resources } from "@axoneme/kube";
import { type DumpItem, jsonText } from "./item.ts";
import { redacted } from "./redact.ts";

/** Kinds that are never asked for: what they hold is secret, or says nothing about the network. */
const leftOut = new Set([
  "secrets",
  "configmaps",
  "serviceaccounts",
  "customresourcedefinitions",
  "replicasets",
  "jobs",
]);

/** Objects of a kind at most: a cluster of fifty thousand pods is to fit into a mail. */
const mostObjects = 20_000;

/** What the API server knows of the cluster, a file a kind. Secrets and ConfigMaps are not asked for. */
export function clusterItems(client: KubeClient): DumpItem[] {
  const kinds = Object.entries(resources).filter(([plural]) => !leftOut.has(plural));
  return kinds.map(([plural, resource]) => ({
    path: `cluster/${plural}.json`,
    read: async (signal) => {
      const { items } = await client.resource(resource as Resource<KubeObject>).list({ signal });
      return items.length === 0 ? undefined : jsonText(items.slice(0, mostObjects).map(redacted));
    },
  }));
}
