import { once } from "node:events";
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

const context: Context = {
  env: process.env,
  stdout: outputOf(process.stdout),
  stderr: outputOf(process.stderr),
  signal: interrupted.signal,
  version,
  now: () => Date.now(),
  setExitCode: (code) => {
    process.exitCode = code;
  },
};

process.exitCode = await run(process.argv.slice(2), context);
