import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import pino from "pino";
import { ApiServer } from "./server.ts";

const usage = `usage: apiserver --state-dir DIR [--host 127.0.0.1] [--port 6443] [--san NAME]... [--service-cidr CIDR]... [--fsync]

A Kubernetes-compatible API server. Writes DIR/kubeconfig for the user admin.
`;

const { values } = parseArgs({
  options: {
    "state-dir": { type: "string" },
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "6443" },
    san: { type: "string", multiple: true, default: [] },
    "service-cidr": { type: "string", multiple: true, default: ["10.96.0.0/16"] },
    fsync: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

const stateDir = values["state-dir"];
if (values.help || stateDir === undefined) {
  process.stdout.write(usage);
  process.exit(values.help ? 0 : 2);
}

const logger = pino({ name: "apiserver" });
const server = await ApiServer.start({
  stateDir,
  listen: [{ host: values.host, port: Number(values.port) }],
  sans: values.san,
  serviceCidrs: values["service-cidr"],
  fsync: values.fsync,
  logger,
});
const kubeconfig = join(stateDir, "kubeconfig");
writeFileSync(kubeconfig, await server.kubeconfig(), { mode: 0o600 });
logger.info({ url: server.url, kubeconfig }, "the API server is ready");

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    void server.stop().then(() => process.exit(0));
  });
}
