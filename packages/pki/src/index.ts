import type { CertificateRequest, Issuer, KeyPair } from "./issue.ts";

export { certificateFacts } from "./facts.ts";
export type { CertificateRequest, Issuer, KeyPair } from "./issue.ts";
export * from "./names.ts";
export { type Authority, caDue, trustBundle } from "./rotation.ts";

/** Makes a key and a certificate for it, signed by the issuer, or by itself when there is none. */
export async function issue(request: CertificateRequest, issuer?: Issuer): Promise<KeyPair> {
  const made = await import("./issue.ts");
  return made.issue(request, issuer);
}
