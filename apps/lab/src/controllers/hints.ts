import type { Service } from "kubernetes-types/core/v1";
import type { Endpoint } from "kubernetes-types/discovery/v1";

/** discovery.k8s.io/v1 EndpointHints with the field of Kubernetes 1.33 that the types lack. */
export interface Hints {
  forZones?: { name: string }[];
  forNodes?: { name: string }[];
}

/**
 * For whom an endpoint is, by the Service's trafficDistribution: PreferSameZone (formerly PreferClose) and
 * PreferSameNode give it to clients of its own zone and node. Only of endpoints that are ready: others are for
 * nobody.
 */
export function hintsFor(service: Service, endpoint: Endpoint): { hints?: Hints } {
  const { zone, nodeName, conditions } = endpoint;
  if (conditions?.ready !== true) return {};
  const forZones = zone === undefined ? {} : { forZones: [{ name: zone }] };
  const forNodes = nodeName === undefined ? {} : { forNodes: [{ name: nodeName }] };
  switch (service.spec?.trafficDistribution) {
    case "PreferClose":
    case "PreferSameZone":
      return zone === undefined ? {} : { hints: forZones };
    case "PreferSameNode":
      return nodeName === undefined ? {} : { hints: { ...forNodes, ...forZones } };
    default:
      return {};
  }
}
