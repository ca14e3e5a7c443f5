import { Aggregation, ConfigFlags, EpFlags } from "@axoneme/abi";
import { hostPrefix, type Ip, ipEqual, ipKey, isV4, type Prefix, parsePrefix } from "@axoneme/base";
import { hooks, type Kernel, type NodeConfig } from "@axoneme/datapath";
import type { Netlink } from "@axoneme/netlink";
import { proxyAddresses, proxyRow } from "../dns/proxy-options.ts";
import type { ServiceConfig } from "../lb/config.ts";
import type { AgentConfig } from "../options.ts";
import type { Acceleration } from "./acceleration.ts";
import type { HostAddress } from "./addresses.ts";
import {
  ensureHostDevice,
  ensureTunnelDevice,
  removeDevice,
  tunnelDeviceName,
  tunnelOverhead,
} from "./host-devices.ts";
import type { NativeDevice } from "./local-node.ts";

/** The node's own addresses among its pods. */
export interface NodeGateways {
  readonly v4: Ip | undefined;
  readonly v6: Ip | undefined;
}

/** Addresses pods see as "the host": link-local multicast and the like are not among them. */
const nothing: Ip = new Uint8Array(16);

/** Seed of the hash by which Maglev look-ups go: the same on all nodes, for ever. */
const hashSeed = 0x61786f6e;

const cidrFlags = {
  address: 0,
  nodes: ConfigFlags.CIDR_NOT_PODS,
  identity: ConfigFlags.CIDR_NOT_PODS | ConfigFlags.CIDR_NOT_NODES,
} as const;

const aggregation = {
  none: Aggregation.NONE,
  lowest: Aggregation.LOWEST,
  low: Aggregation.LOW,
  medium: Aggregation.MEDIUM,
  maximum: Aggregation.MAX,
} as const;

/** What a node is set up from. */
export interface NodeSetup {
  readonly config: AgentConfig;
  readonly services: ServiceConfig;
  readonly device: NativeDevice;
  readonly gateways: NodeGateways;
  readonly acceleration: Acceleration;
}

/**
 * Makes the node's devices, tells the datapath about the node and attaches its programs to them.
 * @returns the index of the tunnel device, undefined with native routing.
 */
export async function setUpNode(
  kernel: Kernel,
  netlink: Netlink,
  { config, services, device, gateways, acceleration }: NodeSetup,
): Promise<number | undefined> {
  const own = [gateways.v4, gateways.v6].filter((ip) => ip !== undefined);
  const proxy = config.dnsProxy === "off" ? [] : Object.values(proxyAddresses);
  await ensureHostDevice(netlink, [...own, ...proxy.filter((ip) => familyEnabled(config, hostPrefix(ip)))]);
  const tunnelIndex = await setUpTunnel(kernel, netlink, config, device);
  configureKernel(kernel, { config, services, device, tunnelIndex });
  kernel.attachments.attachDevice(`dev${device.index}`, device.index, hooks.node);
  await acceleration.start(device.index);
  return tunnelIndex;
}

/** Tells the datapath about the node; again when a live option of it is another. */
export function configureKernel(
  kernel: Kernel,
  {
    config,
    services,
    device,
    tunnelIndex,
  }: Pick<NodeSetup, "config" | "services" | "device"> & { tunnelIndex: number | undefined },
): void {
  kernel.configure(nodeConfig(config, services, device, tunnelIndex));
}

/** The MTU of pods: what the native device carries, less what the tunnel adds. */
export function podMtu(config: AgentConfig, device: NativeDevice): number {
  const base = config.mtu > 0 ? config.mtu : device.mtu;
  return config.routingMode === "tunnel" ? base - tunnelOverhead(device.v4 !== undefined) : base;
}

/** Destinations that are never masqueraded: configured ones and this node's own pods. */
export function writeNonMasquerade(kernel: Kernel, config: AgentConfig, podCidrs: readonly Prefix[]): void {
  for (const { ip, length } of [...config.nonMasqueradeCIDRs.map(parsePrefix), ...podCidrs]) {
    kernel.maps.nomasq.put({ prefixlen: length, addr: ip }, 1);
  }
}

/** Removes destinations that are no longer of the cluster: of nodes that went while no agent ran. */
export function pruneNonMasquerade(kernel: Kernel, config: AgentConfig, podCidrs: readonly Prefix[]): void {
  const wanted = [...config.nonMasqueradeCIDRs.map(parsePrefix), ...podCidrs];
  for (const [{ addr, prefixlen }] of kernel.maps.nomasq.entries()) {
    const kept = wanted.some(({ ip, length }) => length === prefixlen && ipEqual(ip, addr));
    if (!kept) kernel.maps.nomasq.delete({ prefixlen, addr });
  }
}

/** Writes the rows of the node's own addresses, those it has and none it only had. Returns whether any changed. */
export function writeHostRows(kernel: Kernel, addresses: readonly HostAddress[]): boolean {
  const wanted = new Map(addresses.map(({ ip, serves }) => [ipKey(ip), { ip, flags: flagsOf(serves) }]));
  let changed = false;
  for (const [ip, { flags }] of kernel.maps.endpoints.entries()) {
    if ((flags & EpFlags.HOST) === 0) continue;
    const row = wanted.get(ipKey(ip));
    if (row?.flags === flags) wanted.delete(ipKey(ip));
    else if (!row) {
      kernel.maps.endpoints.delete(ip);
      changed = true;
    }
  }
  for (const { ip, flags } of wanted.values()) {
    kernel.maps.endpoints.put(ip, { ...hostRow, flags });
    changed = true;
  }
  if (changed) kernel.changed();
  return changed;
}

const flagsOf = (serves: boolean) => EpFlags.HOST | (serves ? EpFlags.NODEPORT : 0);

const hostRow = {
  ifindex: 0,
  identity: 1,
  policyId: 0,
  id: 0,
  mac: new Uint8Array(6),
  hostMac: new Uint8Array(6),
};

async function setUpTunnel(
  kernel: Kernel,
  netlink: Netlink,
  config: AgentConfig,
  device: NativeDevice,
): Promise<number | undefined> {
  if (config.routingMode === "native") {
    kernel.attachments.detach("overlay", hooks.overlay);
    await removeDevice(netlink, tunnelDeviceName);
    return undefined;
  }
  const link = await ensureTunnelDevice(netlink, config.tunnelPort, podMtu(config, device));
  kernel.attachments.attachDevice("overlay", link.index, hooks.overlay);
  return link.index;
}

/** Kinds that are served to clients outside of the cluster. */
const outsideKinds = ["NodePort", "LoadBalancer", "ExternalIPs", "HostPort"] as const;

function nodeConfig(
  config: AgentConfig,
  services: ServiceConfig,
  device: NativeDevice,
  tunnelIndex: number | undefined,
): NodeConfig {
  const flags =
    (config.enableIPv4 ? ConfigFlags.IPV4 : 0) |
    (config.enableIPv6 ? ConfigFlags.IPV6 : 0) |
    (tunnelIndex === undefined ? 0 : ConfigFlags.TUNNEL) |
    (config.enableIPv4Masquerade && device.v4 ? ConfigFlags.MASQUERADE4 : 0) |
    (config.enableIPv6Masquerade && device.v6 ? ConfigFlags.MASQUERADE6 : 0) |
    (config.policyAuditMode ? ConfigFlags.POLICY_AUDIT : 0) |
    cidrFlags[config.policyCIDRMatchMode] |
    (outsideKinds.some((kind) => services.kinds.has(kind)) ? ConfigFlags.SERVICES : 0) |
    (config.dsrDispatch === "ipip" ? ConfigFlags.DSR_IPIP : 0) |
    (config.hubbleProcesses === "off" ? 0 : ConfigFlags.PROCESSES);
  return {
    flags,
    deviceIfindex: device.index,
    tunnelIfindex: tunnelIndex ?? 0,
    nodeIp4: device.v4 ?? nothing,
    nodeIp6: device.v6 ?? nothing,
    natPortMin: services.natPorts.first,
    natPortMax: services.natPorts.last,
    mtu: podMtu(config, device),
    aggregation: aggregation[config.monitorAggregation],
    reportIntervalS: config.monitorAggregationInterval,
    ctTimeoutTcpS: 8000,
    ctTimeoutTcpSynS: 60,
    ctTimeoutTcpFinS: 10,
    ctTimeoutAnyS: 60,
    ctTimeoutSvcS: 8000,
    tunnelPort: config.tunnelPort,
    hashSeed,
    deviceMac: device.mac,
    ...proxyRow(config),
  };
}

/** Whether the node has the family at all. */
export function familyEnabled(config: AgentConfig, prefix: Prefix): boolean {
  return isV4(prefix.ip) ? config.enableIPv4 : config.enableIPv6;
}
