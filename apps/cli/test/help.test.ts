import { spawnSync } from "node:child_process";
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { completionScript } from "../src/completion.ts";
import type { Context } from "../src/context.ts";
import { buildProgram } from "../src/program.ts";
import { FakeLabs } from "./fixture.ts";

const quiet = { isTty: false, write: async () => undefined };
const context: Context = {
  env: {},
  stdout: quiet,
  stderr: quiet,
  confirm: undefined,
  signal: new AbortController().signal,
  version: "9.9.9",
  now: () => 0,
  setExitCode: () => undefined,
};

function commandsOf(
  command: Command,
  path: readonly string[] = [],
): { path: readonly string[]; command: Command }[] {
  return [
    { path, command },
    ...command.commands.flatMap((child) => commandsOf(child, [...path, child.name()])),
  ];
}

const all = commandsOf(buildProgram(context));

describe("help", () => {
  it.each([
    "--help",
    "hubble observe --help",
    "lab up --help",
    "monitor --help",
    "bpf --help",
    "service trace --help",
  ])("axon %s", async (line) => {
    const { code, out, err } = await new FakeLabs().axon(...line.split(" "));
    expect([code, err]).toEqual([0, ""]);
    expect(out).toMatchSnapshot();
  });

  it("every command says what it does; those that do something give examples", async () => {
    for (const { path, command } of all) {
      expect(command.description(), path.join(" ")).not.toBe("");
      // The lists of the nine maps share the examples of `axon bpf`.
      if (command.commands.length > 0 || path[0] === "bpf") continue;
      const { out } = await new FakeLabs().axon(...path, "--help");
      expect(out, path.join(" ")).toContain("Examples:");
    }
  });

  it("every option says what it does", () => {
    for (const { path, command } of all) {
      for (const option of command.options) {
        expect(option.description, `${path.join(" ")} ${option.flags}`).not.toBe("");
      }
    }
  });

  it("printing objects means -o json and yaml", () => {
    const streams = ["hubble observe", "hubble watch", "monitor"];
    for (const { path, command } of all) {
      const output = command.options.find((option) => option.long === "--output");
      if (output === undefined) continue;
      expect(output.argChoices).toContain("json");
      const isStream = streams.some((stream) => path.join(" ").startsWith(stream));
      if (!isStream) expect(output.argChoices).toContain("yaml");
    }
  });

  it("--version", async () => {
    expect(await new FakeLabs().axon("--version")).toEqual({ code: 0, out: "9.9.9\n", err: "" });
  });
});

describe("completion", () => {
  const complete = (line: string): string[] => {
    const words = line.split(" ");
    const script = `${completionScript(buildProgram(context), "bash")}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _axon; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr, status } = spawnSync("bash", ["-c", script], { encoding: "utf8" });
    expect([stderr, status]).toEqual(["", 0]);
    return stdout.split("\n").filter(Boolean);
  };

  it("bash takes the script without a word", () => {
    const script = completionScript(buildProgram(context), "bash");
    const { status, stderr } = spawnSync("bash", ["-n"], { input: script, encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
  });

  it("bash completes commands, flags and choices", () => {
    expect(complete("axon end")).toEqual(["endpoint"]);
    expect(complete("axon endpoint ")).toEqual(expect.arrayContaining(["list", "get", "--help"]));
    expect(complete("axon ep l")).toEqual(["list"]);
    expect(complete("axon hubble observe --to-p")).toEqual(["--to-pod", "--to-port", "--to-process"]);
    expect(complete("axon status -o ")).toEqual(["table", "json", "yaml"]);
    expect(complete("axon bpf ct list --l")).toEqual(expect.arrayContaining(["--lab", "--limit"]));
    expect(complete("axon status --lab x -")).toContain("--verbose");
    // After a flag that wants a value, other flags would be wrong.
    expect(complete("axon hubble observe --verdict ")).toEqual([]);
  });

  it.each(["bash", "zsh", "fish"] as const)("%s knows every command and flag", (shell) => {
    const script = completionScript(buildProgram(context), shell);
    for (const { path, command } of all) {
      for (const word of path) expect(script).toContain(word);
      for (const option of command.options) {
        if (option.long !== undefined && option.long !== null) expect(script).toContain(option.long.slice(2));
      }
    }
  });

  it("is printed by the command", async () => {
    const { code, out } = await new FakeLabs().axon("completion", "bash");
    expect([code, out.includes("complete -o default -F _axon axon")]).toEqual([0, true]);
  });
});
