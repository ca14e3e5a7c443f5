import { arrayOf, at, equal, isObject, type JsonObject, stringOf } from "../object.ts";

/** Which fields a Service of a type has, and what an update takes over from the object before. */

export function isHeadless(spec: JsonObject): boolean {
  return spec["clusterIP"] === "None" || arrayOf(spec["clusterIPs"])[0] === "None";
}

function needsClusterIp(spec: JsonObject): boolean {
  return spec["type"] !== "ExternalName";
}

export function needsNodePorts(spec: JsonObject): boolean {
  return spec["type"] === "NodePort" || spec["type"] === "LoadBalancer";
}

/** Whether ports without a number are to get one. */
export function allocatesNodePorts(spec: JsonObject): boolean {
  return needsNodePorts(spec) && !(isLoadBalancer(spec) && spec["allocateLoadBalancerNodePorts"] === false);
}

export function isLoadBalancer(spec: JsonObject): boolean {
  return spec["type"] === "LoadBalancer";
}

/** Whether it can be reached from outside, so that externalTrafficPolicy means something. */
export function isExternal(spec: JsonObject): boolean {
  const byAddress = spec["type"] === "ClusterIP" && arrayOf(spec["externalIPs"]).length > 0;
  return needsNodePorts(spec) || byAddress;
}

export function needsHealthCheckPort(spec: JsonObject): boolean {
  return isLoadBalancer(spec) && spec["externalTrafficPolicy"] === "Local";
}

/** The number of a port field; undefined for none, which clients also write as 0. */
export function portNumber(value: unknown): number | undefined {
  return typeof value === "number" && value !== 0 ? value : undefined;
}

function portsOf(spec: JsonObject): JsonObject[] {
  return arrayOf(spec["ports"]).filter(isObject);
}

/** Fills in what the server allotted before and the update does not mention. */
export function carryOver(spec: JsonObject, before: JsonObject): void {
  if (needsClusterIp(spec) && needsClusterIp(before)) {
    if (stringOf(spec["clusterIP"]) === "" && arrayOf(spec["clusterIPs"]).length === 0) {
      for (const field of ["clusterIP", "clusterIPs"])
        if (before[field] !== undefined) spec[field] = before[field];
    }
    for (const field of ["ipFamilies", "ipFamilyPolicy"])
      if (before[field] !== undefined) spec[field] ??= before[field];
  }
  if (allocatesNodePorts(spec) && needsNodePorts(before)) carryNodePorts(spec, before);
  if (needsHealthCheckPort(spec) && needsHealthCheckPort(before)) {
    spec["healthCheckNodePort"] = portNumber(spec["healthCheckNodePort"]) ?? before["healthCheckNodePort"];
  }
}

/** A port keeps its number by its name, unless another port has taken the number. */
function carryNodePorts(spec: JsonObject, before: JsonObject): void {
  const taken = new Set(portsOf(spec).map((port) => portNumber(port["nodePort"])));
  for (const port of portsOf(spec)) {
    if (portNumber(port["nodePort"]) !== undefined) continue;
    const same = portsOf(before).find((each) => stringOf(each["name"]) === stringOf(port["name"]));
    const number = portNumber(at(same, "nodePort"));
    if (number === undefined || taken.has(number)) continue;
    port["nodePort"] = number;
    taken.add(number);
  }
}

/**
 * Takes away what the former type had and the new one has not, where the update leaves it as it was: whoever
 * changes the type alone need not know of it. What was set anew stays, for validation to refuse.
 */
export function dropFormer(spec: JsonObject, before: JsonObject): void {
  const ends = (needs: (spec: JsonObject) => boolean): boolean => needs(before) && !needs(spec);
  const drop = (...fields: string[]): void => {
    for (const field of fields) if (equal(spec[field], before[field])) delete spec[field];
  };
  if (ends(needsClusterIp)) drop("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy");
  if (ends(needsNodePorts)) dropNodePorts(spec, before);
  if (ends(needsHealthCheckPort)) drop("healthCheckNodePort");
  if (ends(isLoadBalancer)) drop("allocateLoadBalancerNodePorts", "loadBalancerClass");
  if (ends(isExternal)) drop("externalTrafficPolicy");
  if (spec["type"] === "ExternalName") drop("internalTrafficPolicy");
}

function dropNodePorts(spec: JsonObject, before: JsonObject): void {
  const numbers = (of: JsonObject): unknown[] => portsOf(of).map((port) => portNumber(port["nodePort"]));
  if (equal(numbers(spec), numbers(before))) for (const port of portsOf(spec)) delete port["nodePort"];
}
