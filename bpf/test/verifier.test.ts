import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BpfObject, VERIFIER_LIMIT } from "@axoneme/bpf";
import { describe, expect, test } from "vitest";

const BUILD = join(import.meta.dirname, "../../build/bpf");
const SHARE_OF_LIMIT = 0.3;
/** What we aim for: far from where a small change surprises. */
const AIM = 60_000;

const objects = readdirSync(BUILD).filter((name) => name.endsWith(".bpf.o") && name !== "abi.bpf.o");

describe.each(objects)("the verifier and %s", (name) => {
  test("every program stays within its budget of instructions", () => {
    const object = BpfObject.open(join(BUILD, name));
    const maxEntries = Object.fromEntries(
      object.spec.maps
        .filter((m) => m.maxEntries > 4096)
        .map((m) => [m.name, m.name === "ax_events" ? 65536 : 4096]),
    );
    const loaded = object.configure({ maxEntries }).load();
    try {
      const counts = loaded.stats.map((s) => [s.program, s.verifiedInsns] as const);
      expect(counts.length).toBe(object.spec.programs.length);
      for (const [program, count] of counts) {
        expect(count, program).toBeGreaterThan(0);
        expect(count, program).toBeLessThan(Math.min(AIM, VERIFIER_LIMIT * SHARE_OF_LIMIT));
      }
    } finally {
      loaded.close();
    }
  });
});
