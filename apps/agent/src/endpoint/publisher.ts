import { AxonError, backoff, delay, errorText, KeyedQueue, type Logger } from "@axoneme/base";
import type { KubeClient } from "@axoneme/kube";
import { type CiliumEndpointObject, ciliumEndpoints, fieldManager } from "../state/objects.ts";

/** What is published of an endpoint. */
export interface PublishedEndpoint {
  readonly namespace: string;
  readonly name: string;
  readonly podUid: string;
  readonly id: number;
  readonly identity: number;
  readonly labels: readonly string[];
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  /** The node's address, by which other nodes reach it. */
  readonly nodeIp: string;
  readonly namedPorts: readonly { name: string; port: number; protocol: string }[];
}

/**
 * Keeps CiliumEndpoint objects true, behind the pod's start: other nodes learn the address and identity from them.
 * Only the last state of an endpoint is written, however often it changed meanwhile; failures are tried again.
 */
export class EndpointPublisher {
  readonly #client: KubeClient;
  readonly #nodeIp: () => string;
  readonly #log: Logger;
  readonly #queue = new KeyedQueue<string>();
  readonly #wanted = new Map<string, PublishedEndpoint | undefined>();
  #stopped = false;

  /** @param nodeIp by which endpoints name this node: one of the same name on another node is left alone. */
  constructor(client: KubeClient, nodeIp: () => string, log: Logger) {
    this.#client = client;
    this.#nodeIp = nodeIp;
    this.#log = log;
  }

  /** States that the endpoint is so. */
  publish(endpoint: PublishedEndpoint): void {
    this.#want(`${endpoint.namespace}/${endpoint.name}`, endpoint);
  }

  /** States that the endpoint is gone. */
  retract(namespace: string, name: string): void {
    this.#want(`${namespace}/${name}`, undefined);
  }

  /** Endpoints whose last state is not written yet. */
  get pending(): number {
    return this.#wanted.size;
  }

  /** Gives up what is pending. */
  stop(): void {
    this.#stopped = true;
  }

  #want(key: string, endpoint: PublishedEndpoint | undefined): void {
    const waiting = this.#wanted.has(key);
    this.#wanted.set(key, endpoint);
    if (waiting) return;
    this.#queue
      .run(key, () => this.#write(key))
      .catch((err: unknown) => {
        this.#log.error({ err, endpoint: key }, "CiliumEndpoint given up");
      });
  }

  async #write(key: string): Promise<void> {
    const wait = backoff({ baseMs: 100, maxMs: 30_000 });
    while (!this.#stopped) {
      const endpoint = this.#wanted.get(key);
      try {
        await (endpoint ? this.#apply(endpoint) : this.#delete(key));
        if (this.#wanted.get(key) === endpoint) {
          this.#wanted.delete(key);
          return;
        }
        wait.reset();
      } catch (error) {
        if (wait.attempt === 3)
          this.#log.warn({ endpoint: key }, `CiliumEndpoint not written yet: ${errorText(error)}`);
        await delay(wait.next());
      }
    }
    throw new AxonError("endpoint.publish", `the agent stopped before ${key} was published`);
  }

  async #apply(endpoint: PublishedEndpoint): Promise<void> {
    const resource = this.#client.resource(ciliumEndpoints);
    const object = objectOf(endpoint);
    const written = await resource.apply(object, { fieldManager, force: true });
    // Clusters whose CRD makes status a subresource drop it from the first write.
    if (!written.status) await resource.applyStatus(object, { fieldManager, force: true });
  }

  async #delete(key: string): Promise<void> {
    const [namespace = "", name = ""] = key.split("/");
    const resource = this.#client.resource(ciliumEndpoints);
    const found = await resource.find(name, { namespace });
    const node = found?.status?.networking?.node ?? this.#nodeIp();
    if (found === undefined || node !== this.#nodeIp()) return;
    // The pod may come up elsewhere, under its name, between these two.
    const { uid, resourceVersion } = found.metadata ?? {};
    const preconditions = { ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) };
    await resource.deleteIfExists(name, { namespace, preconditions });
  }
}

function objectOf(endpoint: PublishedEndpoint): CiliumEndpointObject {
  const { namespace, name, podUid, ipv4, ipv6 } = endpoint;
  const owner = { apiVersion: "v1", kind: "Pod", name, uid: podUid };
  return {
    apiVersion: "cilium.io/v2",
    kind: "CiliumEndpoint",
    metadata: { namespace, name, ...(podUid === "" ? {} : { ownerReferences: [owner] }) },
    status: {
      id: endpoint.id,
      state: "ready",
      identity: { id: endpoint.identity, labels: endpoint.labels },
      networking: {
        addressing: [{ ...(ipv4 ? { ipv4 } : {}), ...(ipv6 ? { ipv6 } : {}) }],
        node: endpoint.nodeIp,
      },
      "named-ports": endpoint.namedPorts,
    },
  };
}
