import { Aggregation, ConfigFlags, EpFlags } from "@axoneme/abi";
import { type Ip, ipEqual, isV4, type Prefix, parsePrefix } from "@axoneme/base";
import { hooks, type Kernel, type NodeConfig } from "@axoneme/datapath";
import { type Netlink, sysctlGet } from "@axoneme/netlink";
import type { AgentConfig } from "../options.ts";
import {
  ensureHostDevice,
  ensureTunnelDevice,
  removeDevice,
  tunnelDeviceName,
  tunnelOverhead,
} from "./host-devices.ts";
import { addressesOf, type NativeDevice } from "./local-node.ts";

/** The node's own addresses among its pods. */
export interface NodeGateways {
  readonly v4: Ip | undefined;
  readonly v6: Ip | undefined;
}

/** Addresses pods see as "the host": link-local multicast and the like are not among them. */
const nothing: Ip = new Uint8Array(16);

/** Largest port of the kernel's default range for its own connections; masqueraded ones stay above it. */
const defaultLocalPortMax = 60_999;

const aggregation = {
  none: Aggregation.NONE,
  lowest: Aggregation.LOWEST,
  low: Aggregation.LOW,
  medium: Aggregation.MEDIUM,
  maximum: Aggregation.MAX,
} as const;

/**
 * Makes the node's devices, tells the datapath about the node and attaches its programs to them.
 * @returns the index of the tunnel device, undefined with native routing.
 */
export async function setUpNode(
  kernel: Kernel,
  netlink: Netlink,
  config: AgentConfig,
  device: NativeDevice,
  gateways: NodeGateways,
): Promise<number | undefined> {
  const own = [gateways.v4, gateways.v6].filter((ip) => ip !== undefined);
  await ensureHostDevice(netlink, own);
  const tunnelIndex = await setUpTunnel(kernel, netlink, config, device);
  writeHostRows(kernel, [...addressesOf(device), ...own]);
  kernel.configure(nodeConfig(config, device, tunnelIndex));
  kernel.attachments.attachDevice(`dev${device.index}`, device.index, hooks.node);
  return tunnelIndex;
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

/** The addresses of the node itself: those it has, and none it only had. */
function writeHostRows(kernel: Kernel, addresses: readonly Ip[]): void {
  for (const ip of addresses) kernel.maps.endpoints.put(ip, hostRow);
  for (const [ip, { flags }] of kernel.maps.endpoints.entries()) {
    const isOld = (flags & EpFlags.HOST) !== 0 && !addresses.some((address) => ipEqual(address, ip));
    if (isOld) kernel.maps.endpoints.delete(ip);
  }
}

const hostRow = {
  ifindex: 0,
  identity: 1,
  policyId: 0,
  id: 0,
  flags: EpFlags.HOST,
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

function nodeConfig(config: AgentConfig, device: NativeDevice, tunnelIndex: number | undefined): NodeConfig {
  const flags =
    (config.enableIPv4 ? ConfigFlags.IPV4 : 0) |
    (config.enableIPv6 ? ConfigFlags.IPV6 : 0) |
    (tunnelIndex === undefined ? 0 : ConfigFlags.TUNNEL) |
    (config.enableIPv4Masquerade && device.v4 ? ConfigFlags.MASQUERADE4 : 0) |
    (config.enableIPv6Masquerade && device.v6 ? ConfigFlags.MASQUERADE6 : 0) |
    (config.policyAuditMode ? ConfigFlags.POLICY_AUDIT : 0);
  return {
    flags,
    deviceIfindex: device.index,
    tunnelIfindex: tunnelIndex ?? 0,
    nodeIp4: device.v4 ?? nothing,
    nodeIp6: device.v6 ?? nothing,
    natPortMin: natPortMin(),
    natPortMax: 65_535,
    mtu: podMtu(config, device),
    aggregation: aggregation[config.monitorAggregation],
    reportIntervalS: config.monitorAggregationInterval,
    ctTimeoutTcpS: 8000,
    ctTimeoutTcpSynS: 60,
    ctTimeoutTcpFinS: 10,
    ctTimeoutAnyS: 60,
    ctTimeoutSvcS: 8000,
    tunnelPort: config.tunnelPort,
    hashSeed: 0,
  };
}

/** Masqueraded connections use ports the kernel does not give to its own: the two can then never collide. */
function natPortMin(): number {
  const last = Number(sysctlGet(undefined, "net.ipv4.ip_local_port_range").trim().split(/\s+/)[1]);
  return (last > 0 && last < 65_000 ? last : defaultLocalPortMax) + 1;
}

/** Whether the node has the family at all. */
export function familyEnabled(config: AgentConfig, prefix: Prefix): boolean {
  return isV4(prefix.ip) ? config.enableIPv4 : config.enableIPv6;
}
