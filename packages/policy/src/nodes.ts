import type { Labels } from "@axoneme/identity";
import type { Peer, Policy } from "./rule.ts";
import { exists, type Requirement, type Selector } from "./selector.ts";

/** Other nodes that a selector on node labels selects; one without requirements: every other node. */
export function remoteNodes({ requirements }: Selector): Peer {
  return { kind: "labels", selector: { requirements: [...requirements, exists("reserved", "remote-node")] } };
}

/** All nodes that a selector selects, this one too. */
export function allNodes(selector: Selector): Peer[] {
  const { requirements } = selector;
  const own: Selector = { requirements: [...requirements, exists("reserved", "host")] };
  return [{ kind: "labels", selector: own }, remoteNodes(selector)];
}

interface Uses {
  /** Rules that ask for the key, whatever its value. */
  present: number;
  /** Rules that name a value. */
  readonly values: Map<string, number>;
}

/** What rules ask of node labels: so much of a node's labels makes its identity, and no more. */
export class NodeSelectors {
  readonly #uses = new Map<string, Uses>();

  /** Counts what a policy asks. Returns whether nodes are told apart by more than before. */
  add(policy: Policy): boolean {
    let changed = false;
    for (const requirement of nodeRequirements(policy)) {
      for (const value of named(requirement)) changed = this.#count(requirement.key, value, 1) || changed;
    }
    return changed;
  }

  /** Takes back what `add` counted. Returns whether nodes are told apart by less than before. */
  remove(policy: Policy): boolean {
    let changed = false;
    for (const requirement of nodeRequirements(policy)) {
      for (const value of named(requirement)) changed = this.#count(requirement.key, value, -1) || changed;
    }
    return changed;
  }

  /**
   * Labels (source `node`) of the class a node belongs to: equal for nodes that no rule tells apart, and selected by
   * the same selectors as all of the node's labels. A value that no rule names stands as `*`, which no label can have,
   * where rules ask for the key alone.
   */
  classOf(labels: Readonly<Record<string, string>>): Labels {
    const result: Record<string, string> = {};
    for (const [key, { present, values }] of this.#uses) {
      const value = labels[key];
      if (value === undefined) continue;
      if (values.has(value)) result[`node:${key}`] = value;
      else if (present > 0) result[`node:${key}`] = otherThan(values);
    }
    return result;
  }

  /** `value` undefined: the key alone. */
  #count(key: string, value: string | undefined, by: 1 | -1): boolean {
    const uses = this.#uses.get(key) ?? { present: 0, values: new Map<string, number>() };
    const before = value === undefined ? uses.present : (uses.values.get(value) ?? 0);
    const after = before + by;
    if (value === undefined) uses.present = after;
    else if (after > 0) uses.values.set(value, after);
    else uses.values.delete(value);
    if (uses.present > 0 || uses.values.size > 0) this.#uses.set(key, uses);
    else this.#uses.delete(key);
    return before === 0 || after === 0;
  }
}

function otherThan(values: ReadonlyMap<string, number>): string {
  let text = "*";
  while (values.has(text)) text += "*";
  return text;
}

function named({ op, values }: Requirement): readonly (string | undefined)[] {
  return op === "In" || op === "NotIn" ? [...new Set(values)] : [undefined];
}

/** What the rules of a policy ask of the labels of nodes. */
function nodeRequirements({ specs }: Policy): Requirement[] {
  const found = new Map<string, Requirement>();
  for (const { rules } of specs) {
    for (const { peers } of rules) {
      for (const peer of peers) {
        if (peer.kind !== "labels" || !isOfNodes(peer.selector)) continue;
        for (const requirement of peer.selector.requirements) {
          if (requirement.source !== "any" && requirement.source !== "node") continue;
          const { key, op, values } = requirement;
          found.set(`${op}/${key}/${values.join()}`, requirement);
        }
      }
    }
  }
  return [...found.values()];
}

function isOfNodes({ requirements }: Selector): boolean {
  return requirements.some(
    ({ source, key, op }) =>
      source === "reserved" && op !== "NotIn" && op !== "DoesNotExist" && nodeEntities.has(key),
  );
}

const nodeEntities: ReadonlySet<string> = new Set(["host", "remote-node", "kube-apiserver"]);
