import { closeSync, constants, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { errorText, type Logger } from "@axoneme/base";
import type { CacheEntry } from "@axoneme/dns";
import type { DnsRuleSet } from "@axoneme/policy";

/** A class of addresses: its identity must be the same after a restart. */
export interface SavedClass {
  readonly id: number;
  readonly selectors: readonly string[];
  /** As text. */
  readonly prefix: string;
}

/** What outlives the agent's process. */
export interface SavedNames {
  readonly classes: readonly SavedClass[];
  readonly rules: readonly DnsRuleSet[];
  readonly entries: readonly CacheEntry[];
}

type Line = { readonly c: SavedClass } | { readonly r: DnsRuleSet } | { readonly e: CacheEntry };

const appending = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND;
/** A file that has grown by this much is due to be written anew. */
const compactBytes = 4 * 1024 * 1024;

/**
 * What the node has learned of DNS names, as lines of JSON in one file: what is new is appended with one system call
 * before anybody relies on it, so that a process that dies loses nothing; now and then the whole is written anew.
 * No fsync: it describes kernel state, which a power cut ends as well.
 */
export class NameJournal {
  readonly #path: string;
  readonly #log: Logger;
  #fd: number | undefined;
  #grown = 0;
  #isWorking = true;

  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
  }

  /** Whether so much was appended that it should be written anew. */
  get isDue(): boolean {
    return this.#grown > compactBytes;
  }

  /** What an earlier agent left; later lines count. Lines that are none are passed over. */
  load(): SavedNames {
    const classes = new Map<string, SavedClass>();
    const rules = new Map<number, DnsRuleSet>();
    const entries = new Map<string, CacheEntry>();
    let bad = 0;
    for (const text of this.#read().split("\n")) {
      const line = text === "" ? undefined : parseLine(text);
      if (line === undefined) bad += text === "" ? 0 : 1;
      else if ("c" in line) setClass(classes, line.c);
      else if ("r" in line) rules.set(line.r.id, line.r);
      else entries.set(`${line.e.endpoint} ${line.e.name} ${line.e.ip}`, line.e);
    }
    if (bad > 0)
      this.#log.warn({ path: this.#path, lines: bad }, "lines of the file of DNS names cannot be read");
    return { classes: [...classes.values()], rules: [...rules.values()], entries: [...entries.values()] };
  }

  #read(): string {
    try {
      return readFileSync(this.#path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        this.#log.error({ path: this.#path, err: error }, "the file of DNS names cannot be read");
      }
      return "";
    }
  }

  /** Notes what is new. */
  append(news: Partial<SavedNames>): void {
    const text = linesOf(news);
    if (text === "") return;
    this.#guarded(() => {
      this.#fd ??= openSync(this.#path, appending, 0o600);
      // A line that a full disk has cut must not swallow this one: lines are told apart at both ends.
      this.#grown += writeSync(this.#fd, `\n${text}`);
    });
  }

  /** Writes all of it anew. */
  rewrite(all: SavedNames): void {
    this.#guarded(() => {
      writeFileSync(`${this.#path}.tmp`, linesOf(all), { mode: 0o600 });
      renameSync(`${this.#path}.tmp`, this.#path);
      this.close();
      this.#grown = 0;
    });
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Names work without the file; what a restart would lose is told once. */
  #guarded(write: () => void): void {
    try {
      write();
      this.#isWorking = true;
    } catch (error) {
      if (this.#isWorking) {
        this.#log.error(
          { path: this.#path, cause: errorText(error) },
          "learned DNS names cannot be written: an agent that starts now would not know them",
        );
      }
      this.#isWorking = false;
    }
  }
}

/** A class that was given up and made again has another number, and a number given up another class: the last counts. */
function setClass(classes: Map<string, SavedClass>, saved: SavedClass): void {
  for (const [key, { id }] of classes) if (id === saved.id) classes.delete(key);
  classes.set(`${saved.prefix} ${saved.selectors.join(" ")}`, saved);
}

function linesOf({ classes = [], rules = [], entries = [] }: Partial<SavedNames>): string {
  const lines: Line[] = [
    ...classes.map((c) => ({ c })),
    ...rules.map((r) => ({ r })),
    ...entries.map(({ endpoint, name, ip, ttl, learnedAt, expiresAt }) => {
      return { e: { endpoint, name, ip, ttl, learnedAt, expiresAt } };
    }),
  ];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

function parseLine(text: string): Line | undefined {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(line)) return undefined;
  const { c, r, e } = line;
  if (isRecord(c) && isNumber(c["id"]) && isTexts(c["selectors"]) && isText(c["prefix"])) return line as Line;
  if (isRecord(r) && isNumber(r["id"]) && isTexts(r["names"]) && isTexts(r["patterns"])) return line as Line;
  const times = ["endpoint", "ttl", "learnedAt", "expiresAt"];
  if (isRecord(e) && isText(e["name"]) && isText(e["ip"]) && times.every((field) => isNumber(e[field]))) {
    return line as Line;
  }
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isNumber(value: unknown): boolean {
  return typeof value === "number" && Number.isFinite(value);
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every(isText);
}
