import { type NodeState, nodeStatus } from "./message.ts";

/** Nodes named in one message at most, and letters of what is said of them. */
const limits = { names: 100, text: 500 };

/** What became of nodes since the reader was last told. */
export class NodeNews {
  readonly #nodeName: string;
  readonly #states = new Map<NodeState, { names: Set<string>; message: string }>();

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  get isEmpty(): boolean {
    return this.#states.size === 0;
  }

  add(state: NodeState, names: Iterable<string>, message: string): void {
    const list = [...names];
    if (list.length === 0) return;
    const known = this.#states.get(state) ?? { names: new Set<string>(), message };
    for (const name of list) {
      // Only what is true at last is told.
      for (const other of this.#states.values()) other.names.delete(name);
      if (known.names.size < limits.names) known.names.add(name);
    }
    this.#states.set(state, known);
  }

  /** The messages, those of nodes that are there first; nothing is left. */
  take(nowMs: number): Uint8Array[] {
    const about = { nodeName: this.#nodeName, nowMs };
    const messages: Uint8Array[] = [];
    for (const [state, { names, message }] of this.#states) {
      if (names.size > 0)
        messages.push(nodeStatus(state, [...names].sort(), message.slice(0, limits.text), about));
    }
    this.#states.clear();
    return messages;
  }
}
