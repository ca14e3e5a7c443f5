import { AxonError } from "@axoneme/base";
import { answersFor, classLabels, classScope, type RelevantKeys } from "./classes.ts";
import type { Identity, IdentityCache } from "./identitycache.ts";
import { identityKey, type Labels, parseLabelLine, parseLabelLines, splitKey } from "./labels.ts";

/** What is known of a pod. */
export interface PodClaim {
  /** All of its labels as lines (`labelLines`); undefined: whoever published it does not say. */
  readonly labels: readonly string[] | undefined;
  /** Further lines, for its ports' names: alike for many pods, which can share the list. */
  readonly ports?: readonly string[] | undefined;
  /** The identity it was published with; 0: none yet. */
  readonly published: number;
}

/** A pod goes by another number now. */
export interface Renumbered {
  readonly pod: string;
  readonly from: number;
  readonly to: number;
}

interface Entry extends PodClaim {
  readonly pod: string;
  readonly shape: Shape | undefined;
  number: number;
  own: OwnClass | undefined;
}

/** Pods with the same label keys: when a key becomes relevant, those that have it are at hand. */
interface Shape {
  readonly text: string;
  readonly keys: ReadonlySet<string>;
  readonly pods: Set<Entry>;
}

/** A class of this node. */
interface OwnClass extends Identity {
  readonly text: string;
  users: number;
}

/**
 * The numbers by which an agent knows pods, its own and those of others. A pod goes by the identity it was published
 * with as long as that answers every selector on relevant keys as the pod's labels do; else by a class of this node.
 *
 * A number that comes new (`takeFresh`) has to have its policy rows before a pod carries it; one that nobody carries
 * any more (`takeIdle`) loses them after that. Calls that move pods return the moves; nothing is moved by itself.
 */
export class PodClasses {
  readonly #identities: Pick<IdentityCache, "get">;
  readonly #relevant: RelevantKeys;
  readonly #pods = new Map<string, Entry>();
  readonly #byPublished = new Map<number, Set<Entry>>();
  readonly #shapes = new Map<string, Shape>();
  readonly #shapesByKey = new Map<string, Set<Shape>>();
  readonly #own = new Map<string, OwnClass>();
  readonly #ownById = new Map<number, OwnClass>();
  readonly #idle = new Set<OwnClass>();
  #fresh: Identity[] = [];
  #next: number;

  /** @param firstNumber above every one that rows of an earlier agent name. */
  constructor(
    identities: Pick<IdentityCache, "get">,
    relevant: RelevantKeys,
    firstNumber: number = classScope.first,
  ) {
    this.#identities = identities;
    this.#relevant = relevant;
    this.#next = firstNumber;
  }

  /** Pods known. */
  get size(): number {
    return this.#pods.size;
  }

  /** Classes of this node in use. */
  get ownClasses(): number {
    return this.#own.size - this.#idle.size;
  }

  /** States a pod; the number it goes by. */
  set(pod: string, claim: PodClaim): number {
    const old = this.#pods.get(pod);
    const { labels, ports, published } = claim;
    const shape = labels && this.#shapeOf(linesOf(claim));
    const entry: Entry = { pod, labels, ports, published, shape, number: 0, own: undefined };
    this.#choose(entry);
    // Before the old one goes: it may be the last of the same shape.
    shape?.pods.add(entry);
    if (old !== undefined) this.#forget(old);
    this.#pods.set(pod, entry);
    const others = this.#byPublished.get(claim.published) ?? new Set();
    this.#byPublished.set(claim.published, others.add(entry));
    return entry.number;
  }

  /** Forgets a pod. */
  delete(pod: string): void {
    const entry = this.#pods.get(pod);
    if (entry === undefined) return;
    this.#pods.delete(pod);
    this.#forget(entry);
  }

  /** The number a pod goes by. */
  numberOf(pod: string): number | undefined {
    return this.#pods.get(pod)?.number;
  }

  /** The labels of a class of this node, also of one that has just gone idle. */
  labelsOf(number: number): Labels | undefined {
    return this.#ownById.get(number)?.labels;
  }

  /** The classes of this node, idle ones included: rows for them are still there. */
  *own(): Generator<Identity> {
    for (const { id, labels } of this.#own.values()) yield { id, labels };
  }

  /** The labels an identity for a pod with these labels should have. */
  wanted(labels: Labels): Labels {
    return classLabels(labels, this.#relevant);
  }

  /** Keys become relevant. What was relevant already costs nothing. */
  need(keys: Iterable<string>): Renumbered[] {
    return this.#chooseAll(this.#withKeys(this.#relevant.add(keys)));
  }

  /** Keys are relevant no more: pods may go by coarser numbers. */
  drop(keys: Iterable<string>): Renumbered[] {
    const dropped = [...keys].filter((key) => this.#relevant.delete(key));
    return this.#chooseAll([...this.#withKeys(dropped)].filter(({ own }) => own !== undefined));
  }

  /** An identity came to be known, or is known no more (already, or after this). */
  identityChanged(id: number): Renumbered[] {
    return this.#chooseAll(this.#byPublished.get(id) ?? []);
  }

  /** Classes that pods have been filed under since the last call, for the first time. */
  takeFresh(): Identity[] {
    const fresh = this.#fresh;
    this.#fresh = [];
    return fresh;
  }

  /** Whether there are classes that no pod goes by. */
  get hasIdle(): boolean {
    return this.#idle.size > 0;
  }

  /** Numbers of classes that no pod goes by, and forgets them. */
  takeIdle(): number[] {
    const idle = [...this.#idle];
    this.#idle.clear();
    for (const { id, text } of idle) {
      this.#own.delete(text);
      this.#ownById.delete(id);
    }
    return idle.map(({ id }) => id);
  }

  #chooseAll(entries: Iterable<Entry>): Renumbered[] {
    const moves: Renumbered[] = [];
    for (const entry of entries) {
      const { pod, number: from } = entry;
      this.#choose(entry);
      if (entry.number !== from) moves.push({ pod, from, to: entry.number });
    }
    return moves;
  }

  #choose(entry: Entry): void {
    const { published } = entry;
    // Read when needed: as objects, the labels of a large cluster's pods would take several times the memory.
    const labels = entry.labels && parseLabelLines(linesOf(entry));
    const before = entry.own;
    if (labels === undefined || this.#answers(published, labels)) {
      entry.own = undefined;
      entry.number = published;
    } else {
      entry.own = this.#classOf(labels);
      entry.number = entry.own.id;
      entry.own.users++;
      this.#idle.delete(entry.own);
    }
    if (before !== undefined) this.#release(before);
  }

  #answers(published: number, labels: Labels): boolean {
    const identity = published === 0 ? undefined : this.#identities.get(published);
    return identity !== undefined && answersFor(identity.labels, labels, this.#relevant);
  }

  #classOf(labels: Labels): OwnClass {
    const wanted = this.wanted(labels);
    const text = identityKey(wanted);
    const known = this.#own.get(text);
    if (known !== undefined) return known;
    const made = { id: this.#free(), labels: wanted, text, users: 0 };
    this.#own.set(text, made);
    this.#ownById.set(made.id, made);
    this.#fresh.push({ id: made.id, labels: wanted });
    return made;
  }

  #release(own: OwnClass): void {
    if (--own.users === 0) this.#idle.add(own);
  }

  #free(): number {
    const { first, last } = classScope;
    for (let i = first; i <= last; i++) {
      if (this.#next > last) this.#next = first;
      const id = this.#next++;
      if (!this.#ownById.has(id)) return id;
    }
    throw new AxonError("identity.exhausted", `all ${last - first + 1} numbers of this node are in use`);
  }

  /** Pods that have one of the keys. */
  #withKeys(keys: readonly string[]): Set<Entry> {
    const found = new Set<Entry>();
    for (const key of keys) {
      for (const { pods } of this.#shapesByKey.get(key) ?? []) for (const entry of pods) found.add(entry);
    }
    return found;
  }

  #forget(entry: Entry): void {
    const { shape, own, published } = entry;
    if (own !== undefined) this.#release(own);
    const others = this.#byPublished.get(published);
    others?.delete(entry);
    if (others?.size === 0) this.#byPublished.delete(published);
    if (shape === undefined) return;
    shape.pods.delete(entry);
    if (shape.pods.size === 0) this.#dropShape(shape);
  }

  #shapeOf(lines: readonly string[]): Shape {
    const keys = [...new Set(lines.map((line) => splitKey(parseLabelLine(line)[0]).key))].sort();
    const text = keys.join("\n");
    const known = this.#shapes.get(text);
    if (known !== undefined) return known;
    const shape: Shape = { text, keys: new Set(keys), pods: new Set() };
    this.#shapes.set(text, shape);
    for (const key of keys) {
      const shapes = this.#shapesByKey.get(key) ?? new Set();
      this.#shapesByKey.set(key, shapes.add(shape));
    }
    return shape;
  }

  #dropShape(shape: Shape): void {
    this.#shapes.delete(shape.text);
    for (const key of shape.keys) {
      const shapes = this.#shapesByKey.get(key);
      shapes?.delete(shape);
      if (shapes?.size === 0) this.#shapesByKey.delete(key);
    }
  }
}

function linesOf({ labels = [], ports = [] }: PodClaim): readonly string[] {
  return ports.length === 0 ? labels : [...labels, ...ports];
}
