import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import { at, eventFlag, eventType, recordSize } from "@axoneme/flow";
import type { RuleInfo } from "@axoneme/policy";

/** What a rule decided: connections it let through, packets it refused, and those it would have. */
export interface Use {
  allowed: number;
  denied: number;
  audited: number;
  /** Milliseconds since the epoch. */
  lastMs: number;
}

interface Saved {
  readonly sinceMs: number;
  readonly blindMs: number;
  readonly lost: number;
  readonly savedMs: number;
  readonly rules: readonly (readonly [name: string, use: Use])[];
}

/** What a rule is called in every life of the agent. */
export function useKey({
  name,
  direction,
  verdict,
}: Pick<RuleInfo, "name" | "direction" | "verdict">): string {
  return `${name} ${direction} ${verdict}`;
}

/** How often what was counted is written down, milliseconds: what a killed agent forgets at most. */
const saveEveryMs = 30_000;
/** Names remembered; the one that was used longest ago goes first. */
const maxRules = 65_536;

/**
 * Counts what rules decide, from the datapath's records: one for each new connection (and each one judged anew after a
 * change), and one for each refused packet. Established connections write none, so nothing is counted per packet.
 * What is counted outlives the agent; for how long nobody counted is told.
 */
export class RuleUses implements Module {
  readonly name = "rule-uses";
  readonly #path: string;
  readonly #log: Logger;
  readonly #ruleOf: (ruleId: number) => RuleInfo | undefined;
  readonly #now: () => number;
  /** By rule id: what is not filed under a name yet. */
  #fresh = new Map<number, Use>();
  readonly #byName = new Map<string, Use>();
  #sinceMs: number;
  #blindMs = 0;
  #lost = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param path where counts are kept over restarts. */
  constructor(
    path: string,
    ruleOf: (ruleId: number) => RuleInfo | undefined,
    log: Logger,
    now: () => number = Date.now,
  ) {
    this.#path = path;
    this.#ruleOf = ruleOf;
    this.#log = log;
    this.#now = now;
    this.#sinceMs = now();
  }

  start(health: HealthReporter): void {
    this.#restore();
    this.#timer = setInterval(() => this.#save(), saveEveryMs).unref();
    health.ok(`counting since ${new Date(this.#sinceMs).toISOString()}`);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#save();
  }

  /** Counts the decisions in records of the ring buffer. */
  count(bytes: Uint8Array, records: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const nowMs = this.#now();
    for (let offset = 0; offset < records * recordSize; offset += recordSize) {
      const type = bytes[offset + at.type];
      if (type !== eventType.policyVerdict && type !== eventType.drop) continue;
      const flags = bytes[offset + at.flags] ?? 0;
      const f = eventFlag;
      const egress = kindOf(flags, f.egress, f.deniedEgress, f.auditEgress);
      if (egress) this.#add(view.getUint32(offset + at.ruleEgress, true), egress, nowMs);
      const ingress = kindOf(flags, f.ingress, f.deniedIngress, f.auditIngress);
      if (ingress) this.#add(view.getUint32(offset + at.ruleIngress, true), ingress, nowMs);
    }
  }

  /** Records that were lost: what they were about is not counted. */
  countLoss(records: number): void {
    this.#lost += records;
  }

  /** What a rule decided since counting began. */
  of(rule: Pick<RuleInfo, "name" | "direction" | "verdict">): Use | undefined {
    this.#file();
    return this.#byName.get(useKey(rule));
  }

  /** Since when, how much of that time nobody counted, and how many records were lost. */
  get watch(): { readonly sinceMs: number; readonly blindMs: number; readonly lost: number } {
    return { sinceMs: this.#sinceMs, blindMs: this.#blindMs, lost: this.#lost };
  }

  #add(rule: number, kind: "allowed" | "denied" | "audited", nowMs: number): void {
    if (rule === 0) return;
    let use = this.#fresh.get(rule);
    if (use === undefined) {
      use = { allowed: 0, denied: 0, audited: 0, lastMs: nowMs };
      this.#fresh.set(rule, use);
    }
    use[kind]++;
    use.lastMs = nowMs;
  }

  /** Files what was counted by id under the names of the rules: ids mean nothing after a restart. */
  #file(): void {
    const fresh = this.#fresh;
    if (fresh.size === 0) return;
    this.#fresh = new Map();
    for (const [id, use] of fresh) {
      const rule = this.#ruleOf(id);
      if (rule === undefined) continue;
      const name = useKey(rule);
      const known = this.#byName.get(name) ?? { allowed: 0, denied: 0, audited: 0, lastMs: 0 };
      this.#byName.delete(name); // the latest stands last
      this.#byName.set(name, {
        allowed: known.allowed + use.allowed,
        denied: known.denied + use.denied,
        audited: known.audited + use.audited,
        lastMs: Math.max(known.lastMs, use.lastMs),
      });
    }
    for (const name of this.#byName.keys()) {
      if (this.#byName.size <= maxRules) break;
      this.#byName.delete(name);
    }
  }

  #restore(): void {
    let saved: Saved;
    try {
      saved = JSON.parse(readFileSync(this.#path, "utf8")) as Saved;
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
      if (!isMissing)
        this.#log.warn({ err: errorText(error) }, "counts of rules cannot be read: they begin anew");
      return;
    }
    for (const [name, use] of saved.rules) this.#byName.set(name, use);
    this.#sinceMs = saved.sinceMs;
    this.#blindMs = saved.blindMs + Math.max(0, this.#now() - saved.savedMs);
    this.#lost = saved.lost;
  }

  #save(): void {
    this.#file();
    const saved: Saved = {
      sinceMs: this.#sinceMs,
      blindMs: this.#blindMs,
      lost: this.#lost,
      savedMs: this.#now(),
      rules: [...this.#byName],
    };
    try {
      mkdirSync(dirname(this.#path), { recursive: true });
      writeFileSync(`${this.#path}.new`, JSON.stringify(saved), { mode: 0o600 });
      renameSync(`${this.#path}.new`, this.#path);
    } catch (error) {
      this.#log.warn({ err: errorText(error) }, "counts of rules cannot be written down");
    }
  }
}

function kindOf(
  flags: number,
  decided: number,
  denied: number,
  audited: number,
): "allowed" | "denied" | "audited" | undefined {
  if ((flags & denied) !== 0) return "denied";
  if ((flags & audited) !== 0) return "audited";
  return (flags & decided) !== 0 ? "allowed" : undefined;
}
