import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type BpfObject, describeOpenFds, type LoadedObject, openFds, ProgramType } from "../src/index.ts";
import { compile, readU64, scratch, u32 } from "./fixtures.ts";

const folder = scratch();
const packet = new Uint8Array(64);
let object: BpfObject;
let loaded: LoadedObject | undefined;

beforeAll(() => {
  object = compile("maps", folder.path);
});

afterEach(() => {
  loaded?.close();
  loaded = undefined;
  expect(describeOpenFds()).toEqual([]);
  expect(openFds()).toBe(0);
});

afterAll(() => folder.remove());

describe("an object file", () => {
  it("describes its maps, programs and variables", () => {
    expect(object.spec.maps.map((m) => m.name)).toContain("t_hash");
    expect(object.spec.maps.find((m) => m.name === "t_lpm")).toMatchObject({
      type: 11,
      keySize: 8,
      pinned: true,
    });
    expect(object.spec.programs.map((p) => [p.name, p.type])).toContainEqual(["grows", ProgramType.XDP]);
    expect(object.spec.variables).toContainEqual({ section: ".rodata", name: "answer", offset: 0, size: 4 });
  });

  it("loads, runs and counts", () => {
    loaded = object.load();
    const run = loaded.program("returns_answer").testRun({ data: packet, repeat: 5 });
    expect(run.retval).toBe(42);
    const counts = loaded.map("t_counters").getPerCpu(u32(0)) ?? [];
    expect(counts.reduce((sum, bytes) => sum + readU64(bytes), 0n)).toBe(5n);
  });
});
