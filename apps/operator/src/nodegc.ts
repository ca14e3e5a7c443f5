import type { Logger } from "@axoneme/base";
import { isNotFound, type KubeClient, resources } from "@axoneme/kube";
import { tolerate } from "./identitygc.ts";
import { isExternal, type Sources } from "./sources.ts";

/** Removes CiliumNodes whose Node is gone, the second time they are found without one. */
export class NodeGc {
  readonly #client: KubeClient;
  readonly #sources: Sources;
  readonly #log: Logger;
  readonly #signal: AbortSignal;
  /** uid of those found at the last sweep. */
  #candidates = new Set<string>();

  constructor(around: { client: KubeClient; sources: Sources; log: Logger; signal: AbortSignal }) {
    this.#client = around.client;
    this.#sources = around.sources;
    this.#log = around.log;
    this.#signal = around.signal;
  }

  async sweep(): Promise<void> {
    if (this.#sources.stale) return;
    const { nodes, ciliumNodes } = this.#sources;
    const candidates = new Set<string>();
    for (const { metadata = {} } of ciliumNodes.store.values()) {
      if (isExternal(metadata)) continue;
      const { name = "", uid = "" } = metadata;
      if (nodes.store.get(name) !== undefined) continue;
      candidates.add(uid);
      if (this.#candidates.has(uid) && (await this.#nodeIsGone(name))) await this.#remove(name, uid);
    }
    this.#candidates = candidates;
  }

  async #nodeIsGone(name: string): Promise<boolean> {
    try {
      await this.#client.resource(resources.nodes).get(name, { signal: this.#signal });
      return false;
    } catch (error) {
      if (isNotFound(error)) return true;
      throw error;
    }
  }

  async #remove(name: string, uid: string): Promise<void> {
    const options = { preconditions: { uid }, signal: this.#signal };
    if (!(await tolerate(this.#client.resource(resources.ciliumnodes).delete(name, options)))) return;
    this.#log.info({ node: name }, "CiliumNode without a Node removed");
  }
}
