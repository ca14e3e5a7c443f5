import type { Logger } from "@axoneme/base";
import { type KubeClient, resources } from "@axoneme/kube";
import { tolerate } from "./identitygc.ts";
import type { EndpointRow, Sources } from "./sources.ts";

/** Removes CiliumEndpoints whose pod is gone: their node may have gone with it. */
export class EndpointGc {
  readonly #client: KubeClient;
  readonly #sources: Sources;
  readonly #log: Logger;
  readonly #signal: AbortSignal;
  removed = 0;

  constructor(around: { client: KubeClient; sources: Sources; log: Logger; signal: AbortSignal }) {
    this.#client = around.client;
    this.#sources = around.sources;
    this.#log = around.log;
    this.#signal = around.signal;
  }

  async sweep(): Promise<void> {
    if (this.#sources.stale || this.#sources.endpoints.store.size === 0) return;
    // One list of names in place of a watch of all pods: pods change far more often than this looks.
    const pods = await this.#pods();
    for (const endpoint of this.#sources.endpoints.store.values()) {
      if (endpoint.external) continue;
      const uid = pods.get(`${endpoint.namespace}/${endpoint.name}`);
      if (matches(endpoint, uid)) continue;
      // The endpoint may be younger than the list: ask about this pod.
      if (await this.#podExists(endpoint)) continue;
      const preconditions = { uid: endpoint.uid };
      const { namespace, name } = endpoint;
      const endpoints = this.#client.resource(resources.ciliumendpoints);
      const options = { namespace, preconditions, signal: this.#signal };
      if (!(await tolerate(endpoints.delete(name, options)))) continue;
      this.removed++;
      this.#log.info({ endpoint: `${namespace}/${name}` }, "CiliumEndpoint without a pod removed");
    }
  }

  async #pods(): Promise<Map<string, string>> {
    const uids = new Map<string, string>();
    await this.#client.resource(resources.pods).list({
      signal: this.#signal,
      onPage: (items) => {
        for (const { metadata } of items as {
          metadata?: { name?: string; namespace?: string; uid?: string };
        }[]) {
          uids.set(`${metadata?.namespace}/${metadata?.name}`, metadata?.uid ?? "");
        }
      },
    });
    return uids;
  }

  async #podExists(endpoint: EndpointRow): Promise<boolean> {
    const { namespace, name } = endpoint;
    const pod = await this.#client.resource(resources.pods).find(name, { namespace, signal: this.#signal });
    return matches(endpoint, pod?.metadata?.uid);
  }
}

/** Whether the pod of that uid is the endpoint's: a pod of the same name may be another. */
function matches(endpoint: EndpointRow, podUid: string | undefined): boolean {
  if (podUid === undefined) return false;
  return endpoint.podUid === "" || endpoint.podUid === podUid;
}
