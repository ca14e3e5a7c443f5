import { formatIp, formatPrefix } from "@axoneme/base";
import {
  type IdentityCache,
  type Ipcache,
  isNodeIdentity,
  type LocalIdentities,
  labelLines,
  type NodeIdentities,
} from "@axoneme/identity";
import type { IdentityView, IpcacheEntryView } from "@axoneme/observe";

/** All identities: reserved, of the cluster, and those of this node's making: of CIDRs, and of nodes by labels. */
export function identityViews(
  identities: IdentityCache,
  local: LocalIdentities,
  nodes: NodeIdentities,
  endpointsOf: (identity: number) => number,
): IdentityView[] {
  const views: IdentityView[] = [];
  for (const { id, labels } of identities.all()) {
    views.push({
      id,
      scope: id < 256 ? "reserved" : "cluster",
      labels: labelLines(labels),
      endpoints: endpointsOf(id),
    });
  }
  for (const { id, labels } of local.all())
    views.push({ id, scope: "local", labels: labelLines(labels), endpoints: 0 });
  for (const { id, labels } of nodes.all())
    views.push({ id, scope: "node", labels: labelLines(labels), endpoints: 0 });
  return views.sort((a, b) => a.id - b.id);
}

const sourceNames: Readonly<Record<string, string>> = {
  local: "endpoint",
  "custom-resource": "ciliumendpoint",
  k8s: "node",
  generated: "policy",
  fqdn: "dns",
  unspec: "reserved",
};

/** The ipcache, sorted by prefix. */
export function ipcacheViews(ipcache: Ipcache): IpcacheEntryView[] {
  const views = [...ipcache.entries()].map(({ prefix, identity, nodeIp, pod, source }) => ({
    prefix: formatPrefix(prefix),
    identity,
    ...(nodeIp ? { nodeIp: formatIp(nodeIp) } : {}),
    ...(pod ? { pod: `${pod.namespace}/${pod.name}` } : {}),
    source:
      (identity <= 10 || isNodeIdentity(identity)) && (source === "custom-resource" || source === "local")
        ? "node"
        : (sourceNames[source] ?? source),
  }));
  return views.sort((a, b) => (a.prefix < b.prefix ? -1 : 1));
}
