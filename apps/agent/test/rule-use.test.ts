import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { at, eventFlag, eventType, recordSize } from "@axoneme/flow";
import { Direction, type RuleInfo, Verdict } from "@axoneme/policy";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RuleUses } from "../src/state/rule-use.ts";
import { quiet } from "./logger.ts";

interface Record {
  type: number;
  flags: number;
  egress?: number;
  ingress?: number;
}

function records(...all: Record[]): Uint8Array {
  const bytes = new Uint8Array(all.length * recordSize);
  const view = new DataView(bytes.buffer);
  for (const [i, { type, flags, egress = 0, ingress = 0 }] of all.entries()) {
    const offset = i * recordSize;
    bytes[offset + at.type] = type;
    bytes[offset + at.flags] = flags;
    view.setUint32(offset + at.ruleEgress, egress, true);
    view.setUint32(offset + at.ruleIngress, ingress, true);
  }
  return bytes;
}

const health = { ok: () => undefined, degraded: () => undefined, failed: () => undefined };

function ruleOf(id: number, name: string, direction: Direction, verdict: Verdict): RuleInfo {
  const policy = { kind: "NetworkPolicy", namespace: "shop", name } as const;
  return { id, policy, path: "spec.ingress[0]", direction, verdict, precedence: 1, name };
}

describe("uses of rules", () => {
  let dir = "";
  let now = 1_000_000;
  const rules = new Map<number, RuleInfo>();
  const uses = () =>
    new RuleUses(
      join(dir, "uses.json"),
      (id) => rules.get(id),
      quiet,
      () => now,
    );
  const out = ruleOf(7, "out", Direction.EGRESS, Verdict.ALLOW);
  const shut = ruleOf(8, "shut", Direction.INGRESS, Verdict.DEFAULT_DENY);

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "axon-uses-"));
    rules.clear();
    for (const rule of [out, shut]) rules.set(rule.id, rule);
    now = 1_000_000;
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  const both = { type: eventType.policyVerdict, flags: eventFlag.egress | eventFlag.ingress, egress: 7 };
  const refused = {
    type: eventType.drop,
    flags: eventFlag.egress | eventFlag.deniedIngress,
    egress: 7,
    ingress: 8,
  };

  it("count a record for each side that a rule decided, by what became of it", () => {
    const counted = uses();
    const audited = { type: eventType.policyVerdict, flags: eventFlag.auditIngress, ingress: 8 };
    const trace = { type: eventType.trace, flags: 0, egress: 7, ingress: 8 };
    counted.count(records(both, refused, refused, audited, trace), 5);
    expect(counted.of(out)).toEqual({ allowed: 3, denied: 0, audited: 0, lastMs: now });
    expect(counted.of(shut)).toEqual({ allowed: 0, denied: 2, audited: 1, lastMs: now });
    expect(counted.of({ ...out, direction: Direction.INGRESS })).toBeUndefined();
  });

  it("outlive the agent under other rule ids, and tell for how long nobody counted", () => {
    const first = uses();
    first.start(health);
    first.count(records(both), 1);
    first.countLoss(3);
    first.stop();
    now += 60_000;
    rules.delete(7);
    rules.set(70, { ...out, id: 70 });
    const second = uses();
    second.start(health);
    second.count(records({ ...both, egress: 70 }), 1);
    expect(second.of(out)).toEqual({ allowed: 2, denied: 0, audited: 0, lastMs: now });
    expect(second.watch).toEqual({ sinceMs: 1_000_000, blindMs: 60_000, lost: 3 });
    second.stop();
    expect(JSON.parse(readFileSync(join(dir, "uses.json"), "utf8"))).toMatchObject({ blindMs: 60_000 });
  });

  it("begin anew when what was written down is broken", () => {
    writeFileSync(join(dir, "uses.json"), '{"rules": 7');
    const counted = uses();
    counted.start(health);
    counted.count(records(refused), 1);
    expect(counted.of(shut)).toMatchObject({ denied: 1 });
    counted.stop();
  });
});
