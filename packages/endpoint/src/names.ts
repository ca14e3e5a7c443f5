import { createHash } from "node:crypto";

/** Prefix of the host side of a pod's veth pair, as in the field. */
export const hostIfnamePrefix = "lxc";

/** Names and addresses of one attachment's veth pair: the same ones after a crash, different ones for others. */
export interface LinkNames {
  readonly hostIfname: string;
  readonly mac: string;
  readonly hostMac: string;
}

/** Derives names from the attachment: 32 bits of a hash in the name, 40 in each locally administered MAC. */
export function linkNames(attachment: string): LinkNames {
  const hash = createHash("sha256").update(attachment).digest();
  const mac = (from: number, first: number) =>
    [first, ...hash.subarray(from, from + 5)].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
  return {
    hostIfname: `${hostIfnamePrefix}${hash.toString("hex", 0, 4)}`,
    mac: mac(4, 0x0a),
    hostMac: mac(9, 0x0e),
  };
}
