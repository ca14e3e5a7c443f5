/** What owns frontends. */
export type OwnerKind = "Service" | "Pod" | "CiliumLocalRedirectPolicy";

/** An object that has frontends, with one text that names it: a Map key. */
export interface Owner {
  readonly kind: OwnerKind;
  readonly namespace: string;
  readonly name: string;
  readonly text: string;
}

/** Why something of an object could not be programmed, or not as it says. */
export interface Problem {
  readonly kind: OwnerKind;
  readonly namespace: string;
  readonly name: string;
  /** The port it is about, as in `80/TCP`; empty when it is about the whole object. */
  readonly port: string;
  readonly reason: string;
}

/** Makes an {@link Owner} of `namespace/name`. */
export function ownerOf(kind: OwnerKind, key: string): Owner {
  const slash = key.indexOf("/");
  return {
    kind,
    namespace: key.slice(0, slash),
    name: key.slice(slash + 1),
    text: ownerText(kind, key),
  };
}

/** The text of an owner. */
export function ownerText(kind: OwnerKind, key: string): string {
  return `${kind} ${key}`;
}

/** Problems by owner and by what found them, and which owners' problems changed. */
export class ProblemBook {
  readonly #byOwner = new Map<string, { owner: Owner; sources: Map<string, readonly Problem[]> }>();
  readonly #changed = new Map<string, Owner>();

  /** Replaces what one source says about an owner. */
  set(owner: Owner, source: string, found: readonly { port: string; reason: string }[]): void {
    const known = this.#byOwner.get(owner.text);
    if (found.length === 0 && known === undefined) return;
    const entry = known ?? { owner, sources: new Map<string, readonly Problem[]>() };
    const before = entry.sources.get(source) ?? [];
    if (sameProblems(before, found)) return;
    const { kind, namespace, name } = owner;
    if (found.length === 0) entry.sources.delete(source);
    else
      entry.sources.set(
        source,
        found.map(({ port, reason }) => ({ kind, namespace, name, port, reason })),
      );
    if (entry.sources.size === 0) this.#byOwner.delete(owner.text);
    else this.#byOwner.set(owner.text, entry);
    this.#changed.set(owner.text, owner);
  }

  /** The problems of one owner. */
  of(owner: string): Problem[] {
    return [...(this.#byOwner.get(owner)?.sources.values() ?? [])].flat();
  }

  /** All of them, sorted by object. */
  all(): Problem[] {
    const texts = [...this.#byOwner.keys()].sort();
    return texts.flatMap((text) => this.of(text));
  }

  /** Owners whose problems changed since the last call, with what they have now. */
  drain(): { owner: Owner; problems: Problem[] }[] {
    const changed = [...this.#changed.values()].map((owner) => ({ owner, problems: this.of(owner.text) }));
    this.#changed.clear();
    return changed;
  }
}

type Found = readonly { port: string; reason: string }[];

function sameProblems(a: Found, b: Found): boolean {
  return a.length === b.length && a.every((x, i) => x.port === b[i]?.port && x.reason === b[i]?.reason);
}
