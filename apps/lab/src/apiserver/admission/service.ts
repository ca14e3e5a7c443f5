import { isV4, tryParseIp } from "@axoneme/base";
import type { Cluster } from "../cluster.ts";
import {
  ApiError,
  type Cause,
  duplicate,
  invalid,
  invalidValue,
  required,
  unsupportedValue,
} from "../errors.ts";
import {
  arrayOf,
  at,
  ensureObject,
  equal,
  isObject,
  type JsonObject,
  type KubeObject,
  objectOf,
  stringOf,
} from "../object.ts";
import type { Strategy } from "../resources/resource.ts";
import type { Family } from "./allocations.ts";

const types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

function owner(object: KubeObject): string {
  return `${object.metadata.namespace}/${object.metadata.name}`;
}

function specOf(object: KubeObject | undefined): JsonObject {
  return objectOf(object?.["spec"]);
}

function hasNodePorts(spec: JsonObject): boolean {
  if (spec["type"] === "NodePort") return true;
  return spec["type"] === "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] !== false;
}

function isExternal(spec: JsonObject): boolean {
  return spec["type"] === "NodePort" || spec["type"] === "LoadBalancer";
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
  else delete spec["externalTrafficPolicy"];
  if (spec["type"] === "LoadBalancer") spec["allocateLoadBalancerNodePorts"] ??= true;
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
  if (policy === "RequireDualStack" && available.length < 2) {
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
  const headless = spec["clusterIP"] === "None" || arrayOf(spec["clusterIPs"])[0] === "None";
  if (headless) {
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

function allocatePorts(object: KubeObject, cluster: Cluster): void {
  const spec = specOf(object);
  const ports = arrayOf(spec["ports"]).filter(isObject);
  if (!hasNodePorts(spec)) {
    if (spec["type"] === "ClusterIP") for (const port of ports) delete port["nodePort"];
    return;
  }
  for (const [i, port] of ports.entries()) {
    if (typeof port["nodePort"] !== "number" || port["nodePort"] === 0) continue;
    const why = cluster.allocations.claimPort(port["nodePort"], stringOf(port["protocol"]), owner(object));
    if (why !== undefined)
      throw fail(object, invalidValue(`spec.ports[${i}].nodePort`, port["nodePort"], why));
  }
  for (const port of ports) {
    if (typeof port["nodePort"] === "number" && port["nodePort"] !== 0) continue;
    const allocated = cluster.allocations.allocatePort(stringOf(port["protocol"]), owner(object));
    if (allocated === undefined)
      throw new ApiError(500, "InternalError", "failed to allocate a nodePort: range is full");
    port["nodePort"] = allocated;
  }
  if (
    spec["type"] === "LoadBalancer" &&
    spec["externalTrafficPolicy"] === "Local" &&
    spec["healthCheckNodePort"] === undefined
  ) {
    spec["healthCheckNodePort"] = cluster.allocations.allocatePort("TCP", owner(object));
  }
}

/** Releases what `before` held and `after` no longer does. */
function releaseDifference(before: KubeObject, after: KubeObject | undefined, cluster: Cluster): void {
  const kept = new Set(arrayOf(specOf(after)["clusterIPs"]));
  for (const address of arrayOf(specOf(before)["clusterIPs"])) {
    if (address !== "None" && !kept.has(address)) cluster.allocations.release(String(address), owner(before));
  }
  const held = (object: KubeObject | undefined) =>
    new Set([
      ...arrayOf(specOf(object)["ports"]).map(
        (port) => `${String(at(port, "nodePort"))}/${String(at(port, "protocol"))}`,
      ),
      `${String(specOf(object)["healthCheckNodePort"])}/TCP`,
    ]);
  const ports = held(after);
  for (const each of held(before)) {
    const [port, protocol] = each.split("/");
    if (!ports.has(each) && port !== "undefined")
      cluster.allocations.releasePort(Number(port), protocol ?? "", owner(before));
  }
}

function carryOver(object: KubeObject, old: KubeObject): void {
  const spec = ensureObject(object, "spec");
  const before = specOf(old);
  if (spec["type"] === "ExternalName") return;
  if (
    stringOf(spec["clusterIP"]) === "" &&
    arrayOf(spec["clusterIPs"]).length === 0 &&
    before["type"] !== "ExternalName"
  ) {
    if (before["clusterIP"] !== undefined) spec["clusterIP"] = before["clusterIP"];
    if (before["clusterIPs"] !== undefined) spec["clusterIPs"] = before["clusterIPs"];
  }
  spec["ipFamilies"] ??= before["ipFamilies"];
  spec["ipFamilyPolicy"] ??= before["ipFamilyPolicy"];
  if (!hasNodePorts(spec)) return;
  for (const port of arrayOf(spec["ports"])) {
    if (!isObject(port) || (typeof port["nodePort"] === "number" && port["nodePort"] !== 0)) continue;
    const same = arrayOf(before["ports"]).find(
      (each) =>
        at(each, "port") === port["port"] &&
        at(each, "protocol") === port["protocol"] &&
        at(each, "name") === port["name"],
    );
    const number = at(same, "nodePort");
    if (typeof number === "number") port["nodePort"] = number;
  }
  if (spec["externalTrafficPolicy"] === "Local" && spec["type"] === "LoadBalancer") {
    spec["healthCheckNodePort"] ??= before["healthCheckNodePort"];
    if (spec["healthCheckNodePort"] === undefined) delete spec["healthCheckNodePort"];
  }
}

function dropAddresses(object: KubeObject): void {
  const spec = ensureObject(object, "spec");
  for (const field of ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]) delete spec[field];
}

function allocate(object: KubeObject, cluster: Cluster): void {
  // Rules that do not need allocations come first, so that a refused service holds nothing.
  const causes = validate(object, undefined);
  if (causes.length > 0) throw invalid("", "Service", object.metadata.name, causes);
  if (at(object, "spec", "type") === "ExternalName") dropAddresses(object);
  else allocateAddresses(object, cluster);
  allocatePorts(object, cluster);
}

function portCauses(spec: JsonObject): Cause[] {
  const causes: Cause[] = [];
  const ports = arrayOf(spec["ports"]);
  const names = new Set<unknown>();
  const numbers = new Set<string>();
  for (const [i, port] of ports.entries()) {
    const where = `spec.ports[${i}]`;
    const { port: number, name, protocol, targetPort } = objectOf(port);
    if (ports.length > 1 && stringOf(name) === "") causes.push(required(`${where}.name`));
    if (stringOf(name) !== "" && names.has(name)) causes.push(duplicate(`${where}.name`, name));
    names.add(name);
    if (typeof number !== "number" || number < 1 || number > 65_535) {
      causes.push(invalidValue(`${where}.port`, number ?? 0, "must be between 1 and 65535, inclusive"));
    }
    if (typeof targetPort === "number" && (targetPort < 1 || targetPort > 65_535)) {
      causes.push(invalidValue(`${where}.targetPort`, targetPort, "must be between 1 and 65535, inclusive"));
    }
    if (!["TCP", "UDP", "SCTP"].includes(String(protocol))) {
      causes.push(unsupportedValue(`${where}.protocol`, protocol, ["SCTP", "TCP", "UDP"]));
    }
    const pair = `${String(number)}/${String(protocol)}`;
    if (numbers.has(pair)) causes.push(duplicate(where, { port: number, protocol }));
    numbers.add(pair);
  }
  return causes;
}

function validate(object: KubeObject, old: KubeObject | undefined): Cause[] {
  const spec = specOf(object);
  const causes: Cause[] = [];
  if (!types.includes(String(spec["type"]))) causes.push(unsupportedValue("spec.type", spec["type"], types));
  if (spec["type"] === "ExternalName") {
    if (stringOf(spec["externalName"]) === "") causes.push(required("spec.externalName"));
  } else if (arrayOf(spec["ports"]).length === 0 && spec["clusterIP"] !== "None") {
    causes.push(required("spec.ports"));
  }
  if (isExternal(spec) && spec["clusterIP"] === "None") {
    causes.push(
      invalidValue(
        "spec.clusterIPs[0]",
        "None",
        `may not be set to 'None' for ${String(spec["type"])} services`,
      ),
    );
  }
  if (!["None", "ClientIP"].includes(String(spec["sessionAffinity"]))) {
    causes.push(unsupportedValue("spec.sessionAffinity", spec["sessionAffinity"], ["ClientIP", "None"]));
  }
  for (const field of ["internalTrafficPolicy", "externalTrafficPolicy"]) {
    const value = spec[field];
    if (value !== undefined && value !== "Cluster" && value !== "Local") {
      causes.push(unsupportedValue(`spec.${field}`, value, ["Cluster", "Local"]));
    }
  }
  for (const [i, address] of arrayOf(spec["clusterIPs"]).entries()) {
    if (address !== "None" && tryParseIp(String(address)) === undefined) {
      causes.push(
        invalidValue(
          `spec.clusterIPs[${i}]`,
          address,
          "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
      );
    }
  }
  causes.push(...portCauses(spec));
  const before = specOf(old);
  const fixed = old !== undefined && spec["type"] !== "ExternalName" && stringOf(before["clusterIP"]) !== "";
  if (fixed && !equal(before["clusterIP"], spec["clusterIP"])) {
    causes.push(invalidValue("spec.clusterIPs[0]", spec["clusterIPs"], "may not change once set"));
  }
  return causes;
}

export const serviceStrategy: Strategy = {
  defaults,
  prepareCreate(object, cluster) {
    allocate(object, cluster);
    object["status"] = { loadBalancer: {} };
  },
  prepareUpdate(object, old, cluster) {
    carryOver(object, old);
    const causes = validate(object, old);
    if (causes.length > 0) throw invalid("", "Service", object.metadata.name, causes);
    allocate(object, cluster);
  },
  validate,
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
  for (const port of arrayOf(spec["ports"])) {
    const number = at(port, "nodePort");
    if (typeof number === "number")
      cluster.allocations.claimPort(number, stringOf(at(port, "protocol")), owner(object));
  }
  const check = spec["healthCheckNodePort"];
  if (typeof check === "number") cluster.allocations.claimPort(check, "TCP", owner(object));
}
