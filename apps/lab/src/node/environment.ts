import { AxonError } from "@axoneme/base";
import type { Container, EnvVar, Pod } from "kubernetes-types/core/v1";
import { splitFieldPath } from "./fieldpath.ts";

/** What variables may refer to. */
export interface EnvironmentSources {
  pod: Pod;
  podIps: readonly string[];
  hostIps: readonly string[];
  configMap(name: string): Promise<Record<string, string> | undefined>;
  secret(name: string): Promise<Record<string, string> | undefined>;
}

const base: Record<string, string> = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
};

/**
 * The variables of a container: envFrom, then env with references resolved and `$(NAME)` expanded.
 * Throws `pod.env` when something referred to is missing and not optional.
 */
export async function containerEnvironment(
  container: Container,
  sources: EnvironmentSources,
): Promise<Record<string, string>> {
  const env: Record<string, string> = { ...base, HOSTNAME: hostnameOf(sources.pod) };
  for (const source of container.envFrom ?? []) {
    const reference = source.configMapRef ?? source.secretRef;
    if (reference?.name === undefined) continue;
    const kind = source.configMapRef === undefined ? "secret" : "configMap";
    const data = await sources[kind](reference.name);
    if (data === undefined && reference.optional !== true)
      throw missing(container, `${kind} ${reference.name}`);
    for (const [key, value] of Object.entries(data ?? {})) env[`${source.prefix ?? ""}${key}`] = value;
  }
  for (const variable of container.env ?? []) {
    const value = await variableValue(container, variable, sources, env);
    if (value !== undefined) env[variable.name] = value;
  }
  return env;
}

function missing(container: Container, what: string): AxonError {
  return new AxonError(
    "pod.env",
    `the environment of container ${container.name} needs ${what}, which is missing`,
  );
}

export function hostnameOf(pod: Pod): string {
  const wanted = pod.spec?.hostname;
  return wanted === undefined || wanted === "" ? (pod.metadata?.name ?? "").slice(0, 63) : wanted;
}

async function variableValue(
  container: Container,
  variable: EnvVar,
  sources: EnvironmentSources,
  env: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const from = variable.valueFrom;
  if (from === undefined) return expand(variable.value ?? "", env);
  if (from.fieldRef !== undefined) return fieldValue(from.fieldRef.fieldPath, sources);
  if (from.resourceFieldRef !== undefined) return "0";
  const reference = from.configMapKeyRef ?? from.secretKeyRef;
  if (reference === undefined) return undefined;
  const kind = from.configMapKeyRef === undefined ? "secret" : "configMap";
  const value = (await sources[kind](reference.name ?? ""))?.[reference.key];
  if (value === undefined && reference.optional !== true) {
    throw missing(container, `key ${reference.key} of ${kind} ${reference.name ?? ""}`);
  }
  return value;
}

/** The value of a downward-API field path. */
export function fieldValue(
  path: string,
  { pod, podIps, hostIps }: Omit<EnvironmentSources, "configMap" | "secret">,
): string {
  const { field, subscript } = splitFieldPath(path);
  const { metadata, spec } = pod;
  switch (field) {
    case "metadata.name":
      return metadata?.name ?? "";
    case "metadata.namespace":
      return metadata?.namespace ?? "";
    case "metadata.uid":
      return metadata?.uid ?? "";
    case "metadata.labels":
      return subscript === undefined ? pairs(metadata?.labels) : (metadata?.labels?.[subscript] ?? "");
    case "metadata.annotations":
      return subscript === undefined
        ? pairs(metadata?.annotations)
        : (metadata?.annotations?.[subscript] ?? "");
    case "spec.nodeName":
      return spec?.nodeName ?? "";
    case "spec.serviceAccountName":
      return spec?.serviceAccountName ?? "default";
    case "status.podIP":
      return podIps[0] ?? "";
    case "status.podIPs":
      return podIps.join(",");
    case "status.hostIP":
      return hostIps[0] ?? "";
    case "status.hostIPs":
      return hostIps.join(",");
    default:
      throw new AxonError("pod.fieldref", `the field ${path} cannot be given to a container`);
  }
}

function pairs(map: Record<string, string> | undefined): string {
  return Object.entries(map ?? {})
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join("\n");
}

/** Replaces `$(NAME)` by a variable's value; `$$` is a literal dollar, unknown names stay as written. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([^()]+)\)/g, (whole, name?: string) => {
    if (name === undefined) return "$";
    return env[name] ?? whole;
  });
}
