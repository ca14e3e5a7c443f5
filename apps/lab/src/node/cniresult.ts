import { AxonError, parseInterfaceAddress } from "@axoneme/base";

/** The success result of CNI 0.4 to 1.1, as far as a runtime reads it. */
export interface CniResult {
  cniVersion: string;
  interfaces: { name: string; mac?: string; sandbox?: string }[];
  ips: { address: string; gateway?: string; interface?: number }[];
  routes: { dst: string; gw?: string }[];
}

/** The error result of the spec. */
export interface CniErrorObject {
  code: number;
  msg: string;
  details?: string;
}

const supported = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

function invalid(what: string): AxonError {
  return new AxonError("cni.result", `the CNI plugin's result is not valid: ${what}`);
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(`${what} is not an object`);
  return value as Record<string, unknown>;
}

function list(value: unknown, what: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(`${what} is not a list`);
  return value;
}

function text(value: unknown, what: string): string {
  if (typeof value !== "string" || value === "") throw invalid(`${what} is not a text`);
  return value;
}

/** Reads a success result strictly: a wrong type anywhere is an error that names the field. */
export function parseCniResult(stdout: string): CniResult {
  let json: unknown;
  try {
    json = JSON.parse(stdout);
  } catch (cause) {
    throw new AxonError("cni.result", "the CNI plugin printed no JSON", { cause });
  }
  const result = record(json, "the result");
  const cniVersion = text(result["cniVersion"], "cniVersion");
  if (!supported.includes(cniVersion))
    throw invalid(`cniVersion ${cniVersion} is not one of ${supported.join(", ")}`);
  const interfaces = list(result["interfaces"], "interfaces").map((entry, i) => {
    const row = record(entry, `interfaces[${i}]`);
    const { mac, sandbox } = row;
    return {
      name: text(row["name"], `interfaces[${i}].name`),
      ...(typeof mac === "string" ? { mac } : {}),
      ...(typeof sandbox === "string" ? { sandbox } : {}),
    };
  });
  const ips = list(result["ips"], "ips").map((entry, i) => parseIpEntry(entry, i, interfaces.length));
  const routes = list(result["routes"], "routes").map((entry, i) => {
    const row = record(entry, `routes[${i}]`);
    const gw = row["gw"];
    return { dst: text(row["dst"], `routes[${i}].dst`), ...(typeof gw === "string" ? { gw } : {}) };
  });
  return { cniVersion, interfaces, ips, routes };
}

function parseIpEntry(entry: unknown, i: number, interfaces: number): CniResult["ips"][number] {
  const row = record(entry, `ips[${i}]`);
  const address = text(row["address"], `ips[${i}].address`);
  try {
    parseInterfaceAddress(address);
  } catch (cause) {
    throw new AxonError("cni.result", `ips[${i}].address ${address} is not an address with a prefix length`, {
      cause,
    });
  }
  const index = row["interface"];
  if (index !== undefined && (typeof index !== "number" || index < 0 || index >= interfaces)) {
    throw invalid(`ips[${i}].interface ${String(index)} is not an index of interfaces`);
  }
  const gateway = row["gateway"];
  return {
    address,
    ...(typeof gateway === "string" ? { gateway } : {}),
    ...(typeof index === "number" ? { interface: index } : {}),
  };
}

/** The pod's addresses without prefix lengths, in the plugin's order; host-side interfaces are left out. */
export function podAddresses(result: CniResult): string[] {
  return result.ips
    .filter(({ interface: index }) => {
      if (index === undefined) return true;
      return (result.interfaces[index]?.sandbox ?? "") !== "";
    })
    .map(({ address }) => address.slice(0, address.indexOf("/")));
}

/** The error object a plugin printed, or undefined when it printed something else. */
export function parseCniError(stdout: string): CniErrorObject | undefined {
  try {
    const json = JSON.parse(stdout) as { code?: unknown; msg?: unknown; details?: unknown };
    if (typeof json.code !== "number" || typeof json.msg !== "string") return undefined;
    return {
      code: json.code,
      msg: json.msg,
      ...(typeof json.details === "string" ? { details: json.details } : {}),
    };
  } catch {
    return undefined;
  }
}
