import { Health, Lifecycle, type Module } from "@axoneme/app";
import type { Logger } from "@axoneme/base";
import type { KubeClient } from "@axoneme/kube";
import { installCrds } from "./crds.ts";
import { EndpointGc } from "./endpointgc.ts";
import { EndpointSlices } from "./endpointslices.ts";
import { EventRecorder } from "./eventrecorder.ts";
import { FixedGc } from "./fixedgc.ts";
import { HubbleCertificates } from "./hubble-certificates.ts";
import { IdentityGc } from "./identitygc.ts";
import { LoadBalancerPools } from "./lbipam.ts";
import { clusterPool, NodeCidrs } from "./nodecidrs.ts";
import { NodeGc } from "./nodegc.ts";
import { NodeReadiness } from "./nodereadiness.ts";
import type { OperatorConfig } from "./options.ts";
import { PoolCidrs } from "./poolcidrs.ts";
import { SlicesRetired } from "./slicesretired.ts";
import { Sources } from "./sources.ts";
import { Sweeper } from "./sweeper.ts";
import { Validity } from "./validity.ts";

/** What a leader runs, from its election to its loss. */
export interface Term {
  readonly lifecycle: Lifecycle;
  readonly health: Health;
  readonly nodeCidrs: NodeCidrs | undefined;
  readonly identityGc: IdentityGc;
  readonly endpointGc: EndpointGc;
  readonly endpointSlices: EndpointSlices | undefined;
  readonly loadBalancerPools: LoadBalancerPools | undefined;
}

/** Puts a leader's modules together; `signal` aborts their calls when the lead is lost. */
export function makeTerm(client: KubeClient, config: OperatorConfig, log: Logger, signal: AbortSignal): Term {
  const health = new Health();
  const lifecycle = new Lifecycle(log, health);
  const sources = new Sources(client, log, config.enableCiliumEndpointSlice);
  const around = { client, sources, log, signal, events: new EventRecorder(client, log) };
  const nodeCidrs =
    config.ipamMode === "cluster-pool" ? new NodeCidrs(clusterPool(config), around) : undefined;
  const identityGc = new IdentityGc(around, {
    timeoutMs: config.identityHeartbeatTimeoutS * 1000,
    ratePerMinute: config.identityGcRatePerMinute,
  });
  const endpointGc = new EndpointGc(around);
  const nodeGc = new NodeGc(around);
  const fixedGc = new FixedGc({ ...around, graceMs: config.fixedAddressGraceS * 1000 });
  const loadBalancerPools = config.enableLbIpam
    ? new LoadBalancerPools(around, config.defaultLbServiceIpam === "lbipam")
    : undefined;
  const endpointSlices = config.enableCiliumEndpointSlice
    ? new EndpointSlices(around, config.cesWritesPerSecond)
    : undefined;
  const sweeper = (name: string, seconds: number, sweep: () => Promise<void>): Module[] =>
    seconds === 0 ? [] : [new Sweeper(name, seconds * 1000, log, sweep)];
  const modules: Module[] = [
    ...(config.installCrds ? [{ name: "crds", start: () => installCrds(client, log, signal) }] : []),
    sources,
    ...(nodeCidrs === undefined ? [] : [nodeCidrs]),
    ...(config.ipamMode === "multi-pool" ? [new PoolCidrs(around)] : []),
    endpointSlices ?? new SlicesRetired(around, config.cesRemovalDelayS * 1000),
    ...sweeper("identity-gc", config.identityGcIntervalS, () => identityGc.sweep()),
    ...sweeper("endpoint-gc", config.endpointGcIntervalS, () => endpointGc.sweep()),
    ...sweeper("fixed-address-gc", config.fixedAddressGcIntervalS, () => fixedGc.sweep()),
    ...sweeper("nodes-gc", config.nodesGcIntervalS, () => nodeGc.sweep()),
    ...(config.removeNodeTaints || config.setNodeNetworkStatus ? [new NodeReadiness(around, config)] : []),
    new Validity(around),
    ...(config.hubbleCertificates ? [new HubbleCertificates(around, certificateOptions(config))] : []),
    ...(loadBalancerPools === undefined ? [] : [loadBalancerPools]),
  ];
  for (const module of modules) lifecycle.add(module);
  return { lifecycle, health, nodeCidrs, identityGc, endpointGc, endpointSlices, loadBalancerPools };
}

function certificateOptions(config: OperatorConfig) {
  const { hubbleCertificatesNamespace: namespace, hubbleCaNamespace: caNamespace, clusterName } = config;
  return { namespace, caNamespace, clusterName };
}
