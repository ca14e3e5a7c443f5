import { maxSliceEndpoints, type SliceMember } from "@axoneme/kube";

/** An endpoint that belongs into a slice. */
export interface Member extends SliceMember {
  readonly namespace: string;
}

/** Endpoints of one CiliumEndpointSlice, by the pod's name. Empty: the object is to go. */
interface Slice {
  readonly name: string;
  readonly namespace: string;
  readonly members: Map<string, Member>;
}

/**
 * Which endpoint is in which slice. Pure. A slice holds endpoints of one namespace; who comes first is served first: a new endpoint
 * goes where something is to be written anyway, else into the fullest slice with room. An endpoint never moves, so that whatever
 * happens to it touches one slice; where many have gone, new ones fill up.
 */
export class Slices {
  readonly #newName: () => string;
  readonly #limit: number;
  readonly #slices = new Map<string, Slice>();
  /** Of a namespace, those with room. */
  readonly #open = new Map<string, Set<Slice>>();
  readonly #sliceOf = new Map<string, Slice>();
  /** Names of slices that differ from what was last written, the longest waiting first. */
  readonly #dirty = new Set<string>();

  /** @param newName a name for a slice, another one each time. */
  constructor(newName: () => string, limit: number = maxSliceEndpoints) {
    this.#newName = newName;
    this.#limit = limit;
  }

  /** Endpoints in slices. */
  get size(): number {
    return this.#sliceOf.size;
  }

  /** Slices that are there, or shall be. */
  get count(): number {
    return this.#slices.size;
  }

  /** Slices that differ from what was last written. */
  get dirty(): ReadonlySet<string> {
    return this.#dirty;
  }

  /** Takes a slice over that somebody wrote before. What is wrong with it is put right when it is next written. */
  adopt(name: string, namespace: string, members: Iterable<Member>): void {
    const slice: Slice = { name, namespace, members: new Map() };
    this.#slices.set(name, slice);
    for (const member of members) {
      const key = keyOf(namespace, nameOf(member));
      // Two slices say it, or one says it twice: whoever wrote them died in between.
      if (member.namespace !== namespace || this.#sliceOf.has(key)) this.#dirty.add(name);
      else this.#place(slice, member);
    }
    if (slice.members.size === 0) this.#dirty.add(name);
    this.#noteRoom(slice);
  }

  /** An endpoint is so. */
  put(member: Member): void {
    const key = keyOf(member.namespace, nameOf(member));
    const there = this.#sliceOf.get(key);
    const before = there?.members.get(nameOf(member));
    if (before !== undefined && sameMember(before, member)) return;
    const slice = there ?? this.#room(member.namespace);
    this.#place(slice, member);
    this.#dirty.add(slice.name);
    this.#noteRoom(slice);
  }

  /** An endpoint is gone. */
  remove(namespace: string, name: string): void {
    const key = keyOf(namespace, name);
    const slice = this.#sliceOf.get(key);
    if (slice === undefined) return;
    this.#sliceOf.delete(key);
    slice.members.delete(name);
    this.#dirty.add(slice.name);
    this.#noteRoom(slice);
  }

  /** Removes all endpoints that are not among these ("namespace/name"). */
  retain(keys: { has(key: string): boolean }): void {
    for (const [key, { namespace }] of this.#sliceOf) {
      if (!keys.has(key)) this.remove(namespace, key.slice(namespace.length + 1));
    }
  }

  /** The object is not as it was last written: somebody else changed or removed it. */
  suspect(name: string): void {
    if (this.#slices.has(name)) this.#dirty.add(name);
  }

  /**
   * What a slice should be, to be written now; undefined: it is to be removed, and forgotten. From here on the slice counts as
   * written; a write that fails has to be told by `suspect`, or by `lost`.
   */
  take(name: string): { namespace: string; members: readonly Member[] } | undefined {
    this.#dirty.delete(name);
    const slice = this.#slices.get(name);
    if (slice === undefined) return undefined;
    if (slice.members.size > 0) return { namespace: slice.namespace, members: [...slice.members.values()] };
    this.#slices.delete(name);
    this.#open.get(slice.namespace)?.delete(slice);
    return undefined;
  }

  /** Whether a slice of this name is there, or shall be. */
  has(name: string): boolean {
    return this.#slices.has(name);
  }

  #place(slice: Slice, member: Member): void {
    slice.members.set(nameOf(member), member);
    this.#sliceOf.set(keyOf(slice.namespace, nameOf(member)), slice);
  }

  #room(namespace: string): Slice {
    let best: Slice | undefined;
    for (const slice of this.#open.get(namespace) ?? []) if (this.#isBetter(slice, best)) best = slice;
    if (best !== undefined) return best;
    const slice: Slice = { name: this.#newName(), namespace, members: new Map() };
    this.#slices.set(slice.name, slice);
    return slice;
  }

  #isBetter(slice: Slice, best: Slice | undefined): boolean {
    if (best === undefined) return true;
    const [isDirty, wasDirty] = [this.#dirty.has(slice.name), this.#dirty.has(best.name)];
    return isDirty === wasDirty ? slice.members.size > best.members.size : isDirty;
  }

  #noteRoom(slice: Slice): void {
    const open = this.#open.get(slice.namespace) ?? new Set();
    if (slice.members.size < this.#limit) open.add(slice);
    else open.delete(slice);
    this.#open.set(slice.namespace, open);
    if (open.size === 0) this.#open.delete(slice.namespace);
  }
}

function nameOf({ core }: Member): string {
  return core.name ?? "";
}

function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

function sameMember(a: Member, b: Member): boolean {
  return textOf(a) === textOf(b);
}

/** Both are built by the same hand, with their fields in the same order (`memberOf`). */
function textOf({ core, labels }: Member): string {
  return JSON.stringify([core, labels]);
}
