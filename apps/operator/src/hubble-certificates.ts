import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import { isAlreadyExists, isConflict, type KubeClient, type ObjectMeta, resources } from "@axoneme/kube";
import {
  type Authority,
  caDue,
  certificateFacts,
  hubbleSecrets,
  issue,
  type KeyPair,
  nodeSecret,
  nodeServerName,
  relayServerName,
  trustBundle,
} from "@axoneme/pki";
import { authorityOf, dataOf, type SecretText, textOf } from "./hubble-secrets.ts";
import type { Sources } from "./sources.ts";
import { WorkQueue } from "./workqueue.ts";

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** How long certificates are valid, and when what comes after them is made. */
export interface CertificateTimes {
  /** Of nodes and relays; made anew when a third of it is left. */
  readonly leafMs: number;
  readonly caMs: number;
  /** How long before its end a CA gets its successor. */
  readonly renewBeforeMs: number;
  /** How long everybody has to learn of a CA before it signs. */
  readonly overlapMs: number;
  readonly sweepMs: number;
}

export const certificateTimes: CertificateTimes = {
  leafMs: 30 * dayMs,
  caMs: 3 * 365 * dayMs,
  renewBeforeMs: 365 * dayMs,
  overlapMs: hourMs,
  sweepMs: 600_000,
};

export interface HubbleCertificateOptions {
  readonly namespace: string;
  /** Of the CA's key; default: as the others. */
  readonly caNamespace?: string;
  readonly clusterName: string;
  readonly times?: CertificateTimes;
}

interface Surroundings {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Marks Secrets that we made and may change; others are used as they are. */
const ownLabel = { "app.kubernetes.io/managed-by": "axoneme-operator" };
/** On the Secrets of nodes: whose it is. */
const nodeLabel = "axoneme.io/hubble-node";
/** Queued names of what is not a node. */
const everything = "";

/**
 * Keeps the certificates of the flow API: a CA in a Secret, a server certificate for each node, a client and a server
 * certificate for relays. Keys are in Secrets and in memory, nowhere else; each is made anew with its certificate.
 */
export class HubbleCertificates implements Module {
  readonly name = "hubble-certificates";
  readonly #around: Surroundings;
  readonly #options: HubbleCertificateOptions;
  readonly #times: CertificateTimes;
  readonly #queue: WorkQueue;
  #off: () => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  #health: HealthReporter | undefined;
  #authority: Authority | undefined;
  /** Nodes whose certificate was looked at since the last sweep: their objects change more often. */
  readonly #looked = new Set<string>();

  constructor(around: Surroundings, options: HubbleCertificateOptions) {
    this.#around = around;
    this.#options = options;
    this.#times = options.times ?? certificateTimes;
    this.#queue = new WorkQueue(
      (name) => this.#keep(name),
      (name, error) => this.#failed(name, error),
    );
  }

  start(health: HealthReporter): void {
    this.#health = health;
    this.#off = this.#around.sources.onCiliumNode.on((name) => this.#queue.add(name));
    this.#queue.add(everything);
    this.#timer = setInterval(() => this.#queue.add(everything), this.#times.sweepMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#off();
    await this.#queue.stop();
  }

  async #keep(name: string): Promise<void> {
    if (name !== everything && this.#authority !== undefined) {
      await this.#keepNode(name, this.#authority);
      return;
    }
    this.#looked.clear();
    const authority = await this.#keepAuthority();
    const isNew = this.#authority === undefined || trustBundle(this.#authority) !== trustBundle(authority);
    this.#authority = authority;
    if (isNew)
      this.#around.log.info({ cas: trustBundle(authority).split("BEGIN").length - 1 }, "CA of the flow API");
    const relay = { names: [relayServerName], commonName: relayServerName };
    await this.#keepLeaf(hubbleSecrets.relayClient, { ...relay, use: "client" }, authority);
    await this.#keepLeaf(hubbleSecrets.relayServer, { ...relay, use: "server" }, authority);
    const nodes = [...this.#around.sources.ciliumNodes.store.values()].map(
      ({ metadata }) => metadata?.name ?? "",
    );
    for (const node of nodes) await this.#keepNode(node, authority);
    await this.#sweepNodes(new Set(nodes));
    this.#health?.ok(`${nodes.length} nodes have certificates`);
  }

  /** The CA as it is now due. One that others made is used as it is, and never replaced. */
  async #keepAuthority(): Promise<Authority> {
    const stored = await this.#find(hubbleSecrets.ca);
    const present = stored === undefined ? undefined : authorityOf(stored.data);
    if (present === undefined) {
      if (stored !== undefined && !stored.isOurs) {
        throw new Error(
          `Secret ${this.#namespaceOf(hubbleSecrets.ca)}/${hubbleSecrets.ca} has no usable ca.crt and ca.key`,
        );
      }
      const made: Authority = { active: await this.#newCa() };
      await this.#write(hubbleSecrets.ca, dataOf(made), stored?.version, "Opaque");
      return made;
    }
    if (stored?.isOurs !== true) return present;
    const next = await this.#advanced(present);
    if (next !== present) await this.#write(hubbleSecrets.ca, dataOf(next), stored.version, "Opaque");
    return next;
  }

  async #advanced(authority: Authority): Promise<Authority> {
    const now = Date.now();
    switch (caDue(authority, now, this.#times)) {
      case "stage":
        this.#around.log.info({}, "a new CA of the flow API: it is trusted now, and signs later");
        return { ...authority, next: { ...(await this.#newCa()), sinceMs: now } };
      case "promote": {
        const { certificate = "", key = "" } = authority.next ?? {};
        this.#around.log.info({}, "the new CA of the flow API signs from now on");
        return { active: { certificate, key }, previous: authority.active.certificate };
      }
      case "forget":
        return { active: authority.active };
      default:
        return authority;
    }
  }

  #newCa(): Promise<KeyPair> {
    return issue({ commonName: "Axoneme CA of the flow API", use: "ca", validMs: this.#times.caMs });
  }

  async #keepNode(node: string, authority: Authority): Promise<void> {
    if (node === "") return;
    if (this.#around.sources.ciliumNodes.store.get(node) === undefined) {
      this.#looked.delete(node);
      await this.#forget(nodeSecret(node));
      return;
    }
    if (this.#looked.has(node)) return;
    const name = nodeServerName(node, this.#options.clusterName);
    const leaf = { names: [name], commonName: name.slice(0, 64), use: "server" } as const;
    await this.#keepLeaf(nodeSecret(node), leaf, authority, { [nodeLabel]: "true" });
    this.#looked.add(node);
  }

  /** Makes a certificate when there is none that serves for long enough; tells all of the CAs there are. */
  async #keepLeaf(
    secret: string,
    leaf: { names: readonly string[]; commonName: string; use: "server" | "client" },
    authority: Authority,
    labels: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const stored = await this.#find(secret);
    if (stored !== undefined && !stored.isOurs) return;
    const bundle = trustBundle(authority);
    const data = stored?.data ?? {};
    if (this.#serves(data, leaf.names, authority)) {
      if (data["ca.crt"] !== bundle)
        await this.#write(secret, { ...data, "ca.crt": bundle }, stored?.version, tlsType, labels);
      return;
    }
    const { commonName, names: sans, use } = leaf;
    const pair = await issue({ commonName, sans, use, validMs: this.#times.leafMs }, authority.active);
    const made = { "tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": bundle };
    await this.#write(secret, made, stored?.version, tlsType, labels);
    this.#around.log.info({ secret }, stored === undefined ? "certificate made" : "certificate renewed");
  }

  #serves(data: SecretText, names: readonly string[], authority: Authority): boolean {
    const facts = certificateFacts(data["tls.crt"] ?? "");
    if (facts === undefined || !facts.hasKey(data["tls.key"] ?? "")) return false;
    const left = facts.notAfterMs - Date.now();
    return (
      left > this.#times.leafMs / 3 &&
      names.every((name) => facts.names.includes(name)) &&
      facts.isSignedBy(authority.active.certificate)
    );
  }

  /** Secrets of nodes that are gone. */
  async #sweepNodes(nodes: ReadonlySet<string>): Promise<void> {
    if (this.#around.sources.stale) return;
    const kept = new Set([...nodes].map(nodeSecret));
    const { items } = await this.#secrets().list({
      namespace: this.#options.namespace,
      labelSelector: `${nodeLabel}=true`,
      signal: this.#around.signal,
    });
    for (const { metadata } of items) {
      const name = metadata?.name ?? "";
      if (!kept.has(name)) await this.#forget(name);
    }
  }

  async #forget(name: string): Promise<void> {
    const stored = await this.#find(name);
    if (stored?.isOurs !== true) return;
    const { namespace } = this.#options;
    await this.#secrets().deleteIfExists(name, { namespace, signal: this.#around.signal });
    this.#around.log.info({ secret: name }, "certificate of a node that is gone removed");
  }

  async #find(name: string): Promise<{ data: SecretText; isOurs: boolean; version: string } | undefined> {
    const namespace = this.#namespaceOf(name);
    const secret = await this.#secrets().find(name, { namespace, signal: this.#around.signal });
    if (secret === undefined) return undefined;
    const { labels = {}, resourceVersion = "" }: ObjectMeta = secret.metadata ?? {};
    const isOurs = Object.entries(ownLabel).every(([label, value]) => labels[label] === value);
    return { data: textOf(secret.data ?? {}), isOurs, version: resourceVersion };
  }

  /** Writes over the version that was read, or makes what was not there; who was quicker is seen at the next try. */
  async #write(
    name: string,
    data: SecretText,
    version: string | undefined,
    type: string,
    labels: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const encoded = Object.fromEntries(
      Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString("base64")]),
    );
    const metadata = { name, namespace: this.#namespaceOf(name), labels: { ...ownLabel, ...labels } };
    const secret = { metadata, type, data: encoded };
    const options = { signal: this.#around.signal };
    if (version === undefined) await this.#secrets().create(secret, options);
    else
      await this.#secrets().update(
        { ...secret, metadata: { ...metadata, resourceVersion: version } },
        options,
      );
  }

  /** Who reads certificates need not be able to read the key that signs them. */
  #namespaceOf(secret: string): string {
    const { namespace, caNamespace = namespace } = this.#options;
    return secret === hubbleSecrets.ca ? caNamespace : namespace;
  }

  #secrets() {
    return this.#around.client.resource(resources.secrets);
  }

  #failed(name: string, error: unknown): void {
    // Another writer was quicker: the next try sees what it wrote.
    if (isConflict(error) || isAlreadyExists(error)) return;
    const about = name === everything ? {} : { node: name };
    this.#around.log.warn({ ...about, err: errorText(error) }, "certificates of the flow API are not kept");
    this.#health?.degraded(errorText(error));
  }
}

const tlsType = "kubernetes.io/tls";
