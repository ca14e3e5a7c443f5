import { type Cause, invalidValue, required, unsupportedValue } from "../errors.ts";
import { arrayOf, at, isObject, objectOf } from "../object.ts";
import type { Strategy } from "../resources/resource.ts";
import { formatError, isPrefix } from "../schema/formats.ts";

const dataKey = /^[-._a-zA-Z0-9]+$/;

function dataCauses(fields: Record<string, unknown>, where: string): Cause[] {
  return Object.keys(fields)
    .filter((key) => key.length > 253 || !dataKey.test(key))
    .map((key) =>
      invalidValue(
        `${where}[${key}]`,
        key,
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
      ),
    );
}

export const configMapStrategy: Strategy = {
  validate: (object) => [
    ...dataCauses(objectOf(object["data"]), "data"),
    ...dataCauses(objectOf(object["binaryData"]), "binaryData"),
  ],
};

/** stringData is write-only: it becomes base64 in data. */
export const secretStrategy: Strategy = {
  defaults(object) {
    object["type"] ??= "Opaque";
    if (!isObject(object["stringData"])) return;
    const data: Record<string, unknown> = { ...objectOf(object["data"]) };
    for (const [key, value] of Object.entries(object["stringData"])) {
      data[key] = Buffer.from(String(value)).toString("base64");
    }
    object["data"] = data;
    delete object["stringData"];
  },
  validate(object, old) {
    const causes = dataCauses(objectOf(object["data"]), "data");
    for (const [key, value] of Object.entries(objectOf(object["data"]))) {
      if (typeof value !== "string" || formatError("byte", value) !== undefined) {
        causes.push(invalidValue(`data[${key}]`, "<hidden>", "must be base64"));
      }
    }
    if (old !== undefined && old["type"] !== object["type"]) {
      causes.push(invalidValue("type", object["type"], "field is immutable"));
    }
    return causes;
  },
};

/** Of podCIDR and podCIDRs either may be given; the other follows. */
export const nodeStrategy: Strategy = {
  keepsStatus: true,
  defaults(object) {
    const spec = objectOf(object["spec"]);
    if (object["spec"] === undefined) object["spec"] = spec;
    const cidrs = arrayOf(spec["podCIDRs"]);
    if (spec["podCIDR"] === undefined && cidrs.length > 0) spec["podCIDR"] = cidrs[0];
    if (typeof spec["podCIDR"] === "string" && cidrs.length === 0) spec["podCIDRs"] = [spec["podCIDR"]];
  },
  validate(object, old) {
    const causes: Cause[] = [];
    const cidrs = arrayOf(at(object, "spec", "podCIDRs"));
    for (const [i, cidr] of cidrs.entries()) {
      if (typeof cidr !== "string" || !isPrefix(cidr)) {
        causes.push(
          invalidValue(
            `spec.podCIDRs[${i}]`,
            cidr,
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
          ),
        );
      }
    }
    const before = arrayOf(at(old, "spec", "podCIDRs"));
    if (before.length > 0 && JSON.stringify(before) !== JSON.stringify(cidrs)) {
      causes.push({
        reason: "FieldValueForbidden",
        message: 'Forbidden: node updates may not change podCIDR except from "" to valid',
        field: "spec.podCIDRs",
      });
    }
    return causes;
  },
};

const addressTypes = ["IPv4", "IPv6", "FQDN"];

export const endpointSliceStrategy: Strategy = {
  defaults(object) {
    object["endpoints"] ??= [];
    for (const port of arrayOf(object["ports"])) {
      if (!isObject(port)) continue;
      port["name"] ??= "";
      port["protocol"] ??= "TCP";
    }
  },
  validate(object, old) {
    const causes: Cause[] = [];
    const type = object["addressType"];
    if (type === undefined) causes.push(required("addressType"));
    else if (!addressTypes.includes(String(type)))
      causes.push(unsupportedValue("addressType", type, addressTypes));
    if (old !== undefined && old["addressType"] !== type) {
      causes.push(invalidValue("addressType", type, "field is immutable"));
    }
    for (const [i, endpoint] of arrayOf(object["endpoints"]).entries()) {
      const addresses = arrayOf(at(endpoint, "addresses"));
      if (addresses.length === 0)
        causes.push(required(`endpoints[${i}].addresses`, "must contain at least 1 address"));
      for (const [j, address] of addresses.entries()) {
        const format = type === "IPv4" ? "ipv4" : type === "IPv6" ? "ipv6" : "hostname";
        if (formatError(format, String(address)) !== undefined) {
          causes.push(
            invalidValue(
              `endpoints[${i}].addresses[${j}]`,
              address,
              `must be a valid ${String(type)} address`,
            ),
          );
        }
      }
    }
    return causes;
  },
};
