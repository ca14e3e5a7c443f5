import { AxonError, type Logger } from "@axoneme/base";
import {
  type IdentityCache,
  identityKey,
  identityObject,
  type Labels,
  parseIdentityObject,
} from "@axoneme/identity";
import { isAlreadyExists, type KubeClient, type ListWatchHandlers } from "@axoneme/kube";
import { type CiliumIdentityObject, ciliumIdentities, fieldManager } from "./objects.ts";

/** How many taken numbers are tried before giving up: with 65,000 numbers even two in a row are rare. */
const maxTries = 32;

/** Numbers for label sets: known ones at once, new ones as CiliumIdentity objects that every node then sees. */
export class IdentityAllocator {
  readonly #cache: IdentityCache;
  readonly #client: KubeClient;
  readonly #log: Logger;
  /** One creation at a time for a label set: pods of a Deployment arrive together. */
  readonly #creating = new Map<string, Promise<number>>();

  constructor(cache: IdentityCache, client: KubeClient, log: Logger) {
    this.#cache = cache;
    this.#client = client;
    this.#log = log;
  }

  /** Keeps the cache like the API: for a ListWatch of CiliumIdentity. */
  handlers(): ListWatchHandlers<CiliumIdentityObject> {
    const upsert = (object: CiliumIdentityObject) => {
      const { id, labels } = parseIdentityObject(object);
      this.#cache.upsert(id, labels);
    };
    return {
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: (object) => this.#cache.delete(parseIdentityObject(object).id),
    };
  }

  /**
   * The number of a label set.
   * @throws KubeError when a new one cannot be created, AxonError `identity.exhausted` when none is free.
   */
  async idFor(labels: Labels): Promise<number> {
    const known = this.#cache.lookup(labels);
    if (known !== undefined) return known;
    const key = identityKey(labels);
    const running = this.#creating.get(key);
    if (running) return running;
    const creation = this.#create(labels).finally(() => this.#creating.delete(key));
    this.#creating.set(key, creation);
    return creation;
  }

  async #create(labels: Labels): Promise<number> {
    for (let attempt = 0; attempt < maxTries; attempt++) {
      const id = this.#cache.propose(labels);
      try {
        await this.#client.resource(ciliumIdentities).create(identityObject(id, labels), { fieldManager });
        this.#cache.upsert(id, labels);
        this.#log.info({ identity: id, labels }, "identity created");
        return id;
      } catch (error) {
        if (!isAlreadyExists(error)) {
          this.#cache.release(id);
          throw error;
        }
        if (await this.#isOurs(id, labels)) return id;
        this.#cache.reject(id);
        const other = this.#cache.lookup(labels);
        if (other !== undefined) return other;
      }
    }
    throw new AxonError("identity.exhausted", `no free identity number found in ${maxTries} tries`);
  }

  /** Whether the number was taken by another agent for the same labels: then it is the one we want. */
  async #isOurs(id: number, labels: Labels): Promise<boolean> {
    const object = await this.#client.resource(ciliumIdentities).find(String(id));
    if (!object || identityKey(parseIdentityObject(object).labels) !== identityKey(labels)) return false;
    this.#cache.upsert(id, labels);
    return true;
  }
}
