import "./reflect-metadata.ts";
import { createPrivateKey, X509Certificate as NodeCertificate, randomBytes, webcrypto } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const dayMs = 86_400_000;
const validDays = 3650;

/** A certificate with its key, PEM. */
export interface KeyPair {
  certificate: string;
  key: string;
}

interface Request {
  commonName: string;
  organizations?: readonly string[];
  sans?: readonly string[];
  use: "ca" | "server" | "client";
}

/** The lab's certificate authority, kept in a directory: made at the first start, read at later ones. */
export class Authority {
  readonly ca: KeyPair;
  readonly #dir: string;

  private constructor(dir: string, ca: KeyPair) {
    this.#dir = dir;
    this.ca = ca;
  }

  static async open(dir: string): Promise<Authority> {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const present = readPair(dir, "ca");
    if (present !== undefined) return new Authority(dir, present);
    const ca = await issue({ commonName: "axoneme-lab-ca", use: "ca" });
    writePair(dir, "ca", ca);
    return new Authority(dir, ca);
  }

  /** The certificate of the server for these names and addresses; made anew when they are not all in the one kept. */
  async server(sans: readonly string[]): Promise<KeyPair> {
    const present = readPair(this.#dir, "server");
    if (present !== undefined && covers(present, sans)) return present;
    return this.#issue("server", { commonName: "kube-apiserver", sans, use: "server" });
  }

  /** A client certificate: the user name is the common name, its groups are the organizations. */
  async client(user: string, groups: readonly string[]): Promise<KeyPair> {
    const file = `client-${user.replaceAll(/[^A-Za-z0-9.-]/g, "_")}`;
    return (
      readPair(this.#dir, file) ??
      this.#issue(file, { commonName: user, organizations: groups, use: "client" })
    );
  }

  async #issue(file: string, request: Request): Promise<KeyPair> {
    const pair = await issue(request, this.ca);
    writePair(this.#dir, file, pair);
    return pair;
  }
}

function readPair(dir: string, name: string): KeyPair | undefined {
  const [certificate, key] = [join(dir, `${name}.crt`), join(dir, `${name}.key`)];
  if (!existsSync(certificate) || !existsSync(key)) return undefined;
  return { certificate: readFileSync(certificate, "utf8"), key: readFileSync(key, "utf8") };
}

function writePair(dir: string, name: string, pair: KeyPair): void {
  // The key first: a certificate without its key would be taken for a pair that is complete.
  writeFileSync(join(dir, `${name}.key`), pair.key, { mode: 0o600 });
  writeFileSync(join(dir, `${name}.crt`), pair.certificate, { mode: 0o644 });
}

function covers(pair: KeyPair, sans: readonly string[]): boolean {
  const certificate = new NodeCertificate(pair.certificate);
  const expired = Date.parse(certificate.validTo) < Date.now() + dayMs;
  return (
    !expired && sans.every((san) => (isIP(san) === 0 ? certificate.checkHost(san) : certificate.checkIP(san)))
  );
}

function name(request: Request): x509.JsonName {
  const parts: x509.JsonName = (request.organizations ?? []).map((organization) => ({ O: [organization] }));
  return [...parts, { CN: [request.commonName] }];
}

function extensions(request: Request): x509.Extension[] {
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

async function issue(request: Request, ca?: KeyPair): Promise<KeyPair> {
  x509.cryptoProvider.set(webcrypto);
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const issuerCertificate = ca === undefined ? undefined : new x509.X509Certificate(ca.certificate);
  const signingKey = ca === undefined ? keys.privateKey : await importKey(ca.key);
  const certificate = await x509.X509CertificateGenerator.create({
    // The first octet is kept below 0x80 so that the number is positive.
    serialNumber: `01${randomBytes(15).toString("hex")}`,
    subject: name(request),
    issuer: issuerCertificate?.subject ?? name(request),
    notBefore: new Date(Date.now() - dayMs),
    notAfter: new Date(Date.now() + validDays * dayMs),
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

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(pem).export({ type: "pkcs8", format: "der" });
  return webcrypto.subtle.importKey("pkcs8", der, algorithm, true, ["sign"]);
}
