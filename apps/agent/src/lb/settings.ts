import type { FrontendKind, ServiceCompilerOptions } from "@axoneme/loadbalancer";
import type { AgentConfig } from "../options.ts";
import type { ServiceConfig } from "./config.ts";
import type { ServiceKind } from "./options.ts";

/** What the compiler is made with. */
export type ServiceSettings = Pick<ServiceCompilerOptions, "node" | "settings">;

const kinds: Readonly<Record<ServiceKind, FrontendKind>> = {
  ClusterIP: "ClusterIP",
  NodePort: "NodePort",
  LoadBalancer: "LoadBalancer",
  ExternalIPs: "ExternalIP",
  HostPort: "HostPort",
};

/** The compiler's settings from the agent's options. Local redirects are ours whatever a kube-proxy has. */
export function compilerSettings(
  config: AgentConfig,
  services: ServiceConfig,
  nodeName: string,
): ServiceSettings {
  return {
    node: { name: nodeName },
    settings: {
      algorithm: config.loadBalancerAlgorithm,
      forwarding: config.loadBalancerMode,
      maglevTableSize: config.maglevTableSize,
      kinds: new Set<FrontendKind>([...[...services.kinds].map((kind) => kinds[kind]), "LocalRedirect"]),
      topology: config.serviceTopology,
    },
  };
}
