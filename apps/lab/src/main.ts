import { parseArgs } from "node:util";
import { createLogger } from "@axoneme/app";
import { errorText } from "@axoneme/base";
import { runSupervisor } from "./lab/supervisor.ts";

/** `node dist/lab.mjs run --name X`: the supervisor of a lab. People use `axon lab up`. */
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { name: { type: "string", default: "default" }, "log-level": { type: "string", default: "info" } },
});

if (positionals[0] !== "run") {
  process.stderr.write("usage: lab.mjs run --name <lab>\n");
  process.exit(2);
}

const level = values["log-level"] === "debug" ? "debug" : "info";
const log = createLogger("axon-lab", level);
try {
  await runSupervisor(values.name, log);
} catch (error) {
  log.error(
    { err: errorText(error), stack: error instanceof Error ? error.stack : undefined },
    "the lab's supervisor ends",
  );
  process.exitCode = 1;
}
process.exit();
