import { formatIp, formatPrefix } from "@axoneme/base";
import { type IdentityCache, type Ipcache, type LocalIdentities, labelLines } from "@axoneme/identity";
import type { FrontendView } from "@axoneme/loadbalancer";
import type { IdentityView, IpcacheEntryView, ServiceView } from "@axoneme/observe";
import {
  algorithmOf,
  backendOf,
  flagsOf,
  forwardingOf,
  frontendOf,
  type PeerNames,
  typeOf,
} from "../lb/views.ts";

/** All identities: reserved, of the cluster, and this node's CIDR ones. */
export function identityViews(
  identities: IdentityCache,
  local: LocalIdentities,
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
  return views.sort((a, b) => a.id - b.id);
}

const sourceNames: Readonly<Record<string, string>> = {
  local: "endpoint",
  "custom-resource": "ciliumendpoint",
  k8s: "node",
  generated: "policy",
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
      identity <= 10 && (source === "custom-resource" || source === "local")
        ? "node"
        : (sourceNames[source] ?? source),
  }));
  return views.sort((a, b) => (a.prefix < b.prefix ? -1 : 1));
}

/** Frontends of Services; `problem` says what could not be programmed. */
export function serviceViews(
  frontends: Iterable<FrontendView>,
  problem: (name: string) => string | undefined,
  peers: PeerNames,
): ServiceView[] {
  return [...frontends].map(({ namespace, name, portName, key, row, backends }) => {
    const message = problem(`${namespace}/${name}`);
    return {
      namespace,
      name,
      type: typeOf(row.flags),
      frontend: { ...frontendOf(key), id: row.serviceId },
      ...(portName ? { portName } : {}),
      ...(row.affinityTimeoutS > 0 ? { affinitySeconds: row.affinityTimeoutS } : {}),
      algorithm: algorithmOf(row.algorithm),
      forwarding: forwardingOf(row.forwarding),
      flags: flagsOf(row.flags),
      backends: backends.map((backend) => backendOf(backend, peers)),
      status: message ? "error" : "done",
      ...(message ? { message } : {}),
    };
  });
}
