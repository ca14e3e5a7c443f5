import { AxonError, parsePrefix } from "@axoneme/base";
import { serviceConfig } from "../lb/config.ts";
import type { AgentConfig } from "../options.ts";

/**
 * What cannot hold at once, or cannot be read.
 * @throws AxonError `config.invalid`: which options, why, and what to change
 */
export function refuseContradictions(config: AgentConfig): void {
  const problems = [...families(config), ...hubble(config), ...prefixes(config)];
  if (problems.length > 0)
    throw new AxonError("config.invalid", `configuration refused: ${problems.join("; ")}`);
  serviceConfig(config);
}

function families({ enableIPv4, enableIPv6 }: AgentConfig): string[] {
  if (enableIPv4 || enableIPv6) return [];
  return ['"enableIPv4" and "enableIPv6" are both false: pods need addresses of one family, enable it'];
}

function hubble(config: AgentConfig): string[] {
  const { enableHubble, hubbleListenAddress, hubbleDisableTls } = config;
  const problems: string[] = [];
  if (!enableHubble && hubbleListenAddress !== "")
    problems.push(
      `"hubbleListenAddress" is ${hubbleListenAddress} while "enableHubble" is false: enable it, or empty the address`,
    );
  const files = ["hubbleTlsCert", "hubbleTlsKey", "hubbleTlsClientCa"] as const;
  const given = files.filter((name) => config[name] !== "");
  if (hubbleDisableTls && given.length > 0)
    problems.push(
      `"${given.join('", "')}" are given while "hubbleDisableTls" is true: set it to false, or leave them out`,
    );
  else if (given.length > 0 && given.length < files.length)
    problems.push(
      `"${given.join('", "')}" given without "${files.filter((name) => !given.includes(name)).join('", "')}": a listener needs all three files, or none to take the operator's certificates`,
    );
  return problems;
}

function prefixes({ nonMasqueradeCIDRs }: AgentConfig): string[] {
  return nonMasqueradeCIDRs
    .filter((text) => !isPrefix(text))
    .map(
      (text) =>
        `"nonMasqueradeCIDRs" must contain CIDRs like 10.0.0.0/8 or fd00::/8, got ${JSON.stringify(text)}`,
    );
}

function isPrefix(text: string): boolean {
  try {
    parsePrefix(text);
    return true;
  } catch {
    return false;
  }
}
