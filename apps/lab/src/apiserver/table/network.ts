import { arrayOf, at, type KubeObject, objectOf, stringOf } from "../object.ts";
import { selectorText } from "../selectors.ts";
import { age, ageColumn, type Column, nameColumn, pathColumn } from "./columns.ts";

function selector(object: KubeObject, ...path: string[]): string {
  const value = at(object, ...path);
  return value === undefined ? "<none>" : selectorText(value) || "<none>";
}

function externalIp(service: KubeObject): string {
  const type = at(service, "spec", "type");
  const given = arrayOf(at(service, "spec", "externalIPs")).map(String);
  if (type === "ExternalName") return stringOf(at(service, "spec", "externalName"));
  if (type !== "LoadBalancer") return given.join(",") || "<none>";
  const assigned = arrayOf(at(service, "status", "loadBalancer", "ingress")).map(
    (each) => stringOf(at(each, "ip")) || stringOf(at(each, "hostname")),
  );
  return [...assigned, ...given].join(",") || "<pending>";
}

function servicePorts(service: KubeObject): string {
  const ports = arrayOf(at(service, "spec", "ports")).map((port) => {
    const { port: number, nodePort, protocol } = objectOf(port);
    const node = typeof nodePort === "number" && nodePort > 0 ? `:${nodePort}` : "";
    return `${String(number)}${node}/${String(protocol)}`;
  });
  return ports.join(",") || "<none>";
}

export const services: readonly Column[] = [
  nameColumn,
  pathColumn("Type", "spec.type"),
  {
    name: "Cluster-IP",
    type: "string",
    cell: (service) => stringOf(at(service, "spec", "clusterIP")) || "<none>",
  },
  { name: "External-IP", type: "string", cell: externalIp },
  { name: "Port(s)", type: "string", cell: servicePorts },
  ageColumn,
  { name: "Selector", type: "string", priority: 1, cell: (service) => selector(service, "spec", "selector") },
];

/** The first three and how many more. */
function few(list: string[], unset: string): string {
  if (list.length === 0) return unset;
  return list.length > 3 ? `${list.slice(0, 3).join(",")} + ${list.length - 3} more...` : list.join(",");
}

export const endpoints: readonly Column[] = [
  nameColumn,
  {
    name: "Endpoints",
    type: "string",
    cell: (object) => {
      const all = arrayOf(at(object, "subsets")).flatMap((subset) =>
        arrayOf(at(subset, "ports")).flatMap((port) =>
          arrayOf(at(subset, "addresses")).map((address) => {
            const ip = stringOf(at(address, "ip"));
            return `${ip.includes(":") ? `[${ip}]` : ip}:${String(at(port, "port"))}`;
          }),
        ),
      );
      return few(all, "<none>");
    },
  },
  ageColumn,
];

export const endpointSlices: readonly Column[] = [
  nameColumn,
  pathColumn("AddressType", "addressType"),
  {
    name: "Ports",
    type: "string",
    cell: (object) =>
      few(
        arrayOf(object["ports"]).map((port) => String(at(port, "port") ?? at(port, "name"))),
        "<unset>",
      ),
  },
  {
    name: "Endpoints",
    type: "string",
    cell: (object) =>
      few(
        arrayOf(object["endpoints"]).flatMap((each) => arrayOf(at(each, "addresses")).map(String)),
        "<unset>",
      ),
  },
  ageColumn,
];

export const networkPolicies: readonly Column[] = [
  nameColumn,
  { name: "Pod-Selector", type: "string", cell: (object) => selector(object, "spec", "podSelector") },
  ageColumn,
];

export const ingresses: readonly Column[] = [
  nameColumn,
  pathColumn("Class", "spec.ingressClassName"),
  {
    name: "Hosts",
    type: "string",
    cell: (object) =>
      few(
        arrayOf(at(object, "spec", "rules")).map((rule) => stringOf(at(rule, "host")) || "*"),
        "*",
      ),
  },
  {
    name: "Address",
    type: "string",
    cell: (object) =>
      arrayOf(at(object, "status", "loadBalancer", "ingress"))
        .map((each) => stringOf(at(each, "ip")) || stringOf(at(each, "hostname")))
        .join(","),
  },
  {
    name: "Ports",
    type: "string",
    cell: (object) => (arrayOf(at(object, "spec", "tls")).length > 0 ? "80, 443" : "80"),
  },
  ageColumn,
];

export const leases: readonly Column[] = [
  nameColumn,
  pathColumn("Holder", "spec.holderIdentity", 0, "string", ""),
  ageColumn,
];

export const events: readonly Column[] = [
  {
    name: "Last Seen",
    type: "string",
    cell: (event, now) => {
      const first = event["firstTimestamp"] ?? event["eventTime"];
      const last = at(event, "series", "lastObservedTime") ?? event["lastTimestamp"] ?? event["eventTime"];
      const count = Number(at(event, "series", "count") ?? event["count"] ?? 1);
      return count > 1 ? `${age(last, now)} (x${count} over ${age(first, now)})` : age(last, now);
    },
  },
  pathColumn("Type", "type"),
  pathColumn("Reason", "reason"),
  {
    name: "Object",
    type: "string",
    cell: (event) => {
      const { kind, name } = objectOf(event["involvedObject"]);
      return stringOf(name) === ""
        ? stringOf(kind).toLowerCase()
        : `${stringOf(kind).toLowerCase()}/${String(name)}`;
    },
  },
  pathColumn("Subobject", "involvedObject.fieldPath", 1, "string", ""),
  {
    name: "Source",
    type: "string",
    priority: 1,
    cell: (event) =>
      [at(event, "source", "component") ?? event["reportingComponent"], at(event, "source", "host")]
        .filter(Boolean)
        .join(", "),
  },
  { name: "Message", type: "string", cell: (event) => stringOf(event["message"]).trim() },
  {
    name: "First Seen",
    type: "string",
    priority: 1,
    cell: (event, now) => age(event["firstTimestamp"] ?? event["eventTime"], now),
  },
  { name: "Count", type: "string", priority: 1, cell: (event) => String(event["count"] ?? 1) },
  { ...nameColumn, priority: 1 },
];
