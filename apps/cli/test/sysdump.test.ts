import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type CollectOptions, collect } from "../src/sysdump/collect.ts";
import type { DumpItem } from "../src/sysdump/item.ts";
import { redacted } from "../src/sysdump/redact.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "axon-dump-test-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const item = (path: string, read: DumpItem["read"]): DumpItem => ({ path, read });
const options = (more: Partial<CollectOptions> = {}): CollectOptions => ({
  timeoutMs: 5000,
  mostBytes: 10,
  width: 2,
  signal: new AbortController().signal,
  onEntry: () => undefined,
  ...more,
});

it("keeps what it gets, cuts what is too large, and says why something is not there", async () => {
  const entries = await collect(
    [
      item("b/large.txt", async () => "x".repeat(25)),
      item("a.txt", async () => "text"),
      item("c/broken.txt", async () => {
        throw new Error("nobody listens");
      }),
      item("d/nothing.txt", async () => undefined),
      item("e/late.txt", () => new Promise(() => undefined)),
    ],
    directory,
    options({ timeoutMs: 100 }),
  );
  expect(entries).toEqual([
    { path: "a.txt", bytes: 4 },
    { path: "b/large.txt", bytes: 10, cut: 15 },
    { path: "c/broken.txt", bytes: 0, error: "nobody listens" },
    { path: "d/nothing.txt", bytes: 0 },
    { path: "e/late.txt", bytes: 0, error: "no answer within 0.1 s" },
  ]);
  expect(readFileSync(join(directory, "b/large.txt"), "utf8")).toBe("x".repeat(10));
  expect(statSync(join(directory, "a.txt")).mode & 0o777).toBe(0o600);
});

it("ends when it is interrupted, with what is there", async () => {
  const interrupt = new AbortController();
  const entries = await collect(
    [
      item("first.txt", async () => "there"),
      item("second.txt", () => {
        interrupt.abort();
        return new Promise(() => undefined);
      }),
      item("third.txt", async () => "never asked"),
    ],
    directory,
    options({ width: 1, signal: interrupt.signal }),
  );
  expect(entries).toEqual([
    { path: "first.txt", bytes: 5 },
    { path: "second.txt", bytes: 0, error: "interrupted" },
    { path: "third.txt", bytes: 0, error: "interrupted" },
  ]);
});

it("leaves out what is nobody's business", () => {
  const pod = {
    metadata: {
      name: "a",
      managedFields: [{}],
      annotations: { "kubectl.kubernetes.io/last-applied-configuration": "{}", kept: "x" },
    },
    spec: {
      containers: [
        {
          env: [
            { name: "TOKEN", value: "s3cret" },
            { name: "REF", valueFrom: { a: 1 } },
          ],
        },
      ],
    },
  };
  expect(redacted(pod)).toEqual({
    metadata: { name: "a", annotations: { kept: "x" } },
    spec: {
      containers: [
        {
          env: [
            { name: "TOKEN", value: "(left out)" },
            { name: "REF", valueFrom: { a: 1 } },
          ],
        },
      ],
    },
  });
});
