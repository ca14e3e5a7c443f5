import { isV4, tryParseIp } from "@axoneme/base";
import type { Cluster } from "../cluster.ts";
import { ApiError, type Cause, invalid, invalidValue } from "../errors.ts";
import {
  arrayOf,
  at,
  ensureObject,
  isObject,
  type JsonObject,
  type KubeObject,
  objectOf,
  stringOf,
} from "../object.ts";
import type { Strategy } from "../resources/resource.ts";
import type { Family } from "./allocations.ts";
import { serviceCauses } from "./servicechecks.ts";
import {
  allocatesNodePorts,
  carryOver,
  dropFormer,
  isExternal,
  isHeadless,
  isLoadBalancer,
  needsHealthCheckPort,
  portNumber,
} from "./servicefields.ts";

function owner(object: KubeObject): string {
  return `${object.metadata.namespace}/${object.metadata.name}`;
}

function specOf(object: KubeObject | undefined): JsonObject {
  return objectOf(object?.["spec"]);
}

function defaults(object: KubeObject): void {
  const spec = ensureObject(object, "spec");
  spec["type"] ??= "ClusterIP";
  spec["sessionAffinity"] ??= "None";
  if (spec["sessionAffinity"] === "ClientIP") {
    const config = ensureObject(ensureObject(spec, "sessionAffinityConfig"), "clientIP");
    config["timeoutSeconds"] ??= 10_800;
  } else {
    delete spec["sessionAffinityConfig"];
  }
  for (const port of arrayOf(spec["ports"])) {
    if (!isObject(port)) continue;
    port["protocol"] ??= "TCP";
    if (port["targetPort"] === undefined || port["targetPort"] === 0 || port["targetPort"] === "")
      port["targetPort"] = port["port"];
  }
  if (spec["type"] !== "ExternalName") spec["internalTrafficPolicy"] ??= "Cluster";
  if (isExternal(spec)) spec["externalTrafficPolicy"] ??= "Cluster";
  if (!isLoadBalancer(spec)) return;
  spec["allocateLoadBalancerNodePorts"] ??= true;
  for (const entry of arrayOf(at(object, "status", "loadBalancer", "ingress"))) {
    if (isObject(entry) && stringOf(entry["ip"]) !== "") entry["ipMode"] ??= "VIP";
  }
}

function fail(object: KubeObject, cause: Cause): ApiError {
  return invalid("", "Service", object.metadata.name, [cause]);
}

function familyOf(address: string): Family {
  const ip = tryParseIp(address);
  return ip !== undefined && !isV4(ip) ? "IPv6" : "IPv4";
}

/** Which families the service is to have addresses of, in order. */
function wantedFamilies(object: KubeObject, spec: JsonObject, cluster: Cluster): Family[] {
  const selects = Object.keys(objectOf(spec["selector"])).length > 0;
  if (
    isHeadless(spec) &&
    !selects &&
    spec["ipFamilyPolicy"] === undefined &&
    spec["ipFamilies"] === undefined
  ) {
    // Nothing is known of its endpoints: they may be of either family, whatever the cluster has.
    spec["ipFamilyPolicy"] = "RequireDualStack";
    const [first = "IPv4"] = cluster.allocations.families;
    return first === "IPv4" ? ["IPv4", "IPv6"] : ["IPv6", "IPv4"];
  }
  const available = cluster.allocations.families;
  const families = arrayOf(spec["ipFamilies"]) as Family[];
  const addresses = arrayOf(spec["clusterIPs"]).filter((each) => each !== "None" && each !== "");
  const wanted = families.length > 0 ? [...families] : addresses.map((each) => familyOf(String(each)));
  const unavailable = wanted.find((family) => !available.includes(family) && spec["clusterIP"] !== "None");
  if (unavailable !== undefined) {
    throw fail(object, invalidValue("spec.ipFamilies[0]", unavailable, "not configured on this cluster"));
  }
  if (wanted.length === 0) wanted.push(available[0] ?? "IPv4");
  const policy = spec["ipFamilyPolicy"] ?? (wanted.length > 1 ? "RequireDualStack" : "SingleStack");
  spec["ipFamilyPolicy"] = policy;
  if (policy === "RequireDualStack" && available.length < 2 && !isHeadless(spec)) {
    throw fail(
      object,
      invalidValue("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"),
    );
  }
  if (policy === "SingleStack") return wanted.slice(0, 1);
  for (const family of available) if (!wanted.includes(family)) wanted.push(family);
  return wanted;
}

function allocateAddresses(object: KubeObject, cluster: Cluster): void {
  const spec = ensureObject(object, "spec");
  if (isHeadless(spec)) {
    spec["clusterIP"] = "None";
    spec["clusterIPs"] = ["None"];
    spec["ipFamilies"] = wantedFamilies(object, spec, cluster);
    return;
  }
  if (arrayOf(spec["clusterIPs"]).length === 0 && stringOf(spec["clusterIP"]) !== "")
    spec["clusterIPs"] = [spec["clusterIP"]];
  const given = arrayOf(spec["clusterIPs"])
    .map(String)
    .filter((each) => each !== "");
  const families = wantedFamilies(object, spec, cluster);
  const addresses = families.map((family) => {
    const asked = given.find((each) => familyOf(each) === family);
    if (asked === undefined) {
      const address = cluster.allocations.allocate(family, owner(object));
      if (address === undefined)
        throw new ApiError(500, "InternalError", `failed to allocate a serviceIP: range is full (${family})`);
      return address;
    }
    const why = cluster.allocations.claim(asked, owner(object));
    if (why !== undefined)
      throw fail(object, invalidValue("spec.clusterIPs", [asked], `failed to allocate IP ${asked}: ${why}`));
    return asked;
  });
  spec["clusterIPs"] = addresses;
  spec["clusterIP"] = addresses[0];
  spec["ipFamilies"] = families;
}

/** Numbers asked for first, so that none of them is given to another port meanwhile. */
function allocatePorts(object: KubeObject, cluster: Cluster): void {
  const spec = specOf(object);
  const ports = arrayOf(spec["ports"]).filter(isObject);
  // One number serves the same port of several protocols.
  const byPort = new Map<unknown, number>();
  for (const [i, port] of ports.entries()) {
    const number = portNumber(port["nodePort"]);
    if (number === undefined) delete port["nodePort"];
    else {
      claimPort(object, cluster, `spec.ports[${i}].nodePort`, number);
      byPort.set(port["port"], number);
    }
  }
  const check = portNumber(spec["healthCheckNodePort"]);
  if (check === undefined) delete spec["healthCheckNodePort"];
  else {
    if (ports.some((port) => port["nodePort"] === check))
      throw fail(
        object,
        invalidValue("spec.healthCheckNodePort", check, "provided port is already allocated"),
      );
    claimPort(object, cluster, "spec.healthCheckNodePort", check);
  }
  if (allocatesNodePorts(spec)) {
    for (const port of ports) {
      const number = portNumber(port["nodePort"]) ?? byPort.get(port["port"]) ?? freePort(object, cluster);
      port["nodePort"] = number;
      byPort.set(port["port"], number);
    }
  }
  if (needsHealthCheckPort(spec)) spec["healthCheckNodePort"] ??= freePort(object, cluster);
}

function claimPort(object: KubeObject, cluster: Cluster, where: string, number: number): void {
  const why = cluster.allocations.claimPort(number, owner(object));
  if (why !== undefined) throw fail(object, invalidValue(where, number, why));
}

function freePort(object: KubeObject, cluster: Cluster): number {
  const number = cluster.allocations.allocatePort(owner(object));
  if (number === undefined)
    throw new ApiError(500, "InternalError", "failed to allocate a nodePort: range is full");
  return number;
}

function heldPorts(object: KubeObject | undefined): Set<number> {
  const spec = specOf(object);
  const fields = [...arrayOf(spec["ports"]).map((port) => at(port, "nodePort")), spec["healthCheckNodePort"]];
  return new Set(fields.flatMap((value) => portNumber(value) ?? []));
}

/** Releases what `before` held and `after` no longer does. */
function releaseDifference(before: KubeObject, after: KubeObject | undefined, cluster: Cluster): void {
  const kept = new Set(arrayOf(specOf(after)["clusterIPs"]));
  for (const address of arrayOf(specOf(before)["clusterIPs"])) {
    if (address !== "None" && !kept.has(address)) cluster.allocations.release(String(address), owner(before));
  }
  const ports = heldPorts(after);
  for (const number of heldPorts(before))
    if (!ports.has(number)) cluster.allocations.releasePort(number, owner(before));
}

function allocate(object: KubeObject, cluster: Cluster): void {
  // Rules that do not need allocations come first, so that a refused service holds nothing.
  const causes = serviceCauses(object, undefined);
  if (causes.length > 0) throw invalid("", "Service", object.metadata.name, causes);
  if (at(object, "spec", "type") !== "ExternalName") allocateAddresses(object, cluster);
  allocatePorts(object, cluster);
}

export const serviceStrategy: Strategy = {
  defaults,
  prepareCreate(object, cluster) {
    allocate(object, cluster);
    object["status"] = { loadBalancer: {} };
  },
  prepareUpdate(object, old, cluster) {
    const spec = ensureObject(object, "spec");
    carryOver(spec, specOf(old));
    dropFormer(spec, specOf(old));
    const causes = serviceCauses(object, old);
    if (causes.length > 0) throw invalid("", "Service", object.metadata.name, causes);
    allocate(object, cluster);
  },
  validate: serviceCauses,
  replaced: releaseDifference,
  removed: (object, cluster) => releaseDifference(object, undefined, cluster),
};

/** Marks the addresses and ports of a stored service as taken: at start. */
export function reclaim(object: KubeObject, cluster: Cluster): void {
  const spec = specOf(object);
  for (const address of arrayOf(spec["clusterIPs"])) {
    if (typeof address === "string" && tryParseIp(address) !== undefined)
      cluster.allocations.claim(address, owner(object));
  }
  for (const number of heldPorts(object)) cluster.allocations.claimPort(number, owner(object));
}
