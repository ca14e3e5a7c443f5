import { type Cause, invalidValue, required, unsupportedValue } from "../errors.ts";
import { arrayOf, at, ensureObject, isObject } from "../object.ts";
import type { Strategy } from "../resources/resource.ts";
import { isPrefix } from "../schema/formats.ts";

function defaultPorts(rules: unknown): void {
  for (const rule of arrayOf(rules)) {
    for (const port of arrayOf(at(rule, "ports"))) if (isObject(port)) port["protocol"] ??= "TCP";
  }
}

function peerCauses(peer: unknown, where: string): Cause[] {
  if (!isObject(peer)) return [required(where)];
  const given = ["ipBlock", "podSelector", "namespaceSelector"].filter((field) => peer[field] !== undefined);
  if (given.length === 0) return [required(where, "must specify a peer")];
  if (!given.includes("ipBlock")) return [];
  if (given.length > 1) {
    return [
      {
        reason: "FieldValueForbidden",
        message: "Forbidden: may not specify both ipBlock and another peer",
        field: where,
      },
    ];
  }
  const cidr = at(peer, "ipBlock", "cidr");
  if (typeof cidr !== "string" || cidr === "") return [required(`${where}.ipBlock.cidr`)];
  const causes: Cause[] = [];
  for (const [text, field] of [
    [cidr, "cidr"],
    ...arrayOf(at(peer, "ipBlock", "except")).map((each, i) => [each, `except[${i}]`]),
  ] as [unknown, string][]) {
    if (typeof text !== "string" || !isPrefix(text)) {
      causes.push(
        invalidValue(
          `${where}.ipBlock.${field}`,
          text,
          "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ),
      );
    }
  }
  return causes;
}

function portCauses(port: unknown, where: string): Cause[] {
  const number = at(port, "port");
  const end = at(port, "endPort");
  const causes: Cause[] = [];
  const protocol = at(port, "protocol");
  if (protocol !== undefined && !["TCP", "UDP", "SCTP"].includes(String(protocol))) {
    causes.push(unsupportedValue(`${where}.protocol`, protocol, ["SCTP", "TCP", "UDP"]));
  }
  if (typeof number === "number" && (number < 1 || number > 65_535)) {
    causes.push(invalidValue(`${where}.port`, number, "must be between 1 and 65535, inclusive"));
  }
  if (end !== undefined && typeof number !== "number") {
    causes.push(invalidValue(`${where}.endPort`, end, "may not be specified when `port` is not a number"));
  } else if (typeof end === "number" && typeof number === "number" && end < number) {
    causes.push(invalidValue(`${where}.endPort`, end, "must be greater than or equal to `port`"));
  }
  return causes;
}

/** policyTypes follow from the rules when left out; ports are TCP. */
export const networkPolicyStrategy: Strategy = {
  defaults(object) {
    const spec = ensureObject(object, "spec");
    // Clients may leave it out; stored policies always say whom they are for.
    spec["podSelector"] ??= {};
    if (arrayOf(spec["policyTypes"]).length === 0) {
      spec["policyTypes"] = arrayOf(spec["egress"]).length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
    }
    defaultPorts(spec["ingress"]);
    defaultPorts(spec["egress"]);
  },
  validate(object) {
    const causes: Cause[] = [];
    for (const [direction, peers] of [
      ["ingress", "from"],
      ["egress", "to"],
    ] as const) {
      for (const [i, rule] of arrayOf(at(object, "spec", direction)).entries()) {
        const where = `spec.${direction}[${i}]`;
        for (const [j, peer] of arrayOf(at(rule, peers)).entries())
          causes.push(...peerCauses(peer, `${where}.${peers}[${j}]`));
        for (const [j, port] of arrayOf(at(rule, "ports")).entries())
          causes.push(...portCauses(port, `${where}.ports[${j}]`));
      }
    }
    for (const [i, type] of arrayOf(at(object, "spec", "policyTypes")).entries()) {
      if (type !== "Ingress" && type !== "Egress") {
        causes.push(unsupportedValue(`spec.policyTypes[${i}]`, type, ["Egress", "Ingress"]));
      }
    }
    return causes;
  },
};
