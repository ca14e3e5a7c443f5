import { isLocalIdentity, isNodeIdentity, reserved } from "@axoneme/identity";

/**
 * Whom rules on prefixes match by their addresses. `address`: everybody, as Kubernetes has it. `identity`: what is outside of the
 * cluster only. `nodes`: that, and nodes.
 */
export type CidrMatch = "address" | "nodes" | "identity";

const outside: ReadonlySet<number> = new Set([reserved.world, reserved.worldIpv4, reserved.worldIpv6]);
const nodes: ReadonlySet<number> = new Set([reserved.host, reserved.remoteNode, reserved.kubeApiserver]);

/** Whether rules on prefixes look at the address of who has this identity, as the datapath sees it. */
export function isMatchedByCidr(match: CidrMatch, identity: number): boolean {
  if (match === "address" || outside.has(identity) || isLocalIdentity(identity)) return true;
  return match === "nodes" && (nodes.has(identity) || isNodeIdentity(identity));
}
