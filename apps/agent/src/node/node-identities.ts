import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { hostPrefix, type Ip, type Logger } from "@axoneme/base";
import { isNodeIdentity, type Labels, NodeIdentities, reserved, reservedLabels } from "@axoneme/identity";
import { NodeSelectors, type Policy } from "@axoneme/policy";

/** Which entity a node's address is by itself. */
export type NodeEntity = "remote-node" | "kube-apiserver";

const numberOf: Readonly<Record<NodeEntity, number>> = {
  "remote-node": reserved.remoteNode,
  "kube-apiserver": reserved.kubeApiserver,
};

/** Where identities go before packets carry them: the policy module. */
export interface IdentitySink {
  addIdentities(identities: readonly { readonly id: number; readonly labels: Labels }[]): void;
  deleteIdentities(ids: readonly number[]): void;
}

/** What is known of addresses that share an identity. */
export interface NodeClaim {
  readonly entity: NodeEntity;
  /** Of the Node object; of an address that is no node's, none. */
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly Ip[];
}

interface Held extends NodeClaim {
  /** The identity the addresses have now; a reserved one while no rule names their labels. */
  id: number;
  readonly apply: (identity: number) => void;
}

/** What node identities are made with. */
export interface NodeClassDeps {
  readonly sink: IdentitySink;
  /** Writes the addresses' rows now. */
  readonly flush: () => void;
  /** What the kernel's ipcache said of a prefix before this agent. */
  readonly before: (ip: Ip) => number | undefined;
  /** File that keeps numbers over a restart: rows of live policies name them. */
  readonly path: string;
  readonly log: Logger;
}

/**
 * Gives other nodes identities by those of their labels that rules name. A change goes in an order in which no packet is
 * judged by half of it: rows of a new identity, then the addresses, then the old identity goes.
 */
export class NodeClasses {
  readonly identities = new NodeIdentities();
  readonly #deps: NodeClassDeps;
  readonly #selectors = new NodeSelectors();
  readonly #held = new Map<string, Held>();
  #open = false;

  constructor(deps: NodeClassDeps) {
    this.#deps = deps;
    for (const [id, labels] of readNumbers(deps.path)) this.identities.restore(id, labels);
  }

  /** A node, or an address of one, came or changed. `apply` puts an identity on its addresses, now and at every change. */
  set(key: string, claim: NodeClaim, apply: (identity: number) => void): void {
    const before = this.#held.get(key);
    const held: Held = { ...claim, apply, id: before?.id ?? 0 };
    this.#held.set(key, held);
    if (this.#open) this.#turn([{ held, id: this.#acquire(held) }]);
    else {
      held.id = this.#fromBefore(claim);
      apply(held.id);
    }
  }

  /** The addresses are gone from the ipcache. */
  delete(key: string): void {
    const held = this.#held.get(key);
    if (held === undefined) return;
    this.#held.delete(key);
    if (this.#open) this.#release([held.id]);
  }

  /** A policy is about to be put in force. */
  coming(policy: Policy): void {
    if (this.#selectors.add(policy)) this.#refresh();
  }

  /** A policy is out of force. */
  gone(policy: Policy): void {
    if (this.#selectors.remove(policy)) this.#refresh();
  }

  /** All policies and nodes are known: `commit` brings the policies in force, with the identities' rows. */
  open(commit: () => void): void {
    this.#open = true;
    const all = [...this.#held.values()].map((held) => ({ held, id: this.#acquire(held) }));
    commit();
    for (const { held, id } of all) this.#assign(held, id);
    this.#deps.flush();
    const unused = this.identities.dropUnused().map(({ id }) => id);
    if (unused.length > 0) this.#deps.sink.deleteIdentities(unused);
    this.#remember();
  }

  #refresh(): void {
    if (!this.#open) return;
    const next = [...this.#held.values()].map((held) => ({ held, id: this.#acquire(held) }));
    const [same, other] = [true, false].map((kept) =>
      next.filter(({ held, id }) => (held.id === id) === kept),
    );
    this.#release((same ?? []).map(({ id }) => id));
    this.#turn(other ?? []);
  }

  /** From here on the claims have these identities, whose rows are in the kernel. */
  #turn(next: readonly { readonly held: Held; readonly id: number }[]): void {
    const before = next.map(({ held }) => held.id);
    this.#remember();
    for (const { held, id } of next) this.#assign(held, id);
    this.#deps.flush();
    this.#release(before);
  }

  #assign(held: Held, id: number): void {
    held.id = id;
    held.apply(id);
  }

  /** One use of the identity of a claim, whose rows are in the kernel when this returns. */
  #acquire({ entity, labels }: NodeClaim): number {
    const own = this.#selectors.classOf(labels);
    if (Object.keys(own).length === 0) return numberOf[entity];
    const known = this.identities.size;
    const identity = this.identities.acquire({ ...reservedLabels(numberOf[entity]), ...own });
    if (this.identities.size > known) this.#deps.log.info({ ...identity }, "identity of nodes created");
    this.#deps.sink.addIdentities([identity]);
    return identity.id;
  }

  #release(ids: readonly number[]): void {
    const gone = ids.flatMap((id) => this.identities.release(id)?.id ?? []);
    if (gone.length === 0) return;
    this.#deps.sink.deleteIdentities(gone);
    this.#remember();
  }

  /** Until the policies are known, addresses keep what they had: the rows of an agent before us name it. */
  #fromBefore({ entity, addresses }: NodeClaim): number {
    for (const ip of addresses) {
      const id = this.#deps.before(ip);
      const known = id !== undefined && isNodeIdentity(id) ? this.identities.get(id) : undefined;
      if (known === undefined) continue;
      this.#deps.sink.addIdentities([known]);
      return known.id;
    }
    return numberOf[entity];
  }

  #remember(): void {
    const { path } = this.#deps;
    const text = JSON.stringify([...this.identities.all()].map(({ id, labels }) => [id, labels]));
    if (text === this.#remembered) return;
    this.#remembered = text;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.tmp`, text, { mode: 0o600 });
    renameSync(`${path}.tmp`, path);
  }

  #remembered = "[]";
}

/** Reads the identity that the kernel's ipcache has for an address. */
export function identityBefore(
  get: (key: { prefixlen: number; addr: Ip }) => { identity: number } | undefined,
) {
  return (ip: Ip): number | undefined => {
    const { length } = hostPrefix(ip);
    return get({ prefixlen: length, addr: ip })?.identity;
  };
}

/** What was remembered; nothing when there is no file or none that can be read: the numbers are chosen anew. */
function readNumbers(path: string): [number, Labels][] {
  try {
    const read: unknown = JSON.parse(readFileSync(path, "utf8"));
    return Array.isArray(read) ? read.filter(isNumbered) : [];
  } catch {
    return [];
  }
}

function isNumbered(entry: unknown): entry is [number, Labels] {
  return (
    Array.isArray(entry) &&
    typeof entry[0] === "number" &&
    typeof entry[1] === "object" &&
    entry[1] !== null &&
    Object.values(entry[1] as object).every((value) => typeof value === "string")
  );
}
