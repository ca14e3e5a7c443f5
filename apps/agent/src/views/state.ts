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
import type { PodIdentities } from "../state/pod-identities.ts";

/** Where identities are. */
export interface IdentitySources {
  readonly identities: IdentityCache;
  readonly localIdentities: LocalIdentities;
  readonly nodeIdentities: NodeIdentities;
  readonly podIdentities: Pick<PodIdentities, "own">;
}

/** All identities: reserved, of the cluster, and those of this node's making: of CIDRs, of nodes and of pods by labels. */
export function identityViews(
  { identities, localIdentities: local, nodeIdentities: nodes, podIdentities: pods }: IdentitySources,
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
  for (const { id, labels } of pods.own())
    views.push({ id, scope: "class", labels: labelLines(labels), endpoints: endpointsOf(id) });
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
