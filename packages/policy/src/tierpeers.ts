import { labelKeys } from "@axoneme/identity";
import { readPrefixes } from "./cidr.ts";
import { fqdnPeer, readDomainNames } from "./fqdn.ts";
import { allNodes } from "./nodes.ts";
import type { Raw, Reader } from "./reader.ts";
import type { Peer } from "./rule.ts";
import { equals, exists, type Requirement, type Selector } from "./selector.ts";

const FROM: ReadonlySet<string> = new Set(["namespaces", "pods"]);
const PODS: ReadonlySet<string> = new Set(["namespaceSelector", "podSelector"]);
const TO: ReadonlySet<string> = new Set([...FROM, "nodes", "networks", "domainNames"]);

/** The peers of a rule of policy.networking.k8s.io; those that are not understood are named and left out. */
export function readTierPeers(
  reader: Reader,
  raw: Raw,
  field: "from" | "to",
  path: string,
  cluster: string,
): Peer[] {
  const list = reader.items(raw, field, path) ?? [];
  if (list.length === 0) reader.invalid(`${path}.${field}`, "names no peer");
  return list.flatMap((value, i) => readPeer(reader, value, field, `${path}.${field}[${i}]`, cluster));
}

function readPeer(
  reader: Reader,
  value: unknown,
  field: "from" | "to",
  path: string,
  cluster: string,
): Peer[] {
  const raw = reader.object(value, path);
  if (raw === undefined || !reader.only(raw, field === "from" ? FROM : TO, path)) return [];
  const given = Object.keys(raw).filter((name) => raw[name] !== undefined && raw[name] !== null);
  if (given.length !== 1) {
    reader.invalid(path, "wants one kind of peer");
    return [];
  }
  if (given[0] === "nodes") return readNodes(reader, raw["nodes"], `${path}.nodes`);
  if (given[0] === "networks") {
    const prefixes = readPrefixes(reader, reader.items(raw, "networks", path), `${path}.networks`);
    return (prefixes ?? []).map((prefix): Peer => ({ kind: "cidr", prefix, except: [] }));
  }
  if (given[0] === "domainNames") {
    const names = readDomainNames(reader, reader.items(raw, "domainNames", path), `${path}.domainNames`);
    return [...names.names, ...names.patterns].map(fqdnPeer);
  }
  const requirements = readScoped(reader, raw, path);
  if (requirements === undefined) return [];
  const local = equals("k8s", labelKeys.cluster, cluster);
  return [{ kind: "labels", selector: { requirements: [...requirements, local] } }];
}

/** Nodes by labels, this one too. */
function readNodes(reader: Reader, value: unknown, path: string): Peer[] {
  const selector = reader.selector(value, path, "node");
  return selector === undefined ? [] : allNodes(selector);
}

/** `namespaces` or `pods` as requirements on identities; undefined with a problem. */
export function readScoped(reader: Reader, raw: Raw, path: string): Requirement[] | undefined {
  const { namespaces, pods } = raw;
  if ((namespaces === undefined) === (pods === undefined)) {
    return reader.invalid(path, "wants either namespaces or pods");
  }
  if (namespaces !== undefined) {
    const selector = reader.selector(namespaces, `${path}.namespaces`, "k8s");
    return selector && inNamespaces(selector);
  }
  const both = reader.object(pods, `${path}.pods`);
  if (both === undefined || !reader.only(both, PODS, `${path}.pods`)) return undefined;
  const where = reader.selector(both["namespaceSelector"] ?? {}, `${path}.pods.namespaceSelector`, "k8s");
  const which = reader.selector(both["podSelector"] ?? {}, `${path}.pods.podSelector`, "k8s");
  return where && which && [...inNamespaces(where), ...which.requirements];
}

function inNamespaces({ requirements }: Selector): Requirement[] {
  const scoped = requirements.map((r) => ({ ...r, key: `${labelKeys.namespaceLabels}${r.key}` }));
  return [...scoped, exists("k8s", labelKeys.namespace)];
}
