import { formatIp, formatPrefix } from "@axoneme/base";
import { protocolName } from "@axoneme/flow";
import { type IdentityCache, type Ipcache, type LocalIdentities, labelLines } from "@axoneme/identity";
import type { FrontendView } from "@axoneme/loadbalancer";
import type { IdentityView, IpcacheEntryView, ServiceView } from "@axoneme/observe";

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
): ServiceView[] {
  return [...frontends].map(({ namespace, name, portName, key, row, backends }) => {
    const message = problem(`${namespace}/${name}`);
    return {
      namespace,
      name,
      type: "ClusterIP" as const,
      frontend: {
        address: formatIp(key.addr),
        port: key.port,
        protocol: protocolName(key.proto),
        id: row.serviceId,
      },
      ...(portName ? { portName } : {}),
      ...(row.affinityTimeoutS > 0 ? { affinitySeconds: row.affinityTimeoutS } : {}),
      backends: backends.map(({ addr, port, state }) => ({
        address: formatIp(addr),
        port,
        state: state === 1 ? ("terminating" as const) : ("active" as const),
      })),
      status: message ? ("error" as const) : ("done" as const),
      ...(message ? { message } : {}),
    };
  });
}
