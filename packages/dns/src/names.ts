import { AxonError } from "@axoneme/base";

/**
 * A name or pattern of a policy, in the field's words. Either or both: a name that one of them matches is selected.
 * `matchPattern`: `*` alone is every name; a leading `**.` is one or more whole labels; any other run of `*` is any
 * number of characters of one label.
 */
export interface NameSelector {
  matchName?: string;
  matchPattern?: string;
}

/** RFC 1035 2.3.4, as text without escapes and with the final dot. */
const MAX_NAME = 255;
const MAX_LABEL = 63;

function invalid(kind: string, text: string, why: string): AxonError {
  return new AxonError("dns.name", `${kind} "${text.slice(0, 80)}" ${why}`);
}

function withFinalDot(text: string): string {
  return text.endsWith(".") ? text : `${text}.`;
}

function check(kind: string, text: string, characters: RegExp, allowed: string): string {
  const name = withFinalDot(text.trim().toLowerCase());
  if (text.trim() === "") throw invalid(kind, text, "is empty");
  if (name.length > MAX_NAME) throw invalid(kind, text, `is longer than ${MAX_NAME} characters`);
  if (!characters.test(name)) throw invalid(kind, text, `may have only ${allowed}`);
  if (name !== "." && /^\.|\.\./.test(name)) throw invalid(kind, text, "has an empty label");
  if (name.split(".").some((label) => label.replaceAll("*", "").length > MAX_LABEL)) {
    throw invalid(kind, text, `has a label longer than ${MAX_LABEL} characters`);
  }
  return name;
}

/** The one form of a `matchName`: lower case with the final dot. Throws `dns.name` saying what is wrong. */
export function normalizeName(name: string): string {
  return check("matchName", name, /^[-a-z0-9_.]+$/, "letters, digits, '-', '_' and '.'");
}

/** The one form of a `matchPattern`: lower case with the final dot; `*` for every name. Throws `dns.name`. */
export function normalizePattern(pattern: string): string {
  if (/^\s*\*+\.?\s*$/.test(pattern)) return "*";
  return check("matchPattern", pattern, /^[-a-z0-9_.*]+$/, "letters, digits, '-', '_', '.' and '*'");
}

/** Whether a name in its one form has only the characters a `*` of a pattern stands for. */
function isPlain(name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (!((c >= 97 && c <= 122) || (c >= 45 && c <= 46) || (c >= 48 && c <= 57) || c === 95)) return false;
  }
  return true;
}

/** A label with `*` in it: literal pieces in their order, the first at the start, the last at the end. */
class LabelGlob {
  readonly text: string;
  private readonly first: string;
  private readonly middle: readonly string[];
  private readonly last: string;

  constructor(text: string) {
    const pieces = text.split(/\*+/);
    this.text = text;
    this.first = pieces[0] ?? "";
    this.last = pieces.at(-1) ?? "";
    this.middle = pieces.slice(1, -1);
  }

  matches(label: string): boolean {
    const end = label.length - this.last.length;
    if (end < this.first.length || !label.startsWith(this.first) || !label.endsWith(this.last)) return false;
    let at = this.first.length;
    for (const piece of this.middle) {
      const found = label.indexOf(piece, at);
      if (found < 0) return false;
      at = found + piece.length;
    }
    return at <= end;
  }
}

/** A label of the names in the index, seen from the root of the DNS. */
class Node<T> {
  readonly labels = new Map<string, Node<T>>();
  readonly globs = new Map<string, { glob: LabelGlob; node: Node<T> }>();
  /** Of the name that ends here. */
  readonly here = new Set<T>();
  /** Of `**.` and the name that ends here. */
  readonly below = new Set<T>();

  get isEmpty(): boolean {
    return this.labels.size === 0 && this.globs.size === 0 && this.here.size === 0 && this.below.size === 0;
  }

  child(label: string): Node<T> | undefined {
    return label.includes("*") ? this.globs.get(label)?.node : this.labels.get(label);
  }

  grow(label: string): Node<T> {
    const found = this.child(label);
    if (found !== undefined) return found;
    const node = new Node<T>();
    if (label.includes("*")) this.globs.set(label, { glob: new LabelGlob(label), node });
    else this.labels.set(label, node);
    return node;
  }

  drop(label: string): void {
    if (label.includes("*")) this.globs.delete(label);
    else this.labels.delete(label);
  }
}

/** Where a pattern in its one form hangs: labels from the root on, and whether one or more labels come before them. */
function path(pattern: string): { labels: string[]; below: boolean } {
  const below = pattern.startsWith("**.");
  const text = (below ? pattern.slice(3) : pattern).slice(0, -1);
  return { labels: text === "" ? [] : text.split(".").reverse(), below };
}

/**
 * Selectors and what they stand for. A look-up walks a name's labels from the root once, whatever the number of
 * selectors; only patterns with a `*` inside the same label of the same parent are tried one by one. A value is
 * of one selector: who adds it under two and deletes one has to add the other again.
 */
export class NameIndex<T> {
  private readonly every = new Set<T>();
  private readonly root = new Node<T>();

  /** Throws `dns.name` for what is no name or pattern; nothing is added then. Neither given: nothing matches. */
  add(selector: NameSelector, value: T): void {
    for (const pattern of patternsOf(selector)) {
      if (pattern === "*") {
        this.every.add(value);
        continue;
      }
      const { labels, below } = path(pattern);
      let node = this.root;
      for (const label of labels) node = node.grow(label);
      (below ? node.below : node.here).add(value);
    }
  }

  /** Takes a value that was added under this selector away. */
  delete(selector: NameSelector, value: T): void {
    for (const pattern of patternsOf(selector)) {
      if (pattern === "*") {
        this.every.delete(value);
        continue;
      }
      const { labels, below } = path(pattern);
      this.prune(this.root, labels, 0, (node) => (below ? node.below : node.here).delete(value));
    }
  }

  /** Whether any selector matches. `name` in its one form: lower case with the final dot. */
  matches(name: string): boolean {
    if (this.every.size > 0) return true;
    return isPlain(name) && this.walk(this.root, name, name.length - 1, undefined);
  }

  /** The values of all selectors that match. `name` in its one form: lower case with the final dot. */
  matching(name: string): Set<T> {
    const found = new Set(this.every);
    if (isPlain(name)) this.walk(this.root, name, name.length - 1, found);
    return found;
  }

  /** The labels of name[0, end) are left. True: something matches, and nobody asks what else does. */
  private walk(node: Node<T>, name: string, end: number, found: Set<T> | undefined): boolean {
    const values = end <= 0 ? node.here : node.below;
    if (values.size > 0) {
      if (found === undefined) return true;
      for (const value of values) found.add(value);
    }
    if (end <= 0) return false;
    const dot = name.lastIndexOf(".", end - 1);
    const label = name.slice(dot + 1, end);
    const exact = node.labels.get(label);
    if (exact !== undefined && this.walk(exact, name, dot, found)) return true;
    for (const { glob, node: next } of node.globs.values()) {
      if (glob.matches(label) && this.walk(next, name, dot, found)) return true;
    }
    return false;
  }

  private prune(node: Node<T>, labels: readonly string[], at: number, remove: (node: Node<T>) => void): void {
    const label = labels[at];
    if (label === undefined) {
      remove(node);
      return;
    }
    const child = node.child(label);
    if (child === undefined) return;
    this.prune(child, labels, at + 1, remove);
    if (child.isEmpty) node.drop(label);
  }
}

function patternsOf(selector: NameSelector): string[] {
  const patterns: string[] = [];
  if (selector.matchName) patterns.push(normalizeName(selector.matchName));
  if (selector.matchPattern) patterns.push(normalizePattern(selector.matchPattern));
  return patterns;
}
