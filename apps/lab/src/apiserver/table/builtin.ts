import { ageColumn, type Column, nameColumn } from "./columns.ts";
import {
  endpointSlices,
  endpoints,
  events,
  ingresses,
  leases,
  networkPolicies,
  services,
} from "./network.ts";
import { clusterKinds, configuration } from "./plain.ts";
import { nodes, pods } from "./pods.ts";
import { workloads } from "./workloads.ts";

const tables: Readonly<Record<string, readonly Column[]>> = {
  ...workloads,
  ...configuration,
  ...clusterKinds,
  "/pods": pods,
  "/nodes": nodes,
  "/services": services,
  "/endpoints": endpoints,
  "/events": events,
  "discovery.k8s.io/endpointslices": endpointSlices,
  "networking.k8s.io/networkpolicies": networkPolicies,
  "networking.k8s.io/ingresses": ingresses,
  "coordination.k8s.io/leases": leases,
};

/** The columns kubectl shows for a built-in kind (`group/plural`). */
export function builtinColumns(resource: string): readonly Column[] {
  return tables[resource] ?? [nameColumn, ageColumn];
}
