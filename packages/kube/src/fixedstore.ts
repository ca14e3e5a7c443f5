import type { KubeClient } from "./client.ts";
import type { AddressClaim, FixedAddress, FixedAddressSpec } from "./crds/fixedaddress.ts";
import { isAlreadyExists, isConflict, isNotFound } from "./errors.ts";
import { resources } from "./known.ts";

interface PodName {
  readonly namespace: string;
  readonly name: string;
}

interface Stored<T> {
  readonly value: T;
  readonly version: string;
  readonly uid: string;
}

/** How long one call may take: a pod waits for it. */
const deadlineMs = 5000;
const poolLabel = "axoneme.io/pool";
const nodeLabel = "axoneme.io/node";

/** Selects the FixedAddresses that pods of a node hold, and perhaps some more. */
export function heldOnNode(node: string): string {
  return `${nodeLabel}=${labelValue(node)}`;
}

/** The name of an address's AddressClaim. */
export function claimName(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail = ""] = address.split("::");
  const first = head === "" ? [] : head.split(":");
  const last = tail === "" ? [] : tail.split(":");
  const zeros = address.includes("::") ? Array<string>(8 - first.length - last.length).fill("0") : [];
  return [...first, ...zeros, ...last].join("-");
}

/** FixedAddresses and AddressClaims as the protocol of `@axoneme/ipam` wants them: reads are of the last write. */
export class KubeFixedStore {
  readonly #client: KubeClient;
  readonly #signal: AbortSignal | undefined;

  constructor(client: KubeClient, signal?: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
  }

  get #options() {
    return { deadlineMs, ...(this.#signal ? { signal: this.#signal } : {}) };
  }

  get #bindings() {
    return this.#client.resource(resources.fixedaddresses);
  }

  get #claims() {
    return this.#client.resource(resources.addressclaims);
  }

  async binding({ namespace, name }: PodName): Promise<Stored<FixedAddressSpec> | undefined> {
    return stored(await this.#bindings.find(name, { namespace, ...this.#options }));
  }

  async createBinding(pod: PodName, value: FixedAddressSpec): Promise<Stored<FixedAddressSpec> | undefined> {
    const made = this.#bindings.create(bindingOf(pod, value), this.#options);
    return stored(await made.catch(unlessTaken));
  }

  async updateBinding(
    pod: PodName,
    { version: resourceVersion, uid }: Stored<unknown>,
    value: FixedAddressSpec,
  ): Promise<boolean> {
    const object = bindingOf(pod, value);
    const metadata = { ...object.metadata, resourceVersion, uid };
    return happens(this.#bindings.update({ ...object, metadata }, this.#options));
  }

  async deleteBinding({ namespace, name }: PodName, { version, uid }: Stored<unknown>): Promise<boolean> {
    const preconditions = { uid, resourceVersion: version };
    return happens(this.#bindings.delete(name, { namespace, preconditions, ...this.#options }));
  }

  async claim(address: string): Promise<Stored<AddressClaim["spec"]> | undefined> {
    return stored(await this.#claims.find(claimName(address), this.#options));
  }

  async createClaim(spec: AddressClaim["spec"]): Promise<boolean> {
    return (await this.#claims.create(claimOf(spec), this.#options).catch(unlessTaken)) !== undefined;
  }

  async updateClaim(
    { version: resourceVersion, uid }: Stored<unknown>,
    spec: AddressClaim["spec"],
  ): Promise<boolean> {
    const object = claimOf(spec);
    const metadata = { ...object.metadata, resourceVersion, uid };
    return happens(this.#claims.update({ ...object, metadata }, this.#options));
  }

  async deleteClaim({ value, version, uid }: Stored<AddressClaim["spec"]>): Promise<boolean> {
    const preconditions = { uid, resourceVersion: version };
    return happens(this.#claims.delete(claimName(value.address), { preconditions, ...this.#options }));
  }

  async claims(pool: string): Promise<AddressClaim["spec"][]> {
    const labelSelector = `${poolLabel}=${labelValue(pool)}`;
    const { items } = await this.#claims.list({ labelSelector, ...this.#options });
    return items.map(({ spec }) => spec);
  }
}

function bindingOf({ namespace, name }: PodName, spec: FixedAddressSpec): FixedAddress {
  const labels = spec.holder ? { labels: { [nodeLabel]: labelValue(spec.holder.node) } } : {};
  return { metadata: { namespace, name, ...labels }, spec: { ...spec } };
}

function claimOf(spec: AddressClaim["spec"]): AddressClaim {
  const labels = { [poolLabel]: labelValue(spec.pool ?? "") };
  return { metadata: { name: claimName(spec.address), labels }, spec };
}

/** Names may be longer than values of labels: objects are looked at as well as selected. */
function labelValue(name: string): string {
  return name.slice(0, 63).replace(/[^A-Za-z0-9]+$/, "");
}

function stored<T>(
  object: { metadata?: { resourceVersion?: string; uid?: string }; spec: T } | undefined,
): Stored<T> | undefined {
  if (object === undefined) return undefined;
  const { resourceVersion = "", uid = "" } = object.metadata ?? {};
  return { value: object.spec, version: resourceVersion, uid };
}

function unlessTaken(error: unknown): undefined {
  if (isAlreadyExists(error)) return undefined;
  throw error;
}

/** False when the object has changed or gone meanwhile. */
async function happens(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (isConflict(error) || isNotFound(error)) return false;
    throw error;
  }
}
