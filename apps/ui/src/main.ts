/** The server of the page: follows flows of relays or agents, adds them up, and serves the map, the table and the past. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createLogger, runProgram, stopOnSignal } from "@axoneme/app";
import { AxonError } from "@axoneme/base";
import { type ClientOptions, type ClientTls, parseTarget } from "@axoneme/grpc";
import { type UiConfig, uiOptions } from "./options.ts";
import { AgentPolicies } from "./server/agents.ts";
import { UiServer } from "./server/http.ts";
import { FlowHub } from "./server/hub.ts";
import { NodeWatch } from "./server/node-watch.ts";

declare const AXON_VERSION: string | undefined;
const version = typeof AXON_VERSION === "string" ? AXON_VERSION : "dev";

function tlsOf({ tlsCa, tlsCert, tlsKey, tlsServerName }: UiConfig): ClientTls {
  const file = (path: string): string => readFileSync(path, "utf8");
  return {
    ...(tlsCa === "" ? {} : { ca: file(tlsCa) }),
    ...(tlsCert === "" ? {} : { cert: file(tlsCert) }),
    ...(tlsKey === "" ? {} : { key: file(tlsKey) }),
    ...(tlsServerName === "" ? {} : { serverName: tlsServerName }),
  };
}

function listenOf(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined)
    throw new AxonError("ui.listen", `listen ${text}: take HOST:PORT, as 127.0.0.1:12000`);
  return { host, port: Number(match?.[3]) };
}

runProgram({
  name: "ui",
  version,
  about: "Serves the service map and the flow table as a web page.",
  options: uiOptions,
  async start(config) {
    if (config.servers.length === 0)
      throw new AxonError("ui.server", "no server: say which relay or agent has the flows (--server)");
    const log = createLogger("ui", config.logLevel);
    const tls = tlsOf(config);
    const sources = config.servers.map((name): { name: string; options: ClientOptions } => {
      const { isTls, ...target } = parseTarget(name);
      return { name, options: { target, ...(isTls ? { tls } : {}) } };
    });
    const agents = new NodeWatch(config.agents, log);
    const hub = new FlowHub(sources, log, () => agents.nodes);
    const server = new UiServer(
      hub,
      new AgentPolicies(config.agents, log),
      {
        ...listenOf(config.listen),
        assets: join(import.meta.dirname, "ui"),
        hostNames: config.hostNames,
      },
      log,
    );
    agents.start();
    hub.start();
    process.stdout.write(`${await server.start()}\n`);
    stopOnSignal(log, "stopping", async () => {
      agents.stop();
      await Promise.all([server.stop(), hub.stop()]);
    });
  },
});
