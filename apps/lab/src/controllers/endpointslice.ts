import type { Node, Pod, Service } from "kubernetes-types/core/v1";
import type { Endpoint, EndpointPort, EndpointSlice } from "kubernetes-types/discovery/v1";
import { type Action, refOf } from "./action.ts";
import { hintsFor } from "./hints.ts";
import {
  controllerRef,
  groupBy,
  isControlledBy,
  isDeleting,
  isReady,
  isTerminal,
  mapMatches,
  meta,
  nameOf,
  randomSuffix,
  sameJson,
} from "./objects.ts";

export interface EndpointSliceView {
  service: Service;
  /** The pods of its namespace. */
  pods: readonly Pod[];
  /** The slices of its namespace. */
  slices: readonly EndpointSlice[];
  /** Zone of a node, by name. */
  nodes: ReadonlyMap<string, Node>;
}

/** The label by which a slice names its controller. */
export const managedBy = "endpointslice.kubernetes.io/managed-by";
const controllerName = "endpointslice-controller.k8s.io";
export const serviceNameLabel = "kubernetes.io/service-name";
const headlessLabel = "service.kubernetes.io/headless";

/** What kube-proxy and we can take in one object without hurting watchers. */
export const maxEndpointsPerSlice = 100;

type Family = "IPv4" | "IPv6";

/** Slices per address family and set of ports; each endpoint stays in the slice where it is. */
export function reconcileEndpointSlices(view: EndpointSliceView): Action[] {
  const { service, slices } = view;
  const own = slices.filter(
    (slice) => meta(slice).labels?.[managedBy] === controllerName && isControlledBy(slice, service),
  );
  if (isDeleting(service)) return [];
  const selector = service.spec?.selector;
  if (selector === undefined || Object.keys(selector).length === 0 || service.spec?.type === "ExternalName") {
    return own.map((slice) => ({ verb: "delete", ref: sliceRef(slice) }));
  }
  const pods = view.pods.filter((pod) => mapMatches(selector, meta(pod).labels) && !isTerminal(pod));
  const families = (service.spec?.ipFamilies ?? ["IPv4"]) as Family[];
  const actions = families.flatMap((family) => {
    const existing = own.filter((slice) => slice.addressType === family);
    return reconcileFamily(view, family, pods, existing);
  });
  const foreign = own.filter((slice) => !(families as string[]).includes(slice.addressType));
  return [...actions, ...foreign.map((slice): Action => ({ verb: "delete", ref: sliceRef(slice) }))];
}

function sliceRef(slice: EndpointSlice) {
  return refOf(slice, "discovery.k8s.io/v1", "EndpointSlice");
}

interface Desired {
  ports: EndpointPort[];
  endpoints: Endpoint[];
}

function reconcileFamily(
  view: EndpointSliceView,
  family: Family,
  pods: readonly Pod[],
  existing: readonly EndpointSlice[],
): Action[] {
  const desired = new Map<string, Desired>();
  for (const pod of pods) {
    const address = addressOf(pod, family);
    if (address === undefined) continue;
    const ports = portsFor(view.service, pod);
    const key = portsKey(ports);
    const group = desired.get(key) ?? { ports, endpoints: [] };
    group.endpoints.push(endpointFor(view, pod, address));
    desired.set(key, group);
  }
  // A service without a pod keeps one empty slice, so that it can be seen to be empty.
  if (desired.size === 0) desired.set(portsKey([]), { ports: [], endpoints: [] });
  const byPorts = groupBy(existing, (slice) => portsKey(slice.ports ?? []));
  const actions: Action[] = [];
  for (const [key, group] of desired)
    actions.push(...fill(view.service, family, group, byPorts.get(key) ?? []));
  for (const [key, slices] of byPorts) {
    if (!desired.has(key)) actions.push(...slices.map((s): Action => ({ verb: "delete", ref: sliceRef(s) })));
  }
  return actions;
}

function portsKey(ports: readonly EndpointPort[]): string {
  return ports
    .map(
      (port) => `${port.name ?? ""}/${port.protocol ?? "TCP"}/${port.port ?? ""}/${port.appProtocol ?? ""}`,
    )
    .sort()
    .join(",");
}

function addressOf(pod: Pod, family: Family): string | undefined {
  const addresses = pod.status?.podIPs?.map((entry) => entry.ip ?? "") ?? [pod.status?.podIP ?? ""];
  return addresses.find((ip) => ip !== "" && ip.includes(":") === (family === "IPv6"));
}

/** The service's ports as this pod serves them; a named target port the pod lacks is left out. */
export function portsFor(service: Service, pod: Pod): EndpointPort[] {
  return (service.spec?.ports ?? []).flatMap((port): EndpointPort[] => {
    const protocol = port.protocol ?? "TCP";
    const number = targetPort(pod, port.targetPort ?? port.port, protocol);
    if (number === undefined) return [];
    const { appProtocol } = port;
    return [
      {
        name: port.name ?? "",
        protocol,
        port: number,
        ...(appProtocol === undefined ? {} : { appProtocol }),
      },
    ];
  });
}

function targetPort(pod: Pod, target: number | string, protocol: string): number | undefined {
  if (typeof target === "number") return target;
  // A sidecar runs as long as the pod.
  const sidecars = (pod.spec?.initContainers ?? []).filter(runsOn);
  for (const container of [...(pod.spec?.containers ?? []), ...sidecars]) {
    for (const port of container.ports ?? []) {
      if (port.name === target && (port.protocol ?? "TCP") === protocol) return port.containerPort;
    }
  }
  return /^\d+$/.test(target) ? Number(target) : undefined;
}

function runsOn(container: object): boolean {
  return (container as { restartPolicy?: string }).restartPolicy === "Always";
}

function endpointFor({ service, nodes }: EndpointSliceView, pod: Pod, address: string): Endpoint {
  const serving = isReady(pod);
  const terminating = isDeleting(pod);
  const node = pod.spec?.nodeName;
  const zone = meta(nodes.get(node ?? "") ?? {}).labels?.["topology.kubernetes.io/zone"];
  const { hostname, subdomain } = pod.spec ?? {};
  const named = hostname !== undefined && hostname !== "" && subdomain === nameOf(service);
  const endpoint: Endpoint = {
    addresses: [address],
    conditions: {
      ready: service.spec?.publishNotReadyAddresses === true || (serving && !terminating),
      serving,
      terminating,
    },
    ...(named ? { hostname } : {}),
    ...(node === undefined ? {} : { nodeName: node }),
    targetRef: {
      kind: "Pod",
      namespace: meta(pod).namespace ?? "",
      name: nameOf(pod),
      uid: meta(pod).uid ?? "",
    },
    ...(zone === undefined ? {} : { zone }),
  };
  return { ...endpoint, ...hintsFor(service, endpoint) };
}

function endpointKey(endpoint: Endpoint): string {
  return `${endpoint.targetRef?.uid ?? ""}/${endpoint.addresses[0] ?? ""}`;
}

/** Puts endpoints where they already are; new ones fill the fullest slice with room, then new slices. */
function fill(
  service: Service,
  family: Family,
  desired: Desired,
  existing: readonly EndpointSlice[],
): Action[] {
  const wanted = new Map(desired.endpoints.map((endpoint) => [endpointKey(endpoint), endpoint]));
  const kept = existing.map((slice) => ({ slice, endpoints: keep(slice, wanted) }));
  const room = [...kept].sort((a, b) => b.endpoints.length - a.endpoints.length);
  const fresh = [...wanted.values()];
  for (const entry of room) {
    entry.endpoints.push(...fresh.splice(0, Math.max(0, maxEndpointsPerSlice - entry.endpoints.length)));
  }
  const actions = kept.flatMap(({ slice, endpoints }, i): Action[] => {
    const isLast = fresh.length === 0 && i === 0 && kept.every((entry) => entry.endpoints.length === 0);
    if (endpoints.length === 0 && !isLast) return [{ verb: "delete", ref: sliceRef(slice) }];
    return updateSlice(service, slice, desired.ports, endpoints);
  });
  const creations: Action[] = [];
  while (fresh.length > 0 || (kept.length === 0 && creations.length === 0)) {
    const endpoints = fresh.splice(0, maxEndpointsPerSlice);
    creations.push({ verb: "create", object: newSlice(service, family, desired.ports, endpoints) });
  }
  return [...actions, ...creations];
}

/** The slice's endpoints that are still wanted, in their new form; takes them off `wanted`. */
function keep(slice: EndpointSlice, wanted: Map<string, Endpoint>): Endpoint[] {
  return (slice.endpoints ?? []).flatMap((endpoint) => {
    const next = wanted.get(endpointKey(endpoint));
    wanted.delete(endpointKey(endpoint));
    return next === undefined ? [] : [next];
  });
}

function labelsFor(service: Service): Record<string, string> {
  return {
    ...meta(service).labels,
    [serviceNameLabel]: nameOf(service),
    [managedBy]: controllerName,
    ...(service.spec?.clusterIP === "None" ? { [headlessLabel]: "" } : {}),
  };
}

function updateSlice(
  service: Service,
  slice: EndpointSlice,
  ports: EndpointPort[],
  endpoints: Endpoint[],
): Action[] {
  const labels = labelsFor(service);
  const relabelled = !sameJson(meta(slice).labels ?? {}, labels);
  if (!relabelled && sameJson(slice.endpoints ?? [], endpoints) && sameJson(slice.ports ?? [], ports))
    return [];
  const removed = Object.keys(meta(slice).labels ?? {}).filter((key) => !(key in labels));
  const labelPatch = { ...labels, ...Object.fromEntries(removed.map((key) => [key, null])) };
  return [
    { verb: "patch", ref: sliceRef(slice), patch: { metadata: { labels: labelPatch }, endpoints, ports } },
  ];
}

function newSlice(
  service: Service,
  family: Family,
  ports: EndpointPort[],
  endpoints: Endpoint[],
): EndpointSlice {
  const namespace = meta(service).namespace;
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `${nameOf(service).slice(0, 57)}-${randomSuffix()}`,
      generateName: `${nameOf(service)}-`,
      ...(namespace === undefined ? {} : { namespace }),
      labels: labelsFor(service),
      ownerReferences: [controllerRef(service, "v1", "Service")],
    },
    addressType: family,
    endpoints,
    ports,
  };
}
