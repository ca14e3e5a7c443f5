import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ContainerLog, type LogQuery } from "../../src/node/containerlog.ts";

const all: LogQuery = { follow: false, timestamps: false };
const never = new AbortController().signal;

async function text(log: ContainerLog, query: Partial<LogQuery> = {}, signal = never): Promise<string> {
  let result = "";
  for await (const part of log.read({ ...all, ...query }, signal)) result += part;
  return result;
}

describe("a container's log", () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "axlab-log-"));
    path = join(dir, "0.log");
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("joins lines that come in pieces, and keeps them for the next reader of the file", async () => {
    const log = new ContainerLog(path);
    log.append("one\ntw");
    log.append("o\nthree");
    expect(await text(log)).toBe("one\ntwo\n");
    log.close();
    expect(await text(new ContainerLog(path))).toBe("one\ntwo\nthree\n");
  });

  it("answers tail, since, timestamps and a byte limit", async () => {
    const log = new ContainerLog(path);
    log.append("a\nb\n", new Date(1000));
    log.append("c\n", new Date(5000));
    expect(await text(log, { tailLines: 2 })).toBe("b\nc\n");
    expect(await text(log, { tailLines: 0 })).toBe("");
    expect(await text(log, { since: 2000 })).toBe("c\n");
    expect(await text(log, { tailLines: 1, timestamps: true })).toBe("1970-01-01T00:00:05.000Z c\n");
    expect(await text(log, { limitBytes: 3 })).toBe("a\nb");
  });

  it("follows without losing or repeating a line, and ends with the log", async () => {
    const log = new ContainerLog(path);
    log.append("1\n");
    const following = text(log, { follow: true });
    for (let i = 2; i <= 200; i++) {
      log.append(`${i}\n`);
      if (i % 7 === 0) await Promise.resolve();
    }
    log.close();
    expect(await following).toBe(Array.from({ length: 200 }, (_, i) => `${i + 1}\n`).join(""));
  });

  it("stops following when the reader goes", async () => {
    const log = new ContainerLog(path);
    const abort = new AbortController();
    const following = text(log, { follow: true }, abort.signal);
    log.append("x\n");
    await Promise.resolve();
    abort.abort();
    expect(await following).toBe("x\n");
  });

  it("never keeps more than two parts of its limit", async () => {
    const log = new ContainerLog(path, 10_000);
    for (let i = 0; i < 2_000; i++) log.append(`line ${i}\n`);
    expect(existsSync(`${path}.1`)).toBe(true);
    expect(statSync(path).size + statSync(`${path}.1`).size).toBeLessThanOrEqual(20_000);
    expect(await text(log, { tailLines: 1 })).toBe("line 1999\n");
  });
});
