import { portKey, readPortKey } from "@axoneme/identity";
import { keysOf } from "./keycounts.ts";
import { type PolicyService, servicePeers } from "./references.ts";
import { Direction, type NamedPort, type Peer, type Policy } from "./rule.ts";

const protocols: Readonly<Record<number, string>> = { 6: "TCP", 17: "UDP", 132: "SCTP" };

/** The key under which the name of a port tells pods apart. */
function keyOfPort({ name, proto }: NamedPort): string {
  return portKey(name, protocols[proto] ?? String(proto));
}

/** The port that a key of `portKey` is about; undefined for any other key. */
export function portOfKey(key: string): NamedPort | undefined {
  const read = readPortKey(key);
  const proto = Object.keys(protocols).find((number) => protocols[Number(number)] === read?.protocol);
  return read && proto !== undefined ? { name: read.name, proto: Number(proto) } : undefined;
}

/**
 * Label keys by which a policy's rules tell peers apart: those of their selectors, and names of destinations' ports.
 * What Services stand for is not among them: that depends on the Services there are.
 */
export function peerKeys(policy: Policy): string[] {
  const keys = policy.specs.flatMap(({ rules }) =>
    rules.flatMap(({ direction, peers, named }) => [
      ...keysOfPeers(peers),
      ...(direction === Direction.EGRESS ? named.map(keyOfPort) : []),
    ]),
  );
  return [...new Set(keys)];
}

/** Label keys by which rules that name a Service tell peers apart. */
export function serviceKeys(service: PolicyService): string[] {
  return keysOfPeers(servicePeers(service));
}

function keysOfPeers(peers: readonly Peer[]): string[] {
  return peers.flatMap((peer) => (peer.kind === "labels" ? [...keysOf(peer.selector)] : []));
}
