import { formatIp, formatMac, isV4, parseIp } from "@axoneme/base";
import { protocolName } from "@axoneme/flow";
import { labelLines, reserved } from "@axoneme/identity";
import type { EndpointView, Enforcement, PolicyRowView } from "@axoneme/observe";
import type { LiveEndpoint } from "../endpoint/live.ts";
import { type HostEndpoint, hostEndpointId } from "../host/host-endpoint.ts";
import type { NativeDevice } from "../node/local-node.ts";
import type { PolicyModule, RowOfPolicy } from "../state/policy.ts";

/** One endpoint for /v1/endpoints. */
export function endpointView(live: LiveEndpoint, policy: PolicyModule): EndpointView {
  const { record, identity, facts } = live;
  const ips = record.ips.map(parseIp);
  const v4 = ips.find((ip) => isV4(ip));
  const v6 = ips.find((ip) => !isV4(ip));
  const policyId = policy.policyOf(record.id);
  return {
    id: record.id,
    kind: "pod",
    namespace: record.pod?.namespace ?? "",
    pod: record.pod?.name ?? "",
    containerId: record.containerId,
    state: identity === 0 ? "waiting-for-identity" : "ready",
    identity,
    labels: labelLines(facts.labels),
    ...(v4 ? { ipv4: formatIp(v4) } : {}),
    ...(v6 ? { ipv6: formatIp(v6) } : {}),
    mac: record.mac,
    interface: record.hostIfname,
    ifindex: record.hostIfindex,
    policyId,
    enforcement: enforcementOf(policy, policyId),
    created: new Date(record.createdAt).toISOString(),
    ...(record.fixed ? { fixedAddresses: [...record.fixed.addresses] } : {}),
    ...(record.policyAuditMode === true ? { policyAuditMode: true } : {}),
    ...(record.egressLimit === undefined ? {} : { egressBandwidth: record.egressLimit }),
  };
}

/** The node itself for /v1/endpoints. */
export function hostEndpointView(
  host: HostEndpoint,
  policy: PolicyModule,
  device: NativeDevice,
  nodeName: string,
): EndpointView {
  const { policyId, labels } = host;
  return {
    id: hostEndpointId,
    kind: "host",
    namespace: "",
    pod: nodeName,
    state: "ready",
    identity: reserved.host,
    labels: labelLines(labels),
    ...(device.v4 ? { ipv4: formatIp(device.v4) } : {}),
    ...(device.v6 ? { ipv6: formatIp(device.v6) } : {}),
    mac: formatMac(device.mac),
    interface: device.name,
    ifindex: device.index,
    policyId,
    enforcement: enforcementOf(policy, policyId),
    created: host.created.toISOString(),
  };
}

/** Finds an endpoint as a person names it: number, `namespace/pod`, pod of the default namespace, or address. */
export function findEndpoint(endpoints: readonly LiveEndpoint[], text: string): LiveEndpoint | undefined {
  return endpoints.find(({ record }) => {
    if (String(record.id) === text || record.ips.includes(text)) return true;
    return (
      record.pod !== undefined &&
      [`${record.pod.namespace}/${record.pod.name}`, record.pod.name].includes(text)
    );
  });
}

/** The rows of an endpoint's policy, as the kernel holds them. */
export function policyRowViews(policy: PolicyModule, policyId: number): PolicyRowView[] {
  return policy.rowsOf(policyId).map((row) => rowView(row, policy));
}

const verdicts = ["allow", "deny", "default-deny", "audit"] as const;

function rowView(row: RowOfPolicy, policy: PolicyModule): PolicyRowView {
  return {
    direction: row.key.direction === 1 ? "egress" : "ingress",
    identity: row.key.identity,
    ...(row.key.cidr !== 0 && { prefix: policy.prefixes.textOf(row.key.cidr) }),
    protocol: row.key.shape === 0 ? "ANY" : protocolName(row.key.proto),
    port: portText(row.key.port, row.key.shape),
    verdict: verdicts[row.row.verdict] ?? "default-deny",
    precedence: row.row.precedence,
    ruleId: row.row.ruleId,
    policies: policy.policyNamesOf(row.row.ruleId),
  };
}

function portText(port: number, shape: number): string {
  if (shape <= 8) return "ANY";
  const last = port | (0xffff >> (shape - 8));
  return last === port ? String(port) : `${port}-${last}`;
}

/** In which directions policy is enforced for those that share a policy. */
export function enforcementOf(policy: PolicyModule, policyId: number): Enforcement {
  const { ingress, egress } = policy.enforced(policyId);
  if (ingress && egress) return "both";
  if (ingress) return "ingress";
  return egress ? "egress" : "none";
}
