import { once } from "node:events";
import { createInterface } from "node:readline/promises";
import type { Writable } from "node:stream";
import type { Context, Output } from "./context.ts";
import { run } from "./run.ts";

declare const AXON_VERSION: string | undefined;
/** Version of this build; the build sets it. */
const version = typeof AXON_VERSION === "string" ? AXON_VERSION : "dev";

function outputOf(stream: Writable & { isTTY?: boolean }): Output {
  return {
    isTty: stream.isTTY === true,
    write: async (text) => {
      if (!stream.write(text) && !stream.destroyed) await once(stream, "drain");
    },
  };
}

const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // A second signal ends the process at once: clean-up may hang.
  process.once(signal, () => interrupted.abort());
}
// `axon ... | head`: the reader has what it wanted.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

/** Asks on the terminal; Ctrl-C and the end of input are no. */
async function confirm(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const closed = once(terminal, "close").then(() => "");
    const answer = await Promise.race([
      terminal.question(question, { signal: interrupted.signal }).catch(() => ""),
      closed,
    ]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}

const context: Context = {
  env: process.env,
  stdout: outputOf(process.stdout),
  stderr: outputOf(process.stderr),
  confirm: process.stdin.isTTY && process.stderr.isTTY ? confirm : undefined,
  signal: interrupted.signal,
  version,
  now: () => Date.now(),
  setExitCode: (code) => {
    process.exitCode = code;
  },
};

process.exitCode = await run(process.argv.slice(2), context);
