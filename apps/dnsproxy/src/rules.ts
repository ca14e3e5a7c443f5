import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { type Logger, systemClock } from "@axoneme/base";
import { type ConfigMessage, NameIndex, type RulesMessage } from "@axoneme/dns";

interface RuleSet {
  names: string[];
  patterns: string[];
  readonly index: NameIndex<true>;
  /** Told since the agent's last hello. */
  told: boolean;
}

/** What is in the file: enough to answer without an agent. */
interface Saved {
  config: ConfigMessage;
  rules: Pick<RulesMessage, "id" | "names" | "patterns">[];
}

const defaults: ConfigMessage = { t: "config", rejectCode: "refused", budgetMs: 100 };

/** Changes come in bursts; one is on disk this much later, milliseconds. */
const SAVE_AFTER_MS = 500;

/** Which names pods may ask for: sets of rules by their id, as the agent told them, and kept over restarts. */
export class Rules {
  private readonly file: string;
  private readonly log: Logger;
  private readonly sets = new Map<number, RuleSet>();
  private current = defaults;
  private saving = false;

  constructor(file: string, log: Logger) {
    this.file = file;
    this.log = log;
  }

  get config(): Readonly<ConfigMessage> {
    return this.current;
  }

  get size(): number {
    return this.sets.size;
  }

  has(id: number): boolean {
    return this.sets.has(id);
  }

  /** Whether the set lets this name pass. An unknown set lets nothing pass. */
  allows(id: number, name: string): boolean {
    return this.sets.get(id)?.index.matches(name) ?? false;
  }

  configure(config: ConfigMessage): void {
    this.current = config;
    this.changed();
  }

  /** Takes a set, or a further part of one. Names and patterns that are none are logged and left out. */
  put({ id, names, patterns, more }: Pick<RulesMessage, "id" | "names" | "patterns" | "more">): void {
    const set = more === true ? this.sets.get(id) : undefined;
    const grown = set ?? { names: [], patterns: [], index: new NameIndex<true>(), told: true };
    grown.told = true;
    for (const matchName of names) this.add(grown, { matchName }, id);
    for (const matchPattern of patterns) this.add(grown, { matchPattern }, id);
    grown.names = grown.names.concat(names);
    grown.patterns = grown.patterns.concat(patterns);
    this.sets.set(id, grown);
    this.changed();
  }

  drop(id: number): void {
    if (this.sets.delete(id)) this.changed();
  }

  /** An agent begins to tell all sets. */
  begin(): void {
    for (const set of this.sets.values()) set.told = false;
  }

  /** The agent has told all sets: the others are of no use any more. */
  synced(): void {
    for (const [id, { told }] of this.sets) if (!told) this.drop(id);
  }

  /** Reads what was kept. A file that is missing is normal; one that cannot be read is logged, and nothing is known. */
  load(): void {
    try {
      const { config, rules } = JSON.parse(readFileSync(this.file, "utf8")) as Saved;
      this.current = config;
      for (const set of rules) this.put(set);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      this.log.error(
        { err: error, file: this.file },
        "the kept DNS rules cannot be read: the agent will tell them",
      );
    }
  }

  private add(set: RuleSet, selector: { matchName: string } | { matchPattern: string }, id: number): void {
    try {
      set.index.add(selector, true);
    } catch (error) {
      this.log.warn({ rules: id, err: error }, "a DNS rule that is none lets nothing pass");
    }
  }

  private changed(): void {
    if (this.saving) return;
    this.saving = true;
    systemClock.setTimer(SAVE_AFTER_MS, () => {
      this.saving = false;
      const beside = `${this.file}.${process.pid}`;
      writeFile(beside, this.text(), { mode: 0o600 })
        .then(() => rename(beside, this.file))
        .catch((error: unknown) => this.unsaved(error));
    });
  }

  /** Writes what is not written yet, at the end. */
  flush(): void {
    if (!this.saving) return;
    const beside = `${this.file}.${process.pid}.last`;
    try {
      writeFileSync(beside, this.text(), { mode: 0o600 });
      renameSync(beside, this.file);
    } catch (error) {
      this.unsaved(error);
    }
  }

  private text(): string {
    const rules = [...this.sets].map(([id, { names, patterns }]) => ({ id, names, patterns }));
    const saved: Saved = { config: this.current, rules };
    return JSON.stringify(saved);
  }

  private unsaved(error: unknown): void {
    this.log.error(
      { err: error, file: this.file },
      "the DNS rules could not be kept: a restart needs the agent",
    );
  }
}
