import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { AxonError } from "@axoneme/base";
import { highestLabNumber } from "../network/plan.ts";
import { cgroup2Root } from "./cgroup.ts";
import { bpffsRoot, checkName, type HostRoots, runRoot } from "./paths.ts";

export type RoutingMode = "native" | "tunnel";

/**
 * The CNI network of a lab's nodes. In every text of `plugins` these are replaced: `{{node}}`, `{{nodeDir}}`
 * (nodes/<node> of the state directory), `{{podCIDR4}}`, `{{podCIDR6}}` (a fixed share for each node, for
 * plugins that do not ask us).
 */
export interface CniTemplate {
  cniVersion: string;
  name: string;
  plugins: readonly ({ type: string } & Record<string, unknown>)[];
  /** Directories of plugin programs. */
  path: readonly string[];
  /** Whether the plugins run inside the node's namespace. */
  runInNode: boolean;
}

/**
 * Who may do what at the lab's API server. Without it whoever is known may do everything. What the accounts ask for is
 * written to asked.jsonl of the state directory, once each.
 */
export interface LabRbac {
  /** Roles, bindings and what they need, made before anything else. */
  objects: readonly { apiVersion: string; kind: string; metadata: { name: string; namespace?: string } }[];
  /** Service accounts, as `namespace:name`: each gets kubeconfig.<name> for nodes, kubeconfig.<name>.host beside it. */
  accounts: readonly string[];
}

/** What a lab is made of; kept as lab.json in its state directory. */
export interface LabConfig {
  version: 1;
  name: string;
  number: number;
  nodes: readonly string[];
  routingMode: RoutingMode;
  /** Whether the nodes' links carry XDP. */
  xdp: boolean;
  /** Further options of the agent, over those the lab sets; `{{node}}` and `{{nodeDir}}` are replaced. */
  agentConfig: Readonly<Record<string, unknown>>;
  /** `{{config}}` and `{{node}}` are replaced; null: no agent. */
  agentCommand: readonly string[] | null;
  /** `{{config}}` and `{{kubeconfig}}` are replaced; null: no operator. */
  operatorCommand: readonly string[] | null;
  /** `{{config}}` is replaced; null: no relay. */
  relayCommand: readonly string[] | null;
  cni: CniTemplate;
  rbac?: LabRbac;
  /** Kubeconfig of an API server to use in place of one of the lab's own, and of its controllers where it has any. */
  kubeconfig?: string;
  /** Nodes whose pods somebody else runs: the lab keeps them alive only. */
  foreignNodes?: readonly string[];
  /** Image name to root file system. */
  images: Readonly<Record<string, string>>;
  node: { graceMs: number; evictAfterMs: number };
}

/** The places labs use on this machine. */
export function hostRoots(): HostRoots {
  return { run: process.env["AXON_RUN_DIR"] ?? runRoot, cgroup2: cgroup2Root(), bpffs: bpffsRoot };
}

export function readConfig(path: string): LabConfig {
  let config: Partial<LabConfig>;
  try {
    config = JSON.parse(readFileSync(path, "utf8")) as Partial<LabConfig>;
  } catch (cause) {
    throw new AxonError("lab.config", `${path} cannot be read: take the lab down and up again`, { cause });
  }
  if (config.version !== 1 || config.name === undefined || !Array.isArray(config.nodes)) {
    throw new AxonError("lab.config", `${path} is not a lab's configuration: take the lab down and up again`);
  }
  return config as LabConfig;
}

export function writeConfig(path: string, config: LabConfig): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}

/** Names of nodes: given, or node1, node2, ... */
export function nodeNames(nodes: number | readonly string[]): string[] {
  const names =
    typeof nodes === "number" ? Array.from({ length: nodes }, (_, i) => `node${i + 1}`) : [...nodes];
  for (const name of names) checkName("node", name);
  if (names.includes("net") || new Set(names).size !== names.length) {
    throw new AxonError(
      "lab.nodes",
      `node names must differ from each other and from "net": ${names.join(", ")}`,
    );
  }
  return names;
}

/** The lowest lab number that no other lab's configuration names. */
export function freeNumber(runDir: string): number {
  const taken = new Set<number>();
  if (existsSync(runDir)) {
    for (const lab of readdirSync(runDir)) {
      const file = join(runDir, lab, "lab.json");
      try {
        taken.add(readConfig(file).number);
      } catch {
        // A directory without a readable configuration holds no number.
        taken.delete(-1);
      }
    }
  }
  for (let number = 0; number <= highestLabNumber; number++) if (!taken.has(number)) return number;
  throw new AxonError("lab.number", `all ${highestLabNumber + 1} lab numbers are taken: take a lab down`);
}

/** Replaces `{{name}}` in every text of a JSON value. */
export function substitute<T>(value: T, values: Readonly<Record<string, string>>): T {
  if (typeof value === "string") {
    return value.replace(/\{\{(\w+)\}\}/g, (whole, name: string) => values[name] ?? whole) as T;
  }
  if (Array.isArray(value)) return value.map((entry: unknown) => substitute(entry, values)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, substitute<unknown>(entry, values)]),
  ) as T;
}
