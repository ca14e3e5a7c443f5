import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "@axoneme/base";
import { listenIn } from "@axoneme/netlink";
import { ApiServer } from "../apiserver/index.ts";
import type { NetworkPlan } from "../network/plan.ts";
import type { LabRbac } from "./config.ts";
import type { LabPaths } from "./paths.ts";

export interface RunningApiServer {
  caCertificate: string;
  stop(): Promise<void>;
}

/**
 * Starts the API server on 127.0.0.1 for the user and on the bridge for the nodes, and writes both kubeconfigs.
 * The user's port is kept over restarts where it is still free, so that kubeconfigs in use go on working.
 */
export async function startApiServer(options: {
  paths: LabPaths;
  plan: NetworkPlan;
  /** The namespace of the bridge. */
  netns: string;
  userPort: number;
  rbac?: LabRbac | undefined;
  log: Logger;
}): Promise<RunningApiServer & { userPort: number }> {
  const { paths, plan, netns, log, rbac } = options;
  const { host, port } = plan.apiServer;
  const server = await ApiServer.start({
    stateDir: paths.apiserver,
    listen: [{ host: "127.0.0.1", port: options.userPort }, { fd: listenIn(netns, { host, port }) }],
    sans: [...plan.gateways],
    serviceCidrs: plan.serviceCidrs,
    advertise: [{ address: host, port }],
    logger: log,
    ...(rbac === undefined ? {} : { rbac: true, asked: askedLog(join(paths.state, "asked.jsonl")) }),
  });
  writeFileSync(paths.kubeconfig, await server.kubeconfig(), { mode: 0o600 });
  writeFileSync(paths.nodeKubeconfig, await server.kubeconfig(`${host}:${port}`), { mode: 0o600 });
  for (const account of rbac?.accounts ?? []) {
    const user = `system:serviceaccount:${account}`;
    const file = `${paths.kubeconfig}.${account.split(":")[1]}`;
    writeFileSync(file, await server.kubeconfig(`${host}:${port}`, user), { mode: 0o600 });
    writeFileSync(`${file}.host`, await server.kubeconfig(undefined, user), { mode: 0o600 });
  }
  return { caCertificate: server.ca, userPort: server.port(), stop: () => server.stop() };
}

/** Writes down each thing that is asked for, the first time. */
function askedLog(file: string): (access: object) => void {
  const known = new Set<string>();
  return (access) => {
    const line = JSON.stringify(access);
    if (known.has(line)) return;
    known.add(line);
    appendFileSync(file, `${line}\n`);
  };
}
