import { execFile } from "node:child_process";
import { AxonError, errorText } from "@axoneme/base";
import type { CredentialSource, Credentials } from "./credentials.ts";

/** `users[].user.exec` of a kubeconfig. */
export interface ExecConfig {
  apiVersion?: string;
  command: string;
  args?: string[] | null;
  env?: { name: string; value: string }[] | null;
  installHint?: string;
  interactiveMode?: string;
  provideClusterInfo?: boolean;
}

/** What a plugin prints: ExecCredential of client.authentication.k8s.io. */
interface ExecCredential {
  apiVersion?: string;
  kind?: string;
  status?: {
    expirationTimestamp?: string;
    token?: string;
    clientCertificateData?: string;
    clientKeyData?: string;
  };
}

const knownVersions = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
/** Renew this long before the plugin's credential expires. */
const renewBeforeMs = 30_000;

/** Runs a credential plugin when needed and keeps what it printed until it expires or is refused. */
export class ExecPlugin implements CredentialSource {
  readonly #config: ExecConfig;
  readonly #cluster: object | undefined;
  readonly #timeoutMs: number;
  #running: Promise<Credentials> | undefined;
  #cached: { credentials: Credentials; until: number } | undefined;

  constructor(config: ExecConfig, cluster?: object, timeoutMs = 60_000) {
    this.#config = config;
    this.#cluster = config.provideClusterInfo ? cluster : undefined;
    this.#timeoutMs = timeoutMs;
  }

  async current(): Promise<Credentials> {
    if (this.#cached !== undefined && Date.now() < this.#cached.until) return this.#cached.credentials;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  refused(): boolean {
    this.#cached = undefined;
    return true;
  }

  async #run(): Promise<Credentials> {
    const printed = await this.#execute();
    const status = this.#parse(printed).status ?? {};
    const credentials: Credentials = {};
    if (status.token) credentials.authorization = `Bearer ${status.token}`;
    if (status.clientCertificateData && status.clientKeyData) {
      credentials.certificate = status.clientCertificateData;
      credentials.key = status.clientKeyData;
    }
    if (Object.keys(credentials).length === 0) throw this.#error("printed neither a token nor a certificate");
    const expires = Date.parse(status.expirationTimestamp ?? "");
    this.#cached = {
      credentials,
      until: Number.isNaN(expires) ? Number.POSITIVE_INFINITY : expires - renewBeforeMs,
    };
    return credentials;
  }

  #execute(): Promise<string> {
    const { command, args, env, apiVersion } = this.#config;
    const spec = { interactive: false, ...(this.#cluster === undefined ? {} : { cluster: this.#cluster }) };
    const info = { apiVersion: apiVersion ?? knownVersions[0], kind: "ExecCredential", spec };
    const environment: NodeJS.ProcessEnv = { ...process.env, KUBERNETES_EXEC_INFO: JSON.stringify(info) };
    for (const { name, value } of env ?? []) environment[name] = value;
    const options = {
      env: environment,
      timeout: this.#timeoutMs,
      maxBuffer: 1 << 20,
      encoding: "utf8" as const,
    };
    return new Promise((resolve, reject) => {
      execFile(command, args ?? [], options, (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        const said = stderr.trim().slice(-500);
        reject(this.#error(`failed${said === "" ? "" : `, saying "${said}"`}`, error));
      });
    });
  }

  #parse(printed: string): ExecCredential {
    let credential: ExecCredential;
    try {
      credential = JSON.parse(printed) as ExecCredential;
    } catch (cause) {
      throw this.#error("printed no JSON", cause);
    }
    const wanted = this.#config.apiVersion;
    const given = credential?.apiVersion ?? "";
    if (
      credential?.kind !== "ExecCredential" ||
      !knownVersions.includes(given) ||
      (wanted && wanted !== given)
    ) {
      throw this.#error(`printed a ${credential?.kind} of ${given}, not an ExecCredential of ${wanted}`);
    }
    return credential;
  }

  #error(what: string, cause?: unknown): AxonError {
    const hint = this.#config.installHint ? `. ${this.#config.installHint.trim()}` : "";
    const why = cause === undefined ? "" : `: ${errorText(cause)}`;
    return new AxonError("kube.exec", `credential plugin ${this.#config.command} ${what}${why}${hint}`, {
      cause,
    });
  }
}
