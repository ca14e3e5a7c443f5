import type { IdentityCache, LocalIdentities } from "@axoneme/identity";
import type { NodePools } from "@axoneme/ipam";
import type { ConntrackCollector } from "../collector.ts";
import type { EndpointManager } from "../endpoint/manager.ts";
import type { LoadBalancing } from "../lb/load-balancing.ts";
import type { AgentConfig } from "../options.ts";
import type { PolicyModule } from "../state/policy.ts";
import { enforcementOf } from "../views/endpoints.ts";
import type { AgentFigures } from "./registry.ts";

/** The parts of an agent that metrics are read from. */
export interface FigureSources {
  readonly config: AgentConfig;
  readonly version: string;
  readonly endpoints: EndpointManager;
  readonly identities: IdentityCache;
  readonly localIdentities: LocalIdentities;
  readonly policy: PolicyModule;
  readonly room: { fills(): ReturnType<AgentFigures["policyMaps"]> };
  readonly pool: NodePools;
  /** Other nodes of the cluster. */
  readonly peers: () => number;
  readonly collector: ConntrackCollector;
  readonly loadBalancing: LoadBalancing;
}

/** What the agent's parts say when somebody scrapes. */
export function agentFigures(parts: FigureSources): AgentFigures {
  const { endpoints, policy, identities, localIdentities, collector, config, version } = parts;
  return {
    endpoints: () => endpoints.endpoints().length,
    identities: () => identities.size,
    localIdentities: () => localIdentities.size,
    enforcement: () =>
      endpoints.endpoints().map(({ record }) => enforcementOf(policy, policy.policyOf(record.id))),
    policies: () => policy.policies().length,
    policyProblem: () => policy.problem !== undefined || policy.refused > 0,
    policyMaps: () => parts.room.fills(),
    addresses: () => parts.pool.totals(),
    nodes: () => parts.peers() + 1,
    sweep: () => collector.last,
    capacities: config,
    services: () => parts.loadBalancing.figures(),
    version,
  };
}
