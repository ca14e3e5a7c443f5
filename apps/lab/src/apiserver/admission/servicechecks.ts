import { tryParseIp } from "@axoneme/base";
import {
  type Cause,
  duplicate,
  forbiddenField,
  invalidValue,
  required,
  unsupportedValue,
} from "../errors.ts";
import {
  arrayOf,
  at,
  equal,
  isObject,
  type JsonObject,
  type KubeObject,
  objectOf,
  stringOf,
} from "../object.ts";
import { isPrefix } from "../schema/formats.ts";
import {
  isExternal,
  isHeadless,
  isLoadBalancer,
  needsHealthCheckPort,
  needsNodePorts,
  portNumber,
} from "./servicefields.ts";

/** The rules of a Service, in Kubernetes' own words. */

const types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const qualifiedName = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const badAddress = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
/** Addresses that mean something else on every machine: unspecified, loopback, link-local, multicast. */
const special = /^(0\.0\.0\.0$|127\.|169\.254\.|22[4-9]\.|23\d\.|::1?$|fe[89ab]|ff)/i;

/** Every rule the object breaks. Fields must have their defaults. */
export function serviceCauses(object: KubeObject, old: KubeObject | undefined): Cause[] {
  const spec = objectOf(object["spec"]);
  const before = old === undefined ? undefined : objectOf(old["spec"]);
  return [
    ...typeCauses(spec),
    ...addressCauses(spec, before),
    ...portCauses(spec),
    ...policyCauses(spec),
    ...loadBalancerCauses(spec, before),
    ...statusCauses(objectOf(object["status"])),
  ];
}

function typeCauses(spec: JsonObject): Cause[] {
  const causes: Cause[] = [];
  const type = spec["type"];
  if (!types.includes(String(type))) causes.push(unsupportedValue("spec.type", type, types));
  if (type === "ExternalName") {
    if (stringOf(spec["externalName"]) === "") causes.push(required("spec.externalName"));
    if (stringOf(spec["clusterIP"]) !== "" || arrayOf(spec["clusterIPs"]).length > 0)
      causes.push(forbiddenField("spec.clusterIPs[0]", "may not be set for ExternalName services"));
  } else if (arrayOf(spec["ports"]).length === 0 && !isHeadless(spec)) {
    causes.push(required("spec.ports"));
  }
  if (needsNodePorts(spec) && isHeadless(spec)) {
    const why = `may not be set to 'None' for ${String(type)} services`;
    causes.push(invalidValue("spec.clusterIPs[0]", "None", why));
  }
  return causes;
}

function addressCauses(spec: JsonObject, before: JsonObject | undefined): Cause[] {
  const causes: Cause[] = [];
  for (const [i, address] of arrayOf(spec["clusterIPs"]).entries()) {
    if (address !== "None" && tryParseIp(String(address)) === undefined)
      causes.push(invalidValue(`spec.clusterIPs[${i}]`, address, badAddress));
  }
  for (const [i, address] of arrayOf(spec["externalIPs"]).entries()) {
    const text = String(address);
    if (tryParseIp(text) === undefined)
      causes.push(invalidValue(`spec.externalIPs[${i}]`, address, badAddress));
    else if (special.test(text)) {
      const why = "may not be an unspecified, loopback, link-local or multicast address";
      causes.push(invalidValue(`spec.externalIPs[${i}]`, address, why));
    }
  }
  const keeps = spec["type"] !== "ExternalName" && stringOf(before?.["clusterIP"]) !== "";
  if (keeps && !equal(before?.["clusterIP"], spec["clusterIP"]))
    causes.push(invalidValue("spec.clusterIPs[0]", spec["clusterIPs"], "may not change once set"));
  const [family] = arrayOf(spec["ipFamilies"]);
  const [former] = arrayOf(before?.["ipFamilies"]);
  if (keeps && family !== undefined && former !== undefined && family !== former)
    causes.push(invalidValue("spec.ipFamilies[0]", family, "may not change once set"));
  return causes;
}

const protocols = ["SCTP", "TCP", "UDP"];
const portName = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/;
const badPort = "must be between 1 and 65535, inclusive";

function portCauses(spec: JsonObject): Cause[] {
  const ports = arrayOf(spec["ports"]);
  const causes = ports.flatMap((port, i) => onePort(objectOf(port), spec, `spec.ports[${i}]`));
  if (ports.length > 1) {
    for (const [i, port] of ports.entries())
      if (stringOf(at(port, "name")) === "") causes.push(required(`spec.ports[${i}].name`));
  }
  const seen = new Set<string>();
  const once = (key: string, cause: Cause): void => {
    if (seen.has(key)) causes.push(cause);
    seen.add(key);
  };
  for (const [i, port] of ports.entries()) {
    const { name, port: number, protocol, nodePort } = objectOf(port);
    const where = `spec.ports[${i}]`;
    if (stringOf(name) !== "") once(`name ${String(name)}`, duplicate(`${where}.name`, name));
    once(`port ${String(number)}/${String(protocol)}`, duplicate(where, { port: number, protocol }));
    if (portNumber(nodePort) !== undefined)
      once(`node ${String(nodePort)}/${String(protocol)}`, duplicate(`${where}.nodePort`, nodePort));
  }
  return causes;
}

function onePort(port: JsonObject, spec: JsonObject, where: string): Cause[] {
  const causes: Cause[] = [];
  const { port: number, protocol, targetPort, nodePort } = port;
  const isPort = (value: unknown): boolean => typeof value === "number" && value >= 1 && value <= 65_535;
  if (!isPort(number)) causes.push(invalidValue(`${where}.port`, number ?? 0, badPort));
  if (typeof targetPort === "number" && !isPort(targetPort))
    causes.push(invalidValue(`${where}.targetPort`, targetPort, badPort));
  if (typeof targetPort === "string" && !portName.test(targetPort)) {
    const why = "must be a number, or a name of at most 15 lower case letters, digits and single hyphens";
    causes.push(invalidValue(`${where}.targetPort`, targetPort, why));
  }
  if (!protocols.includes(String(protocol)))
    causes.push(unsupportedValue(`${where}.protocol`, protocol, protocols));
  if (portNumber(nodePort) !== undefined && !needsNodePorts(spec)) {
    const why = `may not be used when \`type\` is '${String(spec["type"])}'`;
    causes.push(forbiddenField(`${where}.nodePort`, why));
  }
  return causes;
}

function policyCauses(spec: JsonObject): Cause[] {
  const causes: Cause[] = [];
  const oneOf = (field: string, words: string[]): void => {
    const value = spec[field];
    if (value !== undefined && !words.includes(String(value)))
      causes.push(unsupportedValue(`spec.${field}`, value, words));
  };
  oneOf("sessionAffinity", ["ClientIP", "None"]);
  oneOf("internalTrafficPolicy", ["Cluster", "Local"]);
  oneOf("externalTrafficPolicy", ["Cluster", "Local"]);
  oneOf("ipFamilyPolicy", ["SingleStack", "PreferDualStack", "RequireDualStack"]);
  oneOf("trafficDistribution", ["PreferClose", "PreferSameNode", "PreferSameZone"]);
  const timeout = at(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds");
  if (timeout !== undefined && !(typeof timeout === "number" && timeout >= 1 && timeout <= 86_400)) {
    const where = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
    causes.push(invalidValue(where, timeout, "must be greater than 0 and less than 86400"));
  }
  if (spec["externalTrafficPolicy"] !== undefined && !isExternal(spec)) {
    const why = "may only be set for externally-accessible services";
    causes.push(invalidValue("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], why));
  }
  return causes;
}

function loadBalancerCauses(spec: JsonObject, before: JsonObject | undefined): Cause[] {
  const causes: Cause[] = [];
  const isOne = isLoadBalancer(spec);
  for (const field of ["loadBalancerClass", "allocateLoadBalancerNodePorts", "loadBalancerSourceRanges"]) {
    if (!isOne && spec[field] !== undefined && !equal(spec[field], []))
      causes.push(forbiddenField(`spec.${field}`, "may only be used when `type` is 'LoadBalancer'"));
  }
  const name = spec["loadBalancerClass"];
  if (isOne && name !== undefined && !qualifiedName.test(String(name)))
    causes.push(invalidValue("spec.loadBalancerClass", name, "must be a qualified name"));
  if (isOne && before !== undefined && isLoadBalancer(before) && name !== before["loadBalancerClass"])
    causes.push(invalidValue("spec.loadBalancerClass", name ?? "", "may not change once set"));
  for (const [i, range] of arrayOf(spec["loadBalancerSourceRanges"]).entries()) {
    if (!isPrefix(String(range).trim()))
      causes.push(
        invalidValue(
          `spec.loadBalancerSourceRanges[${i}]`,
          range,
          "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ),
      );
  }
  return [...causes, ...healthCheckCauses(spec, before)];
}

function healthCheckCauses(spec: JsonObject, before: JsonObject | undefined): Cause[] {
  const where = "spec.healthCheckNodePort";
  const number = portNumber(spec["healthCheckNodePort"]);
  if (number !== undefined && !needsHealthCheckPort(spec)) {
    const why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
    return [invalidValue(where, number, why)];
  }
  const stays = before !== undefined && needsHealthCheckPort(before) && needsHealthCheckPort(spec);
  if (stays && number !== portNumber(before["healthCheckNodePort"]))
    return [forbiddenField(where, "field is immutable")];
  return [];
}

function statusCauses(status: JsonObject): Cause[] {
  return arrayOf(at(status, "loadBalancer", "ingress")).flatMap((entry, i) => {
    const where = `status.loadBalancer.ingress[${i}]`;
    const { ip, ipMode } = isObject(entry) ? entry : {};
    const hasIp = stringOf(ip) !== "";
    if (hasIp && tryParseIp(stringOf(ip)) === undefined) return [invalidValue(`${where}.ip`, ip, badAddress)];
    if (ipMode === undefined) return [];
    if (!hasIp) return [forbiddenField(`${where}.ipMode`, "may not be used when `ip` is not set")];
    return ipMode === "VIP" || ipMode === "Proxy"
      ? []
      : [unsupportedValue(`${where}.ipMode`, ipMode, ["Proxy", "VIP"])];
  });
}
