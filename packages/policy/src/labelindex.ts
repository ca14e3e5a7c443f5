import type { Labels } from "@axoneme/identity";
import { file, unfile } from "./buckets.ts";
import type { Effort } from "./effort.ts";
import { KeyCounts } from "./keycounts.ts";
import {
  type LabelMap,
  labelMap,
  type Requirement,
  type Selector,
  selectorText,
  selects,
} from "./selector.ts";

/** A selector in use and the items it selects now. Equal selectors share one. */
export interface SelectorNode {
  readonly text: string;
  readonly selector: Selector;
  readonly items: Set<number>;
  users: number;
  /** Index terms it is filed under; none = it has no positive requirement and is tried for every item. */
  readonly anchors: readonly string[];
}

interface Item {
  labels: LabelMap;
  terms: readonly string[];
  nodes: Set<SelectorNode>;
}

/**
 * Selectors and labelled items, each indexed by the other: adding an item tries only selectors filed under one
 * of its labels, adding a selector tries only items that have one of its labels.
 */
export class LabelIndex {
  readonly #effort: Effort;
  readonly #items = new Map<number, Item>();
  readonly #itemsByTerm = new Map<string, Set<number>>();
  readonly #nodes = new Map<string, SelectorNode>();
  readonly #nodesByTerm = new Map<string, Set<SelectorNode>>();
  readonly #unanchored = new Set<SelectorNode>();
  /** The label keys that selectors name. */
  readonly keys = new KeyCounts();

  constructor(effort: Effort) {
    this.#effort = effort;
  }

  /** The node of a selector, made when new; counts a user. */
  acquire(selector: Selector): SelectorNode {
    const text = selectorText(selector);
    const known = this.#nodes.get(text);
    if (known !== undefined) {
      known.users++;
      return known;
    }
    const anchors = this.#anchors(selector);
    const node: SelectorNode = { text, selector, items: new Set(), users: 1, anchors };
    this.#nodes.set(text, node);
    this.keys.add(selector);
    if (anchors.length === 0) this.#unanchored.add(node);
    for (const anchor of anchors) file(this.#nodesByTerm, anchor, node);
    for (const id of this.#candidates(selector)) this.#link(node, id, this.#items.get(id));
    return node;
  }

  /** Gives back one use of a node. */
  release(node: SelectorNode): void {
    if (--node.users > 0) return;
    this.#nodes.delete(node.text);
    this.keys.remove(node.selector);
    this.#unanchored.delete(node);
    for (const anchor of node.anchors) unfile(this.#nodesByTerm, anchor, node);
    for (const id of node.items) this.#items.get(id)?.nodes.delete(node);
  }

  /** Adds an item; returns the selectors that select it. */
  add(id: number, labels: Labels): ReadonlySet<SelectorNode> {
    const map = labelMap(labels);
    const terms = termsOf(map);
    const item: Item = { labels: map, terms, nodes: new Set() };
    this.#items.set(id, item);
    for (const term of terms) {
      file(this.#itemsByTerm, term, id);
      for (const node of this.#nodesByTerm.get(term) ?? []) this.#link(node, id, item);
    }
    for (const node of this.#unanchored) this.#link(node, id, item);
    return item.nodes;
  }

  /** Removes an item; returns the selectors that selected it. */
  remove(id: number): ReadonlySet<SelectorNode> {
    const item = this.#items.get(id);
    if (item === undefined) return new Set();
    this.#items.delete(id);
    for (const term of item.terms) unfile(this.#itemsByTerm, term, id);
    for (const node of item.nodes) node.items.delete(id);
    return item.nodes;
  }

  /** The selectors that select an item. */
  nodesOf(id: number): ReadonlySet<SelectorNode> {
    return this.#items.get(id)?.nodes ?? new Set();
  }

  /** Whether a selector in use selects these labels. */
  isSelected(labels: Labels): boolean {
    const map = labelMap(labels);
    const nodes = termsOf(map).flatMap((term) => [...(this.#nodesByTerm.get(term) ?? [])]);
    return [...nodes, ...this.#unanchored].some(({ selector }) => selects(selector, map));
  }

  get selectorCount(): number {
    return this.#nodes.size;
  }

  #link(node: SelectorNode, id: number, item: Item | undefined): void {
    if (item === undefined || item.nodes.has(node)) return;
    this.#effort.trials++;
    if (!selects(node.selector, item.labels)) return;
    item.nodes.add(node);
    node.items.add(id);
  }

  /** Terms of the positive requirement under which the fewest selectors are filed so far. */
  #anchors(selector: Selector): readonly string[] {
    let best: readonly string[] = [];
    let fewest = Number.POSITIVE_INFINITY;
    for (const requirement of selector.requirements) {
      const terms = requirementTerms(requirement);
      if (terms.length === 0) continue;
      const load = terms.reduce((sum, term) => sum + 1 + (this.#nodesByTerm.get(term)?.size ?? 0), 0);
      // "The key exists" is filed under every item that has the key: a last resort.
      const weight = requirement.op === "Exists" ? load + 1e6 : load;
      if (weight < fewest) {
        fewest = weight;
        best = terms;
      }
    }
    return best;
  }

  /** Items that may be selected: those under the positive requirement with the fewest items. */
  #candidates(selector: Selector): Iterable<number> {
    let best: readonly string[] | undefined;
    let fewest = Number.POSITIVE_INFINITY;
    for (const requirement of selector.requirements) {
      const terms = requirementTerms(requirement);
      if (terms.length === 0) continue;
      const count = terms.reduce((sum, term) => sum + (this.#itemsByTerm.get(term)?.size ?? 0), 0);
      if (count < fewest) {
        fewest = count;
        best = terms;
      }
    }
    if (best === undefined) return this.#items.keys();
    return best.flatMap((term) => [...(this.#itemsByTerm.get(term) ?? [])]);
  }
}

/** Index terms ignore the source of a label; the full match looks at it. */
function requirementTerms({ op, key, values }: Requirement): string[] {
  if (op === "In") return [...new Set(values)].map((value) => `${key}=${value}`);
  return op === "Exists" ? [key] : [];
}

function termsOf(labels: LabelMap): string[] {
  const terms = new Set<string>();
  for (const [key, entries] of labels) {
    terms.add(key);
    for (const { value } of entries) terms.add(`${key}=${value}`);
  }
  return [...terms];
}
