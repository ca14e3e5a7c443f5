import { release } from "node:os";
import type { Health, ModuleHealth } from "@axoneme/app";
import { formatIp, formatPrefix, type Prefix } from "@axoneme/base";
import type {
  DnsProxyStatus,
  LoadBalancingStatus,
  ModuleState,
  ModuleStatus,
  ServerStatus,
  StatusResponse,
} from "@axoneme/observe";
import type { NativeDevice } from "../node/local-node.ts";
import { addressesOf } from "../node/local-node.ts";
import type { AgentConfig } from "../options.ts";

/** What /v1/status is made of. */
export interface StatusSources {
  readonly version: string;
  readonly config: AgentConfig;
  readonly nodeName: string;
  readonly health: Health;
  readonly device: () => NativeDevice | undefined;
  readonly podCidrs: () => readonly Prefix[];
  readonly counts: () => { endpoints: number; identities: number; policies: number };
  readonly loadBalancing: () => LoadBalancingStatus;
  readonly dnsProxy: () => DnsProxyStatus;
  readonly flows: () => ServerStatus;
}

const started = new Date();
const severity: readonly ModuleState[] = ["ok", "stopped", "degraded", "failed"];

/** The agent in one answer. */
export function statusView(sources: StatusSources): StatusResponse {
  const { config, health } = sources;
  const device = sources.device();
  const modules = health.modules().map(moduleView);
  const counts = sources.counts();
  const loadBalancing = sources.loadBalancing();
  return {
    api: "v1",
    version: sources.version,
    node: sources.nodeName,
    cluster: config.clusterName,
    state: modules.reduce<ModuleState>(
      (worst, m) => (severity.indexOf(m.state) > severity.indexOf(worst) ? m.state : worst),
      "ok",
    ),
    started: started.toISOString(),
    pid: process.pid,
    kernel: release(),
    routing: config.routingMode,
    device: device?.name ?? "",
    addresses: device ? addressesOf(device).map(formatIp) : [],
    podCidrs: sources.podCidrs().map(formatPrefix),
    masquerade: { ipv4: config.enableIPv4Masquerade, ipv6: config.enableIPv6Masquerade },
    endpoints: { total: counts.endpoints, ready: counts.endpoints },
    identities: counts.identities,
    services: loadBalancing.services,
    loadBalancing,
    dnsProxy: sources.dnsProxy(),
    policies: counts.policies,
    policyCIDRMatchMode: config.policyCIDRMatchMode,
    modules,
    flows: sources.flows(),
  };
}

function moduleView({ name, state, message, since }: ModuleHealth): ModuleStatus {
  const shown = state === "starting" ? "degraded" : state;
  return {
    name,
    state: shown,
    message: state === "starting" ? "starting" : message,
    since: new Date(since).toISOString(),
  };
}
