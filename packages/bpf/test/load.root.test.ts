import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  BpfMap,
  type BpfObject,
  describeOpenFds,
  IncompatibleMapError,
  type LoadedObject,
  MapType,
  BpfObject as Objects,
  openFds,
  Program,
  ProgramType,
  VerifierError,
} from "../src/index.ts";
import { compile, privateBpffs, readU64, scratch, u32, u64 } from "./fixtures.ts";

const folder = scratch();
const packet = new Uint8Array(64);
let object: BpfObject;
let loaded: LoadedObject | undefined;

beforeAll(() => {
  compile("maps", folder.path);
});

beforeEach(() => {
  object = Objects.open(join(folder.path, "maps.bpf.o"));
});

afterEach(() => {
  loaded?.close();
  loaded = undefined;
  expect(describeOpenFds()).toEqual([]);
  expect(openFds()).toBe(0);
});

afterAll(() => folder.remove());

/** What a call throws. */
function thrown(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return expect.fail("nothing was thrown");
}

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

  it("says which file cannot be opened and why", () => {
    expect(() => Objects.open("/no/such.bpf.o")).toThrow(/cannot open object \/no\/such.bpf.o/);
    const path = join(folder.path, "text.bpf.o");
    writeFileSync(path, "not an object");
    expect(thrown(() => Objects.open(path))).toMatchObject({ code: "bpf.object" });
  });

  it("refuses a configuration that does not fit it", () => {
    expect(() => object.configure({ rodata: { nothing: 1 } })).toThrow(/no variable named nothing/);
    expect(() => object.configure({ rodata: { answer: 2 ** 32 } })).toThrow(
      /answer of 4 bytes cannot hold 4294967296/,
    );
    expect(() => object.configure({ rodata: { answer: 1.5 } })).toThrow(/cannot hold 1.5/);
    expect(() => object.configure({ rodata: { mac: new Uint8Array(7) } })).toThrow(/mac has 6 bytes, got 7/);
    expect(() => object.configure({ maxEntries: { nothing: 1 } })).toThrow(/no map named nothing/);
    expect(() => object.configure({ programs: ["nothing"] })).toThrow(/no program named nothing/);
  });
});

describe("a loaded object", () => {
  it("runs and counts", () => {
    loaded = object.load();
    const run = loaded.program("returns_answer").testRun({ data: packet, repeat: 5 });
    expect(run.retval).toBe(42);
    const counts = loaded.map("t_counters").getPerCpu(u32(0)) ?? [];
    expect(counts.reduce((sum, bytes) => sum + readU64(bytes), 0n)).toBe(5n);
  });

  it("has the read-only data and the sizes it was configured with", () => {
    object.configure({ rodata: { answer: 7 }, maxEntries: { t_hash: 77 } });
    object.configure({ rodata: { mac: Uint8Array.of(1, 2, 3, 4, 5, 6) } });
    loaded = object.load();
    const ctx = new Uint8Array(192);
    const run = loaded.program("returns_answer").testRun({ data: packet, ctx });
    expect(run.retval).toBe(7);
    expect(new DataView(run.ctxOut.buffer).getUint32(8, true)).toBe(6);
    expect(loaded.map("t_hash").maxEntries).toBe(77);
    expect(loaded.map(".rodata").get(u32(0))?.[0]).toBe(7);
  });

  it("takes big and negative values", () => {
    loaded = object.configure({ rodata: { big: -3n } }).load();
    expect(loaded.program("returns_answer").testRun({ data: packet }).retval).toBe(-3);
  });

  it("loads only the programs asked for", () => {
    loaded = object.configure({ programs: ["drops", "sums"] }).load();
    expect([...loaded.programs.keys()].sort()).toEqual(["drops", "sums"]);
    expect(() => loaded?.program("grows")).toThrow(/has no program grows/);
    expect(() => loaded?.map("grows")).toThrow(/has no map grows/);
  });

  it("tells what verifying cost", () => {
    loaded = object.load();
    const stats = loaded.stats.find((s) => s.program === "returns_answer");
    expect(stats?.verifiedInsns).toBeGreaterThan(10);
    expect(stats?.jitedBytes).toBeGreaterThan(10);
    expect(stats?.stackBytes).toBeGreaterThan(0);
    expect(loaded.program("drops").info().verifiedInsns).toBe(loaded.program("drops").stats?.verifiedInsns);
  });

  it("runs an XDP program that makes room in front", () => {
    loaded = object.load();
    const run = loaded.program("grows").testRun({ data: packet });
    expect([run.retval, run.dataOut.length]).toEqual([2, 64 + 14]);
  });

  it("runs a syscall program on a struct", () => {
    loaded = object.load();
    const args = u32(40, 2, 0);
    const run = loaded.program("sums").testRun({ ctx: args });
    expect([run.retval, run.ctxOut]).toEqual([7, u32(40, 2, 42)]);
    expect(args).toEqual(u32(40, 2, 0));
  });

  it("runs a raw tracepoint program on its arguments", () => {
    loaded = compile("hooks", folder.path)
      .configure({ programs: ["enters"] })
      .load();
    expect(loaded.program("enters").testRun({ ctx: u64(1, 2) }).retval).toBe(0);
    expect(loaded.map("runs").get(u32(5))).toEqual(u64(1));
  });

  it("names the program whose test run fails", () => {
    loaded = object.load();
    expect(() => loaded?.program("drops").testRun({ data: new Uint8Array(3) })).toThrow(
      /test run of program drops: EINVAL/,
    );
  });
});

describe("pins", () => {
  const bpffs = privateBpffs(folder.path);
  afterAll(() => bpffs.remove());

  it("keep maps and programs for the next load", () => {
    const pinDir = join(bpffs.path, "node-a");
    loaded = object.configure({ pinDir }).load();
    loaded.map("t_hash").put(u32(1), u64(11));
    loaded.program("drops").pin(join(pinDir, "progs/drops"));
    loaded.close();
    expect(readdirSync(join(pinDir, "maps")).sort()).toEqual([
      "t_array",
      "t_counters",
      "t_hash",
      "t_lpm",
      "t_lru",
    ]);

    loaded = object.load();
    expect(loaded.map("t_hash").get(u32(1))).toEqual(u64(11));
    const map = BpfMap.openPinned(join(pinDir, "maps/t_hash"));
    expect(map.info.id).toBe(loaded.map("t_hash").info.id);
    map.close();
    const program = Program.openPinned(join(pinDir, "progs/drops"));
    expect(program.testRun({ data: packet }).retval).toBe(2);
    expect(program.tag).toBe(loaded.program("drops").tag);
    program.close();
  });

  it("of two nodes are apart", () => {
    loaded = object.configure({ pinDir: join(bpffs.path, "node-b") }).load();
    expect(loaded.map("t_hash").get(u32(1))).toBeUndefined();
  });

  it.each([
    ["max entries", { maxEntries: 5 }, /t_hash: .*max entries 5, the object wants 1000/],
    ["type", { type: MapType.LRU_HASH }, /t_hash: .*type lru_hash, the object wants hash/],
    ["value size", { valueSize: 16 }, /t_hash: .*value size 16, the object wants 8/],
    ["key size", { keySize: 8 }, /t_hash: .*key size 8, the object wants 4/],
    ["flags", { flags: 1 }, /t_hash: .*flags 1, the object wants 0/],
  ])(
    "that differ in %s are refused by name, and nothing else is left behind",
    (attribute, change, message) => {
      const pinDir = join(bpffs.path, `differs-${attribute.replace(" ", "-")}`);
      const spec = { name: "t_hash", type: MapType.HASH, keySize: 4, valueSize: 8, maxEntries: 1000 };
      const other = BpfMap.create({ ...spec, ...change });
      other.pin(join(pinDir, "maps/t_hash"));
      other.close();
      const error = thrown(() => object.configure({ pinDir }).load());
      expect(error).toBeInstanceOf(IncompatibleMapError);
      expect(error).toMatchObject({ map: "t_hash", attribute, message: expect.stringMatching(message) });
      expect(readdirSync(join(pinDir, "maps"))).toEqual(["t_hash"]);
    },
  );

  it("take another's place only when asked to, in one step", () => {
    loaded = object.load();
    const path = join(bpffs.path, "program");
    loaded.program("drops").pin(path);
    expect(() => loaded?.program("grows").pin(path)).toThrow(/pin program grows at .*EEXIST/);
    loaded.program("grows").pin(path, { replace: true });
    const pinned = Program.openPinned(path);
    expect(pinned.id).toBe(loaded.program("grows").id);
    pinned.close();
    expect(readdirSync(bpffs.path).filter((name) => name.startsWith("_new"))).toEqual([]);
    expect(() => BpfMap.openPinned(path)).toThrow(/not a map/);
    expect(() => loaded?.program("drops").pin(join(bpffs.path, "a.b"))).toThrow(/refuses dots/);
  });
});

describe("a rejected program", () => {
  it("is shown in a few lines and leaves nothing behind", () => {
    const bpffs = privateBpffs(join(folder.path, "rejected"));
    const error = thrown(() => compile("rejected", folder.path).configure({ pinDir: bpffs.path }).load());
    expect(error).toBeInstanceOf(VerifierError);
    if (!(error instanceof VerifierError)) return;
    expect(error.program).toBe("reads_past_end");
    expect(error.message.split("\n").length).toBeLessThanOrEqual(4);
    expect(error.message).toMatch(/reads_past_end was rejected: invalid access to packet/);
    expect(error.rejection.sourceLine).toMatch(/return data\[40\].*rejected\.bpf\.c:\d+/);
    expect(error.rejection.instruction).toMatch(/^\d+: \(71\) r\d = \*\(u8 \*\)\(r\d \+40\)/);
    expect(error.rejection.registers).toMatch(/R\d(_w)?=pkt/);
    expect(error.log).toContain("processed ");
    expect(existsSync(join(bpffs.path, "maps"))).toBe(false);
    bpffs.remove();
  });

  it("does not keep the accepted one of the same file from loading alone", () => {
    loaded = compile("rejected", folder.path)
      .configure({ programs: ["fine"] })
      .load();
    expect(loaded.program("fine").testRun({ data: packet }).retval).toBe(0);
  });
});
