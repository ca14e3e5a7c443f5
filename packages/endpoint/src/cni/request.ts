import { CniCode, CniError } from "./errors.ts";

/** Versions of the specification we answer to; the first is preferred. */
export const supportedVersions = ["1.1.0", "1.0.0", "0.4.0", "0.3.1", "0.3.0"] as const;

/** Commands that came later than the oldest version, and the versions that have them. */
const since: Partial<Record<CniCommand, readonly string[]>> = {
  CHECK: ["1.1.0", "1.0.0", "0.4.0"],
  STATUS: ["1.1.0"],
  GC: ["1.1.0"],
};

export const commands = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"] as const;
export type CniCommand = (typeof commands)[number];

/** An attachment as the runtime names it in GC (`cni.dev/valid-attachments`). */
export interface Attachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** A result of an earlier plugin in the chain, or of our own ADD, as CHECK passes it back. */
export interface CniResult {
  readonly cniVersion: string;
  readonly interfaces?: readonly { name: string; mac?: string; sandbox?: string; mtu?: number }[];
  /** `version` is "4" or "6", and only there before 1.0.0. */
  readonly ips?: readonly { address: string; gateway?: string; interface?: number; version?: string }[];
  readonly routes?: readonly { dst: string; gw?: string; mtu?: number }[];
  readonly dns?: Readonly<Record<string, unknown>>;
}

/** Which pod the runtime adds; absent when the runtime is not Kubernetes. */
export interface PodRef {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** One call of the plugin, checked. Fields that a command does not carry are empty. */
export interface CniRequest {
  readonly command: CniCommand;
  readonly cniVersion: string;
  readonly networkName: string;
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  readonly pod: PodRef | undefined;
  readonly prevResult: CniResult | undefined;
  readonly validAttachments: readonly Attachment[] | undefined;
  /** What the runtime found in the pod's annotations, where it looks there; bits per second. */
  readonly bandwidth: Bandwidth | undefined;
}

/** Bits per second that a pod may send and be sent; undefined: as many as there are. */
export interface Bandwidth {
  readonly egress: number | undefined;
  readonly ingress: number | undefined;
}

/** Container ids, as the specification allows them. */
const containerIdPattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;

/**
 * Checks one call.
 * @throws CniError with the specification's code: 1 version, 4 environment, 6 not JSON, 7 configuration.
 */
export function parseRequest(env: ReadonlyMap<string, string>, stdin: string): CniRequest {
  const command = parseCommand(env.get("CNI_COMMAND"));
  const config = parseConfig(stdin);
  const cniVersion = parseVersion(config["cniVersion"], command);
  const needsContainer = command === "ADD" || command === "DEL" || command === "CHECK";
  return {
    command,
    cniVersion,
    networkName: typeof config["name"] === "string" ? config["name"] : "",
    containerId: needsContainer ? parseContainerId(env.get("CNI_CONTAINERID")) : "",
    netns: parseNetns(env.get("CNI_NETNS"), command),
    ifname: needsContainer ? parseIfname(env.get("CNI_IFNAME")) : "",
    pod: parsePod(env.get("CNI_ARGS") ?? ""),
    prevResult: parsePrevResult(config["prevResult"]),
    validAttachments: command === "GC" ? parseAttachments(config["cni.dev/valid-attachments"]) : undefined,
    bandwidth: parseBandwidth(parseRuntimeConfig(config["runtimeConfig"])),
  };
}

function parseCommand(value: string | undefined): CniCommand {
  const command = commands.find((c) => c === value);
  if (!command)
    throw environment("CNI_COMMAND", `must be one of ${commands.join(", ")}, got "${value ?? ""}"`);
  return command;
}

function parseConfig(stdin: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(stdin);
  } catch (cause) {
    throw new CniError(CniCode.decode, "the network configuration on stdin is not JSON", String(cause), {
      cause,
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CniError(CniCode.invalidConfig, "the network configuration on stdin is not a JSON object");
  }
  return value as Record<string, unknown>;
}

function parseVersion(value: unknown, command: CniCommand): string {
  if (command === "VERSION") return supportedVersions[0];
  if (typeof value !== "string" || !supportedVersions.some((v) => v === value)) {
    throw new CniError(
      CniCode.incompatibleVersion,
      `cniVersion ${JSON.stringify(value)} is not supported`,
      `supported: ${supportedVersions.join(", ")}`,
    );
  }
  const versions = since[command];
  if (versions !== undefined && !versions.includes(value)) {
    throw new CniError(
      CniCode.incompatibleVersion,
      `${command} needs cniVersion ${versions.at(-1) ?? ""}, the configuration says ${value}`,
    );
  }
  return value;
}

function parseContainerId(value: string | undefined): string {
  if (!value || !containerIdPattern.test(value)) {
    throw environment("CNI_CONTAINERID", `must be 1-128 of [a-zA-Z0-9_.-], got "${value ?? ""}"`);
  }
  return value;
}

function parseNetns(value: string | undefined, command: CniCommand): string {
  if (!value) {
    if (command === "ADD" || command === "CHECK") throw environment("CNI_NETNS", "is missing");
    return "";
  }
  if (!value.startsWith("/") || value.includes("\0") || value.length > 4096) {
    throw environment("CNI_NETNS", `must be an absolute path, got "${value.slice(0, 80)}"`);
  }
  return value;
}

function parseIfname(value: string | undefined): string {
  const bad = !value || value.length > 15 || value === "." || value === ".." || /[/:\s]/.test(value);
  if (bad)
    throw environment("CNI_IFNAME", `must be an interface name of 1-15 characters, got "${value ?? ""}"`);
  return value;
}

/** CNI_ARGS is `K=V;K=V`. Unknown keys are ignored, as IgnoreUnknown=1 asks. */
function parsePod(args: string): PodRef | undefined {
  const values = new Map<string, string>();
  for (const pair of args.split(";")) {
    const at = pair.indexOf("=");
    if (at > 0) values.set(pair.slice(0, at), pair.slice(at + 1));
  }
  const namespace = values.get("K8S_POD_NAMESPACE");
  const name = values.get("K8S_POD_NAME");
  if (!namespace || !name) return undefined;
  return { namespace, name, uid: values.get("K8S_POD_UID") ?? "" };
}

function parsePrevResult(value: unknown): CniResult | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new CniError(CniCode.invalidConfig, "prevResult is not a JSON object");
  }
  const result = value as CniResult;
  for (const list of [result.interfaces, result.ips, result.routes]) {
    if (
      list !== undefined &&
      !(Array.isArray(list) && list.every((e) => typeof e === "object" && e !== null))
    ) {
      throw new CniError(CniCode.invalidConfig, "prevResult has a list that is not a list of objects");
    }
  }
  return result;
}

/**
 * The runtime's own arguments. `portMappings` says what the Pod's host ports say as well, which we serve from there
 * and for as long as the Pod lives: it must be well formed, and is not looked at further.
 */
function parseRuntimeConfig(value: unknown): Readonly<Record<string, unknown>> {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value))
    throw new CniError(CniCode.invalidConfig, "runtimeConfig is not a JSON object");
  const config = value as Readonly<Record<string, unknown>>;
  const mappings = config["portMappings"] ?? [];
  if (!Array.isArray(mappings) || !mappings.every((entry) => typeof entry === "object" && entry !== null))
    throw new CniError(CniCode.invalidConfig, "runtimeConfig.portMappings is not a list of objects");
  return config;
}

function parseBandwidth(config: Readonly<Record<string, unknown>>): Bandwidth | undefined {
  const value = config["bandwidth"];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "object")
    throw new CniError(CniCode.invalidConfig, "runtimeConfig.bandwidth is not a JSON object");
  const { egressRate, ingressRate } = value as { egressRate?: unknown; ingressRate?: unknown };
  const rate = (given: unknown) =>
    typeof given === "number" && Number.isFinite(given) && given > 0 ? given : undefined;
  return { egress: rate(egressRate), ingress: rate(ingressRate) };
}

function parseAttachments(value: unknown): Attachment[] {
  if (!Array.isArray(value)) {
    throw new CniError(
      CniCode.invalidConfig,
      'GC needs the list "cni.dev/valid-attachments" in its configuration',
    );
  }
  return value.map((entry: unknown) => {
    const { containerID, ifname } = (entry ?? {}) as Partial<Attachment>;
    if (typeof containerID !== "string" || typeof ifname !== "string") {
      throw new CniError(
        CniCode.invalidConfig,
        "an entry of cni.dev/valid-attachments lacks containerID or ifname",
      );
    }
    return { containerID, ifname };
  });
}

function environment(name: string, problem: string): CniError {
  return new CniError(CniCode.invalidEnvironment, `${name} ${problem}`);
}
