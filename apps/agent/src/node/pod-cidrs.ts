import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { Deferred, formatPrefix, type Prefix, parsePrefix } from "@axoneme/base";

/**
 * The pod CIDRs of this node: told by the API, remembered on disk so that an agent that starts while the API server is
 * away goes on with the last it knew.
 */
export class PodCidrs {
  readonly #path: string;
  readonly #onChange: (cidrs: readonly Prefix[]) => void;
  readonly #known = new Deferred<void>();
  #current: readonly Prefix[] = [];

  /**
   * @param path of the file that remembers them.
   * @param onChange called with every new set, also the remembered one.
   */
  constructor(path: string, onChange: (cidrs: readonly Prefix[]) => void) {
    this.#path = path;
    this.#onChange = onChange;
    this.#set(readRemembered(path));
  }

  /** The present CIDRs. */
  get current(): readonly Prefix[] {
    return this.#current;
  }

  /** Resolves when there is at least one. */
  get known(): Promise<void> {
    return this.#known.promise;
  }

  /** The API's present answer. An empty one changes nothing: the operator has not got to it yet. */
  learn(texts: readonly string[]): void {
    const cidrs = texts.map(parsePrefix);
    if (cidrs.length === 0 || texts.join() === this.#current.map(formatPrefix).join()) return;
    mkdirSync(dirname(this.#path), { recursive: true });
    writeFileSync(`${this.#path}.tmp`, JSON.stringify(texts));
    renameSync(`${this.#path}.tmp`, this.#path);
    this.#set(cidrs);
  }

  #set(cidrs: readonly Prefix[]): void {
    if (cidrs.length === 0) return;
    this.#current = cidrs;
    this.#onChange(cidrs);
    this.#known.resolve();
  }
}

function readRemembered(path: string): Prefix[] {
  try {
    const texts: unknown = JSON.parse(readFileSync(path, "utf8"));
    return Array.isArray(texts) ? texts.map((text) => parsePrefix(String(text))) : [];
  } catch {
    // Absent or unreadable: the API will tell.
    return [];
  }
}
