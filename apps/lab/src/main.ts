import { parseArgs } from "node:util";
import { createLogger } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import { runNode } from "./lab/nodeprocess.ts";
import { runSupervisor } from "./lab/supervisor.ts";

/** The processes of a lab; people use `axon lab up`. */
const usage = `usage: lab.mjs run --name LAB               the supervisor: network, API server, controllers, services
       lab.mjs node --name LAB --node NODE   the runner of one node
`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: "string", default: "default" },
    node: { type: "string", default: "" },
    "log-level": { type: "string", default: "info" },
  },
});

const programs: Readonly<Record<string, (log: Logger) => Promise<void>>> = {
  run: (log) => runSupervisor(values.name, log),
  node: (log) => runNode(values.name, values.node, log),
};

const program = programs[positionals[0] ?? ""];
if (program === undefined) {
  process.stderr.write(usage);
  process.exit(2);
}

const log = createLogger("axon-lab", values["log-level"] === "debug" ? "debug" : "info");
try {
  await program(log);
} catch (error) {
  const stack = error instanceof Error ? error.stack : undefined;
  log.error({ err: errorText(error), stack }, "a process of the lab ends");
  process.exitCode = 1;
}
process.exit();
