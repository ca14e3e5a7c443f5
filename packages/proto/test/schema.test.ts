import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescEnum, DescField, DescFile, DescMessage, DescService } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { FlowSchema, Observer, Peer } from "../src/index.ts";
import facts from "./facts.json" with { type: "json" };

/** A field as the facts have it: number, name, type, oneof. */
function fieldFact(field: DescField): string {
  const type = {
    scalar: () => ScalarType[field.scalar ?? 0]?.toLowerCase(),
    enum: () => field.enum?.typeName,
    message: () => field.message?.typeName,
    list: () => undefined,
    map: () => undefined,
  };
  const kind = field.fieldKind === "list" ? field.listKind : field.fieldKind;
  const list = field.fieldKind === "list" ? "repeated " : "";
  return `${field.number} ${field.name} ${list}${type[kind]()}${field.oneof ? ` oneof ${field.oneof.name}` : ""}`;
}

/** Types of the tables are relative to their package (or the message around them). */
function absolute(fact: string, within: string): string {
  const [number, name, ...rest] = fact.split(" ");
  const at = rest[0] === "repeated" ? 1 : 0;
  const type = rest[at] ?? "";
  const names = within.split(".");
  const scopes = names.map((_, i) => [...names.slice(0, names.length - i), type].join("."));
  rest[at] = scopes.find((scope) => scope in facts) ?? type;
  return [number, name, ...rest].join(" ");
}

const typed = (files: readonly DescFile[]): Map<string, string[]> => {
  const found = new Map<string, string[]>();
  const addEnum = (type: DescEnum) =>
    found.set(
      type.typeName,
      type.values.map(({ number, name }) => `${number} ${name}`),
    );
  const addMessage = (type: DescMessage): void => {
    found.set(type.typeName, type.fields.map(fieldFact));
    for (const nested of type.nestedMessages) addMessage(nested);
    for (const nested of type.nestedEnums) addEnum(nested);
  };
  const addService = (type: DescService) =>
    found.set(
      type.typeName,
      type.methods.map(({ name, input, output, methodKind }) => {
        const stream = methodKind === "server_streaming" ? "stream " : "";
        return `rpc ${name}(${input.name}) returns (${stream}${output.name})`;
      }),
    );
  for (const file of files) {
    for (const type of file.enums) addEnum(type);
    for (const type of file.messages) addMessage(type);
    for (const type of file.services) addService(type);
  }
  return found;
};

const ours = typed([
  FlowSchema.file,
  Observer.file,
  Peer.file,
  ...Observer.file.dependencies.filter(({ name }) => name.startsWith("relay")),
]);

/** What is ours, under numbers that the field does not use: its highest are 21007, and 100000 and more. */
const additions: Readonly<Record<string, readonly string[]>> = {
  "flow.Endpoint": ["51001 process flow.Process"],
  "flow.FlowFilter": ["51001 source_process repeated string", "51002 destination_process repeated string"],
  "flow.Process": [
    "1 binary string",
    "2 pid uint32",
    "3 arguments string",
    "4 container string",
    "5 start_time google.protobuf.Timestamp",
    "6 uid uint32",
  ],
};

it("what is ours is known too", () => {
  for (const [name, rows] of Object.entries(additions))
    expect(ours.get(name), name).toEqual(expect.arrayContaining([...rows]));
});

it("the schema holds the types that existing tools speak, and no others", () => {
  const theirs = [...ours.keys()].filter((name) => name in facts || !(name in additions));
  expect(theirs.sort()).toEqual(Object.keys(facts).sort());
});

it.each(Object.entries(facts))("%s has the known names, numbers and types", (name, rows) => {
  const isMessage = rows.some((row) => /^\d+ \S+ \S/.test(row));
  const known = isMessage ? rows.map((row) => absolute(row, name)) : rows;
  const shown = (ours.get(name) ?? []).filter((row) => !additions[name]?.includes(row));
  expect([...shown].sort()).toEqual([...known].sort());
});

const files = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .sort();

it("the generated code is what the schema makes", () => {
  const root = join(import.meta.dirname, "../../..");
  const made = mkdtempSync(join(tmpdir(), "axon-proto-test-"));
  try {
    const { status, stderr } = spawnSync(
      process.execPath,
      [join(root, "scripts/gen-proto.mjs"), "--out", made],
      { encoding: "utf8" },
    );
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const committed = join(root, "packages/proto/src/gen");
    expect(files(made)).toEqual(files(committed));
    for (const path of files(made)) {
      expect(readFileSync(join(made, path), "utf8")).toBe(readFileSync(join(committed, path), "utf8"));
    }
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}, 60_000);
