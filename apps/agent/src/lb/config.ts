import { AxonError, type Prefix, parsePrefixOrIp } from "@axoneme/base";
import type { AgentConfig } from "../options.ts";
import type { ServiceKind } from "./options.ts";

/** Ports, inclusive. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** The checked configuration of Services: texts read, ranges compared. */
export interface ServiceConfig {
  readonly kinds: ReadonlySet<ServiceKind>;
  readonly nodePorts: PortRange;
  /** Empty: every address of the node serves NodePorts. */
  readonly nodePortAddresses: readonly Prefix[];
  readonly natPorts: PortRange;
  readonly deny: readonly Prefix[];
  readonly healthz: { readonly host: string; readonly port: number } | undefined;
}

/**
 * Reads and checks the options of Services.
 * @throws AxonError `config.invalid` naming every option that is wrong, why, and what would be right.
 */
export function serviceConfig(config: AgentConfig): ServiceConfig {
  const problems: string[] = [];
  const read = <T>(name: keyof AgentConfig, parse: () => T, otherwise: T): T => {
    try {
      return parse();
    } catch (error) {
      problems.push(`"${name}" ${(error as Error).message}`);
      return otherwise;
    }
  };
  const none: PortRange = { first: 1, last: 0 };
  const nodePorts = read("nodePortRange", () => parseRange(config.nodePortRange), none);
  const natPorts = read("natPortRange", () => parseRange(config.natPortRange), none);
  if (natPorts.first <= nodePorts.last && nodePorts.first <= natPorts.last) {
    problems.push(
      `"natPortRange" ${rangeText(natPorts)} overlaps "nodePortRange" ${rangeText(nodePorts)}: a translated packet would look like one to a NodePort; begin it at ${nodePorts.last + 1}`,
    );
  }
  if (config.l2AnnouncementsRenewDeadline >= config.l2AnnouncementsLeaseDuration) {
    problems.push(
      `"l2AnnouncementsRenewDeadline" ${config.l2AnnouncementsRenewDeadline} has to be below "l2AnnouncementsLeaseDuration" ${config.l2AnnouncementsLeaseDuration}: else two nodes could announce one address`,
    );
  }
  const prefixes = (name: "nodePortAddresses" | "denyCIDRs") =>
    read(name, () => config[name].map(parseCidr), []);
  const result: ServiceConfig = {
    kinds: new Set(kindsOf(config)),
    nodePorts,
    nodePortAddresses: prefixes("nodePortAddresses"),
    natPorts,
    deny: prefixes("denyCIDRs"),
    healthz: read("healthzAddress", () => parseAddress(config.healthzAddress), undefined),
  };
  if (problems.length > 0)
    throw new AxonError("config.invalid", `configuration refused: ${problems.join("; ")}`);
  return result;
}

/** Without the replacement of kube-proxy only pods' look-ups of cluster addresses are ours. */
export function kindsOf({ kubeProxyReplacement, serviceKinds }: AgentConfig): readonly ServiceKind[] {
  const kinds = serviceKinds as readonly ServiceKind[];
  return kubeProxyReplacement ? kinds : kinds.filter((kind) => kind === "ClusterIP");
}

function parseRange(text: string): PortRange {
  const [, from, to] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? [];
  const range = { first: Number(from), last: Number(to) };
  if (from === undefined || range.first < 1 || range.last > 65_535 || range.first > range.last)
    throw new Error(`must be first-last within 1-65535, got ${JSON.stringify(text)}`);
  return range;
}

function rangeText({ first, last }: PortRange): string {
  return `${first}-${last}`;
}

function parseCidr(text: string): Prefix {
  try {
    return parsePrefixOrIp(text);
  } catch {
    throw new Error(`must contain CIDRs like 10.0.0.0/8 or fd00::/8, got ${JSON.stringify(text)}`);
  }
}

function parseAddress(text: string): ServiceConfig["healthz"] {
  if (text === "") return undefined;
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) < 1 || Number(port) > 65_535)
    throw new Error(`must be host:port, got ${JSON.stringify(text)}`);
  return { host: bracketed ?? plain ?? "", port: Number(port) };
}
