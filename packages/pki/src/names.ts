import { createHash } from "node:crypto";

/** Secrets of the flow API, by the field's names where it has one. All are of type kubernetes.io/tls with a ca.crt. */
export const hubbleSecrets = {
  /** The CA: ca.crt, ca.key. */
  ca: "cilium-ca",
  /** With what the relay shows agents who it is. */
  relayClient: "hubble-relay-client-certs",
  /** The relay's own listener. */
  relayServer: "hubble-relay-server-certs",
} as const;

const longestName = 253;

/**
 * Secret of one node's server certificate. The field has one certificate for all nodes (`hubble-server-certs`): a key
 * taken from one node would then pass for every other.
 */
export function nodeSecret(node: string): string {
  const name = `hubble-server-certs.${node}`;
  if (name.length <= longestName) return name;
  return `hubble-server-certs.${createHash("sha256").update(node).digest("hex")}`;
}

const dashed = (name: string): string => name.replaceAll(".", "-");

/** Name in a node's certificate, by which relays know it. */
export function nodeServerName(node: string, cluster: string): string {
  return `${dashed(node)}.${dashed(cluster)}.hubble-grpc.cilium.io`;
}

/** Names in the relay's certificates. */
export const relayServerName = "*.hubble-relay.cilium.io";
