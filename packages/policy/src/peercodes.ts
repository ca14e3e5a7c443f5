/**
 * A peer as rows know it, in one number (a Map key): an identity, the number of a prefix, or both: that identity at
 * addresses whose longest prefix is that one. 0 is everybody.
 */
export type PeerCode = number;

/** Identities are smaller, and a prefix's number in front leaves a sum below 2^53. */
const identities = 0x400_0000;

/** An identity, at addresses of a prefix unless its number is 0. */
export function peerCode(identity: number, cidr: number): PeerCode {
  return cidr * identities + identity;
}

/** The identity; 0: whatever it is. */
export function identityOfPeer(peer: PeerCode): number {
  return peer % identities;
}

/** The number of the prefix; 0: wherever it is. */
export function cidrOfPeer(peer: PeerCode): number {
  return Math.floor(peer / identities);
}

/** In the order of how specific they are: who is named by both, by identity, by prefix, and everybody. */
export const PeerKind = { BOTH: 0, EXACT: 1, CIDR: 2, ANY: 3 } as const;
export type PeerKind = (typeof PeerKind)[keyof typeof PeerKind];

/** By what a peer is known. */
export function peerKind(identity: number, cidr: number): PeerKind {
  if (cidr !== 0) return identity === 0 ? PeerKind.CIDR : PeerKind.BOTH;
  return identity === 0 ? PeerKind.ANY : PeerKind.EXACT;
}
