import { X509Certificate as NodeCertificate } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import { type CertificateRequest, issue, type KeyPair } from "@axoneme/pki";

export type { KeyPair } from "@axoneme/pki";

const dayMs = 86_400_000;
const validMs = 3650 * dayMs;

type Request = Omit<CertificateRequest, "validMs">;

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
    const ca = await issue({ commonName: "axoneme-lab-ca", use: "ca", validMs });
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
    const pair = await issue({ ...request, validMs }, this.ca);
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
