import { createPublicKey, X509Certificate } from "node:crypto";

/** What is to be known of a certificate to decide whether it still serves. */
export interface CertificateFacts {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** DNS names in it. */
  readonly names: readonly string[];
  /** Whether it was signed by the key of this certificate (PEM). */
  isSignedBy(ca: string): boolean;
  /** Whether this private key (PEM) is its own. */
  hasKey(key: string): boolean;
}

/** Reads the first certificate of a PEM text; undefined when there is none. */
export function certificateFacts(pem: string): CertificateFacts | undefined {
  try {
    const certificate = new X509Certificate(pem);
    return {
      notBeforeMs: Date.parse(certificate.validFrom),
      notAfterMs: Date.parse(certificate.validTo),
      names: (certificate.subjectAltName ?? "")
        .split(", ")
        .flatMap((part) => (part.startsWith("DNS:") ? [part.slice(4)] : [])),
      isSignedBy: (ca) => verifies(certificate, ca),
      hasKey: (key) => belongs(certificate, key),
    };
  } catch {
    // Not a certificate: it is made anew.
    return undefined;
  }
}

function verifies(certificate: X509Certificate, ca: string): boolean {
  try {
    return certificate.verify(createPublicKey(ca));
  } catch {
    return false;
  }
}

function belongs(certificate: X509Certificate, key: string): boolean {
  try {
    const own = certificate.publicKey.export({ type: "spki", format: "der" });
    return createPublicKey(key).export({ type: "spki", format: "der" }).equals(own);
  } catch {
    return false;
  }
}
