import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, resolve } from "node:path";
import { AxonError } from "@axoneme/base";
import { load } from "js-yaml";
import { type ClusterConfig, inCluster } from "./config.ts";
import {
  basicAuth,
  bearerToken,
  type CredentialSource,
  clientCertificate,
  combined,
  material,
} from "./credentials.ts";
import { type ExecConfig, ExecPlugin } from "./execplugin.ts";

interface ClusterEntry {
  server?: string;
  "certificate-authority"?: string;
  "certificate-authority-data"?: string;
  "insecure-skip-tls-verify"?: boolean;
  "tls-server-name"?: string;
  "proxy-url"?: string;
}

interface UserEntry {
  "client-certificate"?: string;
  "client-certificate-data"?: string;
  "client-key"?: string;
  "client-key-data"?: string;
  token?: string;
  tokenFile?: string;
  username?: string;
  password?: string;
  exec?: ExecConfig;
  "auth-provider"?: unknown;
  as?: string;
  "as-uid"?: string;
  "as-groups"?: string[];
}

interface ContextEntry {
  cluster?: string;
  user?: string;
  namespace?: string;
}

interface Kubeconfig {
  clusters: Map<string, ClusterEntry>;
  users: Map<string, UserEntry>;
  contexts: Map<string, ContextEntry>;
  currentContext: string;
  paths: string[];
}

export interface KubeconfigOptions {
  /** One file; default: the KUBECONFIG list, else ~/.kube/config. */
  path?: string;
  /** Context to use; default: current-context. */
  context?: string;
  env?: NodeJS.ProcessEnv;
}

/**
 * Reads a kubeconfig (several files merge as kubectl merges them: the first to name a thing wins) and picks a
 * context. Throws `kube.config` naming the file and what is missing or not supported.
 */
export function loadKubeconfig(options: KubeconfigOptions = {}): ClusterConfig {
  const env = options.env ?? process.env;
  const merged = mergeFiles(options.path === undefined ? defaultPaths(env) : [options.path]);
  const contextName = options.context ?? merged.currentContext;
  const context = pick(merged, "contexts", contextName, "context");
  const cluster = pick(merged, "clusters", context.cluster ?? "", `cluster of context "${contextName}"`);
  const user = context.user ? pick(merged, "users", context.user, `user of context "${contextName}"`) : {};
  return toConfig(merged.paths, context, cluster, user);
}

/** A named kubeconfig if one is given, else KUBECONFIG, else the pod's service account, else ~/.kube/config. */
export function findConfig(options: KubeconfigOptions = {}): ClusterConfig {
  const env = options.env ?? process.env;
  const explicit = options.path !== undefined || options.context !== undefined || env["KUBECONFIG"];
  if (!explicit && env["KUBERNETES_SERVICE_HOST"]) return inCluster(env);
  return loadKubeconfig(options);
}

function defaultPaths(env: NodeJS.ProcessEnv): string[] {
  const list = (env["KUBECONFIG"] ?? "").split(":").filter((path) => path !== "");
  return list.length > 0 ? list : [resolve(env["HOME"] ?? homedir(), ".kube/config")];
}

function fail(paths: readonly string[], text: string, cause?: unknown): AxonError {
  return new AxonError("kube.config", `kubeconfig ${paths.join(":")}: ${text}`, { cause });
}

function mergeFiles(paths: string[]): Kubeconfig {
  const existing = paths.filter((path) => existsSync(path));
  if (existing.length === 0) throw fail(paths, "no such file; set KUBECONFIG or name one");
  const merged: Kubeconfig = {
    clusters: new Map(),
    users: new Map(),
    contexts: new Map(),
    currentContext: "",
    paths: existing,
  };
  for (const path of existing) mergeFile(merged, path);
  return merged;
}

function mergeFile(merged: Kubeconfig, path: string): void {
  const doc = parseFile(path);
  const dir = dirname(resolve(path));
  for (const [name, entry] of entries<ClusterEntry>(doc["clusters"], "cluster")) {
    keepFirst(merged.clusters, name, absolute(entry, dir, ["certificate-authority"]));
  }
  for (const [name, entry] of entries<UserEntry>(doc["users"], "user")) {
    keepFirst(merged.users, name, absoluteUser(entry, dir));
  }
  for (const [name, entry] of entries<ContextEntry>(doc["contexts"], "context")) {
    keepFirst(merged.contexts, name, entry);
  }
  if (merged.currentContext === "" && typeof doc["current-context"] === "string") {
    merged.currentContext = doc["current-context"];
  }
}

function parseFile(path: string): Record<string, unknown> {
  let doc: unknown;
  try {
    doc = load(readFileSync(path, "utf8"));
  } catch (cause) {
    throw fail([path], "cannot be read as YAML", cause);
  }
  if (typeof doc !== "object" || doc === null || Array.isArray(doc)) throw fail([path], "is no mapping");
  return doc as Record<string, unknown>;
}

function* entries<E>(list: unknown, key: string): Generator<[string, E]> {
  if (!Array.isArray(list)) return;
  for (const item of list as Record<string, unknown>[]) {
    const body = item?.[key];
    if (typeof item?.["name"] === "string") yield [item["name"], (body ?? {}) as E];
  }
}

function keepFirst<E>(map: Map<string, E>, name: string, entry: E): void {
  if (!map.has(name)) map.set(name, entry);
}

/** Paths in a kubeconfig are relative to the file they stand in. */
function absolute<E extends object>(entry: E, dir: string, keys: (keyof E & string)[]): E {
  const copy = { ...entry } as Record<string, unknown>;
  for (const key of keys) {
    const value = copy[key];
    if (typeof value === "string" && value !== "") copy[key] = resolve(dir, value);
  }
  return copy as E;
}

function absoluteUser(entry: UserEntry, dir: string): UserEntry {
  const user = absolute(entry, dir, ["client-certificate", "client-key", "tokenFile"]);
  const command = user.exec?.command;
  // A command with a slash is a path; a bare name is looked up in PATH.
  if (user.exec && command?.includes("/")) user.exec = { ...user.exec, command: resolve(dir, command) };
  return user;
}

function pick<K extends "clusters" | "users" | "contexts">(
  merged: Kubeconfig,
  kind: K,
  name: string,
  what: string,
): Kubeconfig[K] extends Map<string, infer E> ? E : never {
  const map = merged[kind] as Map<string, unknown>;
  const entry = map.get(name);
  if (entry === undefined) {
    const known = [...map.keys()].join(", ") || "none";
    throw fail(merged.paths, `has no ${what} named "${name}" (${kind} there: ${known})`);
  }
  return entry as Kubeconfig[K] extends Map<string, infer E> ? E : never;
}

function decode(paths: string[], key: string, data: string | undefined): string | undefined {
  if (data === undefined || data === "") return undefined;
  const text = Buffer.from(data, "base64").toString("utf8");
  if (!text.includes("-----BEGIN ")) throw fail(paths, `${key} is not base64 of a PEM text`);
  return text;
}

function toConfig(
  paths: string[],
  context: ContextEntry,
  cluster: ClusterEntry,
  user: UserEntry,
): ClusterConfig {
  if (!cluster.server) throw fail(paths, `cluster "${context.cluster}" has no server`);
  if (cluster["proxy-url"]) throw fail(paths, "proxy-url is not supported; connect directly");
  const ca = material(
    decode(paths, "certificate-authority-data", cluster["certificate-authority-data"]),
    cluster["certificate-authority"],
  );
  const headers = impersonation(user);
  return {
    server: cluster.server,
    namespace: context.namespace || "default",
    insecure: cluster["insecure-skip-tls-verify"] === true,
    credentials: credentialsOf(paths, cluster, user),
    ...(ca === undefined ? {} : { ca }),
    ...(cluster["tls-server-name"] ? { tlsServerName: cluster["tls-server-name"] } : {}),
    ...(headers === undefined ? {} : { headers }),
  };
}

function impersonation(user: UserEntry): Record<string, string | string[]> | undefined {
  if (!user.as) return undefined;
  return {
    "impersonate-user": user.as,
    ...(user["as-uid"] ? { "impersonate-uid": user["as-uid"] } : {}),
    ...(user["as-groups"]?.length ? { "impersonate-group": user["as-groups"] } : {}),
  };
}

function credentialsOf(paths: string[], cluster: ClusterEntry, user: UserEntry): CredentialSource {
  if (user["auth-provider"]) throw fail(paths, "auth-provider is not supported; use exec or a token");
  const sources: CredentialSource[] = [];
  const certificate = material(
    decode(paths, "client-certificate-data", user["client-certificate-data"]),
    user["client-certificate"],
  );
  const key = material(decode(paths, "client-key-data", user["client-key-data"]), user["client-key"]);
  if ((certificate === undefined) !== (key === undefined)) {
    throw fail(paths, "a client certificate needs its key, and a key its certificate");
  }
  if (certificate !== undefined && key !== undefined) sources.push(clientCertificate(certificate, key));
  if (user.exec) {
    sources.push(new ExecPlugin(user.exec, execCluster(cluster)));
  }
  // kubectl: tokenFile wins over token, either over a name and password.
  const token = user.tokenFile ? material(undefined, user.tokenFile) : material(user.token, undefined);
  if (token !== undefined) sources.push(bearerToken(token));
  else if (user.username !== undefined) sources.push(basicAuth(user.username, user.password ?? ""));
  return combined(sources);
}

function execCluster(cluster: ClusterEntry): object {
  const data = cluster["certificate-authority-data"];
  return {
    server: cluster.server,
    ...(data ? { "certificate-authority-data": data } : {}),
    ...(cluster["insecure-skip-tls-verify"] ? { "insecure-skip-tls-verify": true } : {}),
    ...(cluster["tls-server-name"] ? { "tls-server-name": cluster["tls-server-name"] } : {}),
  };
}
