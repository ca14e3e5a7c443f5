import "./reflect-metadata.ts";
import { createPrivateKey, randomBytes, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const hourMs = 3_600_000;

/** A certificate with its key, PEM. */
export interface KeyPair {
  certificate: string;
  key: string;
}

/** Who signs. */
export type Issuer = Readonly<KeyPair>;

export interface CertificateRequest {
  readonly commonName: string;
  readonly organizations?: readonly string[];
  /** DNS names and addresses. */
  readonly sans?: readonly string[];
  readonly use: "ca" | "server" | "client";
  /** From now on; clocks that are behind by up to an hour take it too. */
  readonly validMs: number;
}

/** See index.ts. */
export async function issue(request: CertificateRequest, issuer?: Issuer): Promise<KeyPair> {
  x509.cryptoProvider.set(webcrypto);
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const issuerCertificate = issuer === undefined ? undefined : new x509.X509Certificate(issuer.certificate);
  const signingKey = issuer === undefined ? keys.privateKey : await importKey(issuer.key);
  const now = Date.now();
  const certificate = await x509.X509CertificateGenerator.create({
    // The first octet is kept below 0x80 so that the number is positive.
    serialNumber: `01${randomBytes(15).toString("hex")}`,
    subject: nameOf(request),
    issuer: issuerCertificate?.subject ?? nameOf(request),
    notBefore: new Date(now - hourMs),
    notAfter: new Date(now + request.validMs),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: algorithm,
    extensions: extensions(request),
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  return {
    certificate: `${certificate.toString("pem")}\n`,
    key: key.export({ type: "pkcs8", format: "pem" }) as string,
  };
}

function nameOf(request: CertificateRequest): x509.JsonName {
  const parts: x509.JsonName = (request.organizations ?? []).map((organization) => ({ O: [organization] }));
  return [...parts, { CN: [request.commonName] }];
}

function extensions(request: CertificateRequest): x509.Extension[] {
  if (request.use === "ca") {
    const usage =
      x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign | x509.KeyUsageFlags.digitalSignature;
    return [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(usage, true),
    ];
  }
  const purpose =
    request.use === "server" ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth;
  const list: x509.Extension[] = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension([purpose]),
  ];
  const sans = (request.sans ?? []).map(
    (san) => ({ type: isIP(san) === 0 ? "dns" : "ip", value: san }) as const,
  );
  if (sans.length > 0) list.push(new x509.SubjectAlternativeNameExtension(sans));
  return list;
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  // Given CAs may have keys of another kind than ours: those cannot sign here, and the error says so.
  const der = createPrivateKey(pem).export({ type: "pkcs8", format: "der" });
  return webcrypto.subtle.importKey("pkcs8", der, algorithm, true, ["sign"]);
}
