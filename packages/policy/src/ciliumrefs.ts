import type { LabelSource } from "@axoneme/identity";
import { readPrefixes } from "./cidr.ts";
import { type Raw, type Reader, text } from "./reader.ts";
import { groupNamed, inNamespace, serviceNamed } from "./references.ts";
import type { Peer } from "./rule.ts";
import type { Selector } from "./selector.ts";

const SERVICE: ReadonlySet<string> = new Set(["k8sService", "k8sServiceSelector"]);
const NAMED_SERVICE: ReadonlySet<string> = new Set(["serviceName", "namespace"]);
const SERVICE_SELECTOR: ReadonlySet<string> = new Set(["selector", "namespace"]);

/** CIDR groups by name or by labels. An exception counts wherever a group's prefix meets it. */
export function readGroups(reader: Reader, raw: Raw, path: string): Peer | undefined {
  const fields = ["cidr", "cidrGroupRef", "cidrGroupSelector"].filter((field) => reader.given(raw, field));
  if (fields.length > 1) return reader.invalid(path, `${fields.join(" and ")} exclude each other`);
  const except = readPrefixes(reader, reader.items(raw, "except", path), `${path}.except`);
  const ref = raw["cidrGroupRef"];
  const selector =
    fields[0] === "cidrGroupSelector"
      ? readGroupSelector(reader, raw["cidrGroupSelector"], `${path}.cidrGroupSelector`)
      : typeof ref === "string"
        ? groupNamed(ref)
        : reader.invalid(`${path}.cidrGroupRef`, "is not the name of a CiliumCIDRGroup");
  return selector && except && { kind: "groups", selector, except };
}

function readGroupSelector(reader: Reader, value: unknown, path: string): Selector | undefined {
  const selector = reader.selector(value, path);
  if (selector === undefined) return undefined;
  return sourced(reader, selector, "cidrgroup", path);
}

/** A selector on labels of one source: its keys carry that source or none. */
function sourced(
  reader: Reader,
  selector: Selector,
  source: LabelSource,
  path: string,
): Selector | undefined {
  const foreign = selector.requirements.find((r) => r.source !== "any" && r.source !== source);
  if (foreign !== undefined) {
    return reader.invalid(
      path,
      `"${foreign.source}:${foreign.key}" is not a label that can be selected here`,
    );
  }
  return { requirements: selector.requirements.map((r) => ({ ...r, source })) };
}

/** A Service by name, or Services by labels; both count when both are there. */
export function readServices(reader: Reader, value: unknown, path: string, own: string | undefined): Peer[] {
  const raw = reader.object(value, path);
  if (raw === undefined || !reader.only(raw, SERVICE, path)) return [];
  const peers: Peer[] = [];
  if (reader.given(raw, "k8sService")) {
    const selector = readNamedService(reader, raw["k8sService"], `${path}.k8sService`, own);
    if (selector === undefined) return [];
    peers.push({ kind: "services", selector });
  }
  if (reader.given(raw, "k8sServiceSelector")) {
    const selector = readServiceSelector(
      reader,
      raw["k8sServiceSelector"],
      `${path}.k8sServiceSelector`,
      own,
    );
    if (selector === undefined) return [];
    peers.push({ kind: "services", selector });
  }
  if (peers.length === 0) reader.invalid(path, "names no Service (want k8sService or k8sServiceSelector)");
  return peers;
}

function readNamedService(
  reader: Reader,
  value: unknown,
  path: string,
  own: string | undefined,
): Selector | undefined {
  const raw = reader.object(value, path);
  if (raw === undefined || !reader.only(raw, NAMED_SERVICE, path)) return undefined;
  const name = raw["serviceName"];
  if (typeof name !== "string" || name === "") return reader.invalid(`${path}.serviceName`, "is not a name");
  const namespace = readNamespace(reader, raw, path, own);
  if (namespace === "") return reader.invalid(`${path}.namespace`, "is needed in a cluster-wide policy");
  return namespace === undefined ? undefined : serviceNamed(namespace, name);
}

function readServiceSelector(
  reader: Reader,
  value: unknown,
  path: string,
  own: string | undefined,
): Selector | undefined {
  const raw = reader.object(value, path);
  if (raw === undefined || !reader.only(raw, SERVICE_SELECTOR, path)) return undefined;
  const selector = reader.selector(raw["selector"], `${path}.selector`);
  const services = selector && sourced(reader, selector, "k8s", `${path}.selector`);
  if (services === undefined) return undefined;
  const namespace = readNamespace(reader, raw, path, own);
  if (namespace === undefined || namespace === "") return namespace === "" ? services : undefined;
  return { requirements: [...services.requirements, inNamespace(namespace)] };
}

/** The namespace a reference means: its own, else the policy's; empty when there is none; undefined = a problem. */
function readNamespace(reader: Reader, raw: Raw, path: string, own: string | undefined): string | undefined {
  if (!reader.given(raw, "namespace")) return own ?? "";
  return text(raw["namespace"]) ?? reader.invalid(`${path}.namespace`, "is not a name");
}
