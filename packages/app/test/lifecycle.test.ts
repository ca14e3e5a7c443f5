import { describe, expect, it } from "vitest";
import { Lifecycle, type Module } from "../src/index.ts";

const silent = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

function recording(name: string, log: string[], fail = false): Module {
  return {
    name,
    start: () => {
      log.push(`start ${name}`);
      if (fail) throw new Error("no kernel");
    },
    stop: () => {
      log.push(`stop ${name}`);
    },
  };
}

describe("Lifecycle", () => {
  it("stops in reverse order", async () => {
    const log: string[] = [];
    const life = new Lifecycle(silent).add(recording("a", log)).add(recording("b", log));
    await life.start();
    expect(life.health.healthy).toBe(true);
    await life.stop();
    expect(log).toEqual(["start a", "start b", "stop b", "stop a"]);
  });

  it("stops what it started when a module fails, and keeps the failure visible", async () => {
    const log: string[] = [];
    const life = new Lifecycle(silent)
      .add(recording("a", log))
      .add(recording("b", log, true))
      .add(recording("c", log));
    await expect(life.start()).rejects.toThrow("no kernel");
    expect(log).toEqual(["start a", "start b", "stop b", "stop a"]);
    expect(life.health.modules().map((m) => `${m.name}:${m.state}`)).toEqual(["a:stopped", "b:failed"]);
  });
});
