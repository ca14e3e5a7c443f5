import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { Deferred, formatPrefix, type Prefix, parsePrefix } from "@axoneme/base";
import { defaultPool } from "@axoneme/ipam";

type Texts = Readonly<Record<string, readonly string[]>>;

/**
 * The CIDRs of each pool of this node, with ipam.mode multi-pool: told by the API, remembered on disk. What is given back is
 * forgotten here, and on the disk, before anybody else can get it.
 */
export class PoolCidrs {
  readonly #path: string;
  readonly #onChange: (cidrs: ReadonlyMap<string, readonly Prefix[]>) => void;
  readonly #known = new Deferred<void>();
  /** On their way back: the API may still name them. */
  readonly #leaving = new Set<string>();
  #texts: Texts = {};

  /**
   * @param path of the file that remembers them.
   * @param onChange called with every new set, also the remembered one.
   */
  constructor(path: string, onChange: (cidrs: ReadonlyMap<string, readonly Prefix[]>) => void) {
    this.#path = path;
    this.#onChange = onChange;
    this.#set(readRemembered(path));
  }

  /** Of all pools. */
  get current(): readonly Prefix[] {
    return Object.values(this.#texts).flatMap((texts) => texts.map(parsePrefix));
  }

  /** Resolves when the default pool has one. */
  get known(): Promise<void> {
    return this.#known.promise;
  }

  /** The API's present answer. */
  learn(allocated: readonly { readonly pool: string; readonly cidrs?: readonly string[] }[]): void {
    const told = new Set(allocated.flatMap(({ pool, cidrs = [] }) => cidrs.map((text) => keyOf(pool, text))));
    for (const key of this.#leaving) if (!told.has(key)) this.#leaving.delete(key);
    const texts = allocated.map(({ pool, cidrs = [] }): [string, string[]] => [
      pool,
      cidrs.filter((text) => !this.#leaving.has(keyOf(pool, text))),
    ]);
    const next = Object.fromEntries(texts);
    // Nothing at all: the operator has not got to it yet.
    if (texts.length === 0 || JSON.stringify(next) === JSON.stringify(this.#texts)) return;
    this.#remember(next);
    this.#set(next);
  }

  /** Stops using CIDRs. When this returns no restart brings them back: the API may be told. */
  leave(spare: readonly { readonly pool: string; readonly cidr: Prefix }[]): void {
    for (const { pool, cidr } of spare) this.#leaving.add(keyOf(pool, formatPrefix(cidr)));
    const next = Object.fromEntries(
      Object.entries(this.#texts).map(([pool, texts]) => [
        pool,
        texts.filter((text) => !this.#leaving.has(keyOf(pool, text))),
      ]),
    );
    this.#remember(next);
    this.#set(next);
  }

  /** What the API is to be told: its answer without those that leave. */
  without(allocated: readonly { readonly pool: string; readonly cidrs?: readonly string[] }[]) {
    return allocated.flatMap((entry) => {
      const cidrs = (entry.cidrs ?? []).filter((text) => !this.#leaving.has(keyOf(entry.pool, text)));
      return cidrs.length > 0 ? [{ ...entry, cidrs }] : [];
    });
  }

  /** Whether some are on their way back. */
  get leaving(): boolean {
    return this.#leaving.size > 0;
  }

  #remember(texts: Texts): void {
    mkdirSync(dirname(this.#path), { recursive: true });
    const file = openSync(`${this.#path}.tmp`, "w", 0o644);
    writeSync(file, JSON.stringify(texts));
    // A power cut must not bring back what another node has by then.
    fsyncSync(file);
    closeSync(file);
    renameSync(`${this.#path}.tmp`, this.#path);
  }

  #set(texts: Texts): void {
    if (Object.keys(texts).length === 0) return;
    this.#texts = texts;
    this.#onChange(new Map(Object.entries(texts).map(([pool, of]) => [pool, of.map(parsePrefix)])));
    if ((texts[defaultPool] ?? []).length > 0) this.#known.resolve();
  }
}

function keyOf(pool: string, text: string): string {
  return `${pool} ${text}`;
}

function readRemembered(path: string): Texts {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Texts;
  } catch {
    // Absent or unreadable: the API will tell.
    return {};
  }
}
