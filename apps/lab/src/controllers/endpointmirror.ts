import type { EndpointSubset, Endpoints, Service } from "kubernetes-types/core/v1";
import type { Endpoint, EndpointSlice } from "kubernetes-types/discovery/v1";
import { type Action, refOf } from "./action.ts";
import { managedBy, serviceNameLabel } from "./endpointslice.ts";
import { controllerRef, hashJson, isDeleting, meta, nameOf, sameJson } from "./objects.ts";

export interface MirrorView {
  service: Service;
  endpoints: Endpoints | undefined;
  /** The slices of its namespace. */
  slices: readonly EndpointSlice[];
}

const controllerName = "endpointslicemirroring-controller.k8s.io";
const skipLabel = "endpointslice.kubernetes.io/skip-mirror";
const leaderAnnotation = "control-plane.alpha.kubernetes.io/leader";

type Family = "IPv4" | "IPv6";

/**
 * Slices from the Endpoints that people or other controllers write for a Service without selector: what balances
 * Services reads slices alone. One slice a subset and family.
 */
export function mirrorEndpoints({ service, endpoints, slices }: MirrorView): Action[] {
  const own = slices.filter(
    (slice) =>
      meta(slice).labels?.[managedBy] === controllerName &&
      meta(slice).labels?.[serviceNameLabel] === nameOf(service),
  );
  const wanted = isMirrored(service, endpoints) ? wantedSlices(endpoints) : [];
  const byName = new Map(own.map((slice) => [nameOf(slice), slice]));
  const actions = wanted.flatMap((slice): Action[] => {
    const present = byName.get(nameOf(slice));
    byName.delete(nameOf(slice));
    if (present === undefined) return [{ verb: "create", object: slice }];
    const { endpoints: rows, ports } = slice;
    if (sameJson(present.endpoints, rows) && sameJson(present.ports, ports)) return [];
    return [{ verb: "patch", ref: sliceRef(present), patch: { endpoints: rows, ports } }];
  });
  return [
    ...actions,
    ...[...byName.values()].map((slice): Action => ({ verb: "delete", ref: sliceRef(slice) })),
  ];
}

function isMirrored(service: Service, endpoints: Endpoints | undefined): endpoints is Endpoints {
  if (endpoints === undefined || isDeleting(endpoints) || isDeleting(service)) return false;
  if (Object.keys(service.spec?.selector ?? {}).length > 0) return false;
  if (meta(endpoints).labels?.[skipLabel] === "true") return false;
  return meta(endpoints).annotations?.[leaderAnnotation] === undefined;
}

function sliceRef(slice: EndpointSlice) {
  return refOf(slice, "discovery.k8s.io/v1", "EndpointSlice");
}

function wantedSlices(endpoints: Endpoints): EndpointSlice[] {
  return (endpoints.subsets ?? []).flatMap((subset) =>
    (["IPv4", "IPv6"] as const).flatMap((family) => {
      const rows = endpointsOf(subset, family);
      return rows.length === 0 ? [] : [sliceOf(endpoints, subset, family, rows)];
    }),
  );
}

function endpointsOf(subset: EndpointSubset, family: Family): Endpoint[] {
  const ofReadiness = (list: EndpointSubset["addresses"], ready: boolean): Endpoint[] =>
    (list ?? [])
      .filter(({ ip }) => ip.includes(":") === (family === "IPv6"))
      .map(({ ip, hostname, nodeName, targetRef }) => ({
        addresses: [ip],
        conditions: { ready },
        ...(hostname === undefined ? {} : { hostname }),
        ...(nodeName === undefined ? {} : { nodeName }),
        ...(targetRef === undefined ? {} : { targetRef }),
      }));
  return [...ofReadiness(subset.addresses, true), ...ofReadiness(subset.notReadyAddresses, false)];
}

function sliceOf(
  endpoints: Endpoints,
  subset: EndpointSubset,
  family: Family,
  rows: Endpoint[],
): EndpointSlice {
  const namespace = meta(endpoints).namespace;
  const name = nameOf(endpoints);
  const ports = (subset.ports ?? []).map(({ name: port = "", ...rest }) => ({
    name: port,
    protocol: "TCP",
    ...rest,
  }));
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      // The same subset keeps its slice.
      name: `${name.slice(0, 52)}-${hashJson([family, ports])}`,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { ...meta(endpoints).labels, [serviceNameLabel]: name, [managedBy]: controllerName },
      ownerReferences: [controllerRef(endpoints, "v1", "Endpoints")],
    },
    addressType: family,
    endpoints: rows,
    ports,
  };
}
