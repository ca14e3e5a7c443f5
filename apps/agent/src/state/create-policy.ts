import type { Logger } from "@axoneme/base";
import { type Kernel, nextPolicyIds } from "@axoneme/datapath";
import type { Ipcache, LocalIdentities } from "@axoneme/identity";
import { EventRecorder, type KubeClient } from "@axoneme/kube";
import { PolicyEngine } from "@axoneme/policy";
import type { Registry } from "prom-client";
import { Dns } from "../dns/dns.ts";
import type { ProxyProcess } from "../dns/proxy-process.ts";
import type { AgentConfig } from "../options.ts";
import type { IpcacheWriter } from "./ipcache.ts";
import { MapPressure } from "./map-pressure.ts";
import { PolicyModule } from "./policy.ts";
import { PolicyRoom, policyCapacity } from "./policy-room.ts";

/** What policies are made of. */
export interface PolicyParts {
  readonly config: AgentConfig;
  readonly nodeName: string;
  readonly kernel: Kernel;
  readonly client: KubeClient;
  readonly localIdentities: LocalIdentities;
  readonly ipcache: Ipcache;
  readonly ipcacheWriter: IpcacheWriter;
  readonly registry: Registry;
  readonly proxy: ProxyProcess;
  readonly log: Logger;
}

/** Wires the engine, the names in policies, and the room in the maps. */
export function createPolicy(parts: PolicyParts): {
  policy: PolicyModule;
  dns: Dns;
  room: PolicyRoom;
  pressure: MapPressure;
} {
  const { config, kernel, client, ipcache, nodeName, log } = parts;
  const { enableIPv4: ipv4, enableIPv6: ipv6 } = config;
  const { policyId, ruleId } = nextPolicyIds(kernel.maps);
  const capacity = policyCapacity(kernel.maps);
  const engine = new PolicyEngine({
    enforcement: config.policyEnforcement,
    audit: config.policyAuditMode,
    families: { ipv4, ipv6 },
    capacity,
    firstPolicyId: policyId,
    firstRuleId: ruleId,
  });
  const dns = new Dns({ ...parts, engine, dualStack: ipv4 && ipv6 });
  const room = new PolicyRoom({
    engine,
    capacity,
    ipcache,
    ipcacheCapacity: kernel.maps.ipcache.raw.maxEntries,
    events: new EventRecorder(client, { component: "axoneme-agent", host: nodeName, log }),
  });
  const policy = new PolicyModule({
    ...parts,
    engine,
    names: dns.names,
    room,
    cluster: config.clusterName,
    cidrMatch: config.policyCIDRMatchMode,
  });
  const pressure = new MapPressure(
    {
      fills: () => room.fills(),
      closed: () => engine.withdrawn.length,
      refused: () => policy.refused,
      reconsider: () => policy.reconsider(),
    },
    log,
  );
  return { policy, dns, room, pressure };
}
