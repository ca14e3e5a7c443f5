import { createHash } from "node:crypto";

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** Sixteen letters that stand for a name, as kube-proxy makes them for its chains: SHA-256 in base 32. */
export function nameHash(name: string, length = 16): string {
  const bytes = createHash("sha256").update(name).digest();
  let text = "";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += alphabet[(value >> (bits - 5)) & 31];
    value &= (1 << bits) - 1;
    if (text.length >= length) break;
  }
  return text.slice(0, length);
}
