import { AxonError, errorText, type Logger } from "@axoneme/base";
import {
  clusterScope,
  type IdentityCache,
  identityKey,
  identityObject,
  isClassIdentity,
  isLocalIdentity,
  isNodeIdentity,
  type Labels,
  parseIdentityObject,
} from "@axoneme/identity";
import { isAlreadyExists, isNotFound, type KubeClient, type ListWatchHandlers } from "@axoneme/kube";
import { type CiliumIdentityObject, ciliumIdentities, fieldManager } from "./objects.ts";

/** How many taken numbers are tried before giving up: with 65,000 numbers even two in a row are rare. */
const maxTries = 32;
/** Set by the operator on an identity that seems unused; it deletes the identity later unless this was taken off. */
const heartbeatAnnotation = "io.cilium.heartbeat";

/** Numbers for label sets: known ones at once, new ones as CiliumIdentity objects that every node then sees. */
export class IdentityAllocator {
  readonly #cache: IdentityCache;
  readonly #client: KubeClient;
  readonly #log: Logger;
  /** One creation at a time for a label set: pods of a Deployment arrive together. */
  readonly #creating = new Map<string, Promise<number>>();
  /** Identities the operator is about to delete. */
  readonly #marked = new Set<number>();
  /** Whether a local endpoint has the identity: told by the owner of the endpoints. */
  isUsed: (id: number) => boolean = () => false;

  constructor(cache: IdentityCache, client: KubeClient, log: Logger) {
    this.#cache = cache;
    this.#client = client;
    this.#log = log;
  }

  /** Keeps the cache like the API, and alive what is in use here: for a ListWatch of CiliumIdentity. */
  handlers(): ListWatchHandlers<CiliumIdentityObject> {
    const upsert = (object: CiliumIdentityObject) => {
      const { id, labels } = parseIdentityObject(object);
      if (!isGivenOut(id)) {
        this.#log.warn({ identity: id }, "CiliumIdentity of a number that is not given out: passed over");
        return;
      }
      this.#cache.upsert(id, labels);
      this.#noteMark(id, object.metadata?.annotations?.[heartbeatAnnotation] !== undefined);
    };
    return { onAdd: upsert, onUpdate: upsert, onDelete: (object) => this.#deleted(object) };
  }

  /**
   * The number of a label set. One that the operator was about to delete is kept before it is given out.
   * @throws KubeError when a new one cannot be created, AxonError `identity.exhausted` when none is free.
   */
  async idFor(labels: Labels): Promise<number> {
    const known = this.#cache.lookup(labels);
    if (known !== undefined && !this.#marked.has(known)) return known;
    const key = identityKey(labels);
    const running = this.#creating.get(key);
    if (running) return running;
    const answer = (known === undefined ? this.#create(labels) : this.#keep(known, labels)).finally(() =>
      this.#creating.delete(key),
    );
    this.#creating.set(key, answer);
    return answer;
  }

  #noteMark(id: number, marked: boolean): void {
    if (!marked) {
      this.#marked.delete(id);
      return;
    }
    this.#marked.add(id);
    if (!this.isUsed(id)) return;
    this.#unmark(id).catch((error: unknown) => {
      this.#log.warn({ identity: id }, `an identity in use cannot be kept from removal: ${errorText(error)}`);
    });
  }

  /** Changes the object, so that a deletion that was decided before fails with a conflict. */
  async #unmark(id: number): Promise<void> {
    const patch = { metadata: { annotations: { [heartbeatAnnotation]: null } } };
    await this.#client.resource(ciliumIdentities).patch(String(id), patch, { fieldManager });
    this.#marked.delete(id);
  }

  async #keep(id: number, labels: Labels): Promise<number> {
    try {
      await this.#unmark(id);
      return id;
    } catch (error) {
      if (!isNotFound(error)) throw error;
      this.#cache.delete(id);
      this.#marked.delete(id);
      return this.#create(labels);
    }
  }

  /** One that is in use here is not let go: the endpoints' rows and those of other nodes name it. */
  #deleted(object: CiliumIdentityObject): void {
    const { id, labels } = parseIdentityObject(object);
    if (!isGivenOut(id)) return;
    this.#marked.delete(id);
    if (!this.isUsed(id)) {
      this.#cache.delete(id);
      return;
    }
    this.#log.warn({ identity: id }, "an identity in use was deleted: created again");
    this.#client
      .resource(ciliumIdentities)
      .create(identityObject(id, labels), { fieldManager })
      .catch((error: unknown) => {
        if (isAlreadyExists(error)) return;
        this.#log.error({ identity: id }, `the identity could not be created again: ${errorText(error)}`);
      });
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

/** Reserved numbers and those of CIDRs mean the same on every agent, whatever an object says. */
function isGivenOut(id: number): boolean {
  if (isLocalIdentity(id) || isNodeIdentity(id) || isClassIdentity(id)) return false;
  return id >= clusterScope.first;
}
