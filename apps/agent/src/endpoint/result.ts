import { formatIp, type Ip, isV4, parseIp } from "@axoneme/base";
import {
  attachmentKey,
  CniCode,
  CniError,
  type CniRequest,
  type CniResult,
  type EndpointRecord,
  linkNames,
} from "@axoneme/endpoint";

/** The answer to ADD: what was made, in the specification's form. */
export function resultOf(
  request: CniRequest,
  record: EndpointRecord,
  gateways: { v4: Ip | undefined; v6: Ip | undefined },
): CniResult {
  const ips = record.ips.map(parseIp);
  const saysFamily = request.cniVersion.startsWith("0.");
  const gatewayOf = (ip: Ip) => (isV4(ip) ? gateways.v4 : gateways.v6);
  return {
    cniVersion: request.cniVersion,
    interfaces: [
      { name: record.hostIfname, mac: record.hostMac },
      { name: record.ifname, mac: record.mac, sandbox: record.netns },
    ],
    ips: ips.map((ip) => {
      const gateway = gatewayOf(ip);
      return {
        address: `${formatIp(ip)}/${isV4(ip) ? 32 : 128}`,
        interface: 1,
        ...(saysFamily ? { version: isV4(ip) ? "4" : "6" } : {}),
        ...(gateway ? { gateway: formatIp(gateway) } : {}),
      };
    }),
    routes: ips.map((ip) => {
      const gateway = gatewayOf(ip);
      return { dst: isV4(ip) ? "0.0.0.0/0" : "::/0", ...(gateway ? { gw: formatIp(gateway) } : {}) };
    }),
  };
}

/** Names of host devices in prevResult: one of them may be the veth that a plugin before us made. */
export function hostDevicesOf(result: CniResult): string[] {
  return (result.interfaces ?? []).filter((i) => !i.sandbox).map((i) => i.name);
}

/**
 * The record of an interface that a plugin before us in the chain made: we isolate it and leave it otherwise alone.
 * @param host the veth device among those that prevResult names.
 * @throws CniError code 7 when there is no such device or no address.
 */
export function adopt(
  request: CniRequest,
  id: number,
  host: { name: string; index: number } | undefined,
): EndpointRecord {
  const { interfaces = [], ips = [] } = request.prevResult ?? {};
  const pod = interfaces.find((i) => i.sandbox && i.name === request.ifname);
  if (!host || ips.length === 0) {
    throw new CniError(
      CniCode.invalidConfig,
      "prevResult names no veth device on the host or no address: we can only be chained behind a plugin that made a veth pair",
    );
  }
  const names = linkNames(attachmentKey(request.containerId, request.ifname));
  return {
    version: 1,
    state: "creating",
    id,
    containerId: request.containerId,
    ifname: request.ifname,
    netns: request.netns,
    pod: request.pod,
    ips: ips.map(({ address }) => formatIp(parseIp(address.split("/")[0] ?? ""))),
    hostIfname: host.name,
    hostIfindex: host.index,
    mac: pod?.mac ?? names.mac,
    hostMac: interfaces.find((i) => i.name === host.name)?.mac ?? names.hostMac,
    identity: 0,
    chained: true,
    createdAt: Date.now(),
  };
}
