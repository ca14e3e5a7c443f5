/** The server of the page: follows flows of relays or agents, adds them up, and serves the map, the table and the past. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createLogger } from "@axoneme/app";
import { AxonError, errorText } from "@axoneme/base";
import { type ClientOptions, type ClientTls, parseTarget } from "@axoneme/grpc";
import { AgentPolicies } from "./server/agents.ts";
import { UiServer } from "./server/http.ts";
import { FlowHub } from "./server/hub.ts";

const help = `Usage: ui --server ADDRESS [--server ADDRESS]... [options]

Serves the service map and the flow table as a web page.

  --server ADDRESS     relay or agent to read flows from: unix:///path, host:port, tls://host:port; repeat for several
  --agent SOCKET       agent's UNIX socket to read policies from, for the question why; repeat for several
  --listen HOST:PORT   where the page is served (default 127.0.0.1:12000; port 0: any that is free)
  --host-name NAME     name under which browsers may ask for it besides localhost and --listen's; repeat for several.
                       There is no login: what is reachable from elsewhere belongs behind a proxy that has one.
  --tls-ca FILE        PEM of the CA that signed the servers' certificates
  --tls-cert FILE      PEM of the certificate that is shown to them
  --tls-key FILE       PEM of its key
  --tls-server-name N  name in the servers' certificates (default: the host)
  --log-level LEVEL    least severe line logged (default warn)
`;

const options = {
  server: { type: "string", multiple: true },
  agent: { type: "string", multiple: true },
  listen: { type: "string", default: "127.0.0.1:12000" },
  "host-name": { type: "string", multiple: true },
  "tls-ca": { type: "string" },
  "tls-cert": { type: "string" },
  "tls-key": { type: "string" },
  "tls-server-name": { type: "string" },
  "log-level": { type: "string", default: "warn" },
  help: { type: "boolean", short: "h" },
} as const;

function tlsOf(values: Readonly<Record<string, unknown>>): ClientTls {
  const file = (name: string): string | undefined => {
    const path = values[name];
    return typeof path === "string" ? readFileSync(path, "utf8") : undefined;
  };
  const [ca, cert, key] = [file("tls-ca"), file("tls-cert"), file("tls-key")];
  const serverName = values["tls-server-name"];
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(typeof serverName === "string" ? { serverName } : {}),
  };
}

function listenOf(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined)
    throw new AxonError("ui.listen", `--listen ${text}: take HOST:PORT, as 127.0.0.1:12000`);
  return { host, port: Number(match?.[3]) };
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const servers = values.server ?? [];
  if (servers.length === 0)
    throw new AxonError("ui.server", "no --server: say which relay or agent has the flows");
  const log = createLogger("ui", values["log-level"] === "debug" ? "debug" : "warn");
  const tls = tlsOf(values);
  const sources = servers.map((name): { name: string; options: ClientOptions } => {
    const { isTls, ...target } = parseTarget(name);
    return { name, options: { target, ...(isTls ? { tls } : {}) } };
  });
  const hub = new FlowHub(sources, log);
  const assets = join(import.meta.dirname, "ui");
  const server = new UiServer(
    hub,
    new AgentPolicies(values.agent ?? [], log),
    { ...listenOf(values.listen), assets, hostNames: values["host-name"] ?? [] },
    log,
  );
  hub.start();
  process.stdout.write(`${await server.start()}\n`);
  const stop = (): void => {
    Promise.all([server.stop(), hub.stop()]).then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
}

main().catch((error: unknown) => {
  process.stderr.write(`ui: ${errorText(error)}\n`);
  process.exit(1);
});
