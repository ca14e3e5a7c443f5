import { readFileSync, writeFileSync } from "node:fs";
import { createConnection, createServer, isIP, type Server } from "node:net";
import { dirname, resolve } from "node:path";
import { AxonError, type Logger } from "@axoneme/base";
import { listenIn } from "@axoneme/netlink";
import { load } from "js-yaml";
import type { NetworkPlan } from "../network/plan.ts";
import type { LabPaths } from "./paths.ts";

/** A name that API servers have in their certificates, for one whose kubeconfig has an address. */
const usualName = "kubernetes.default.svc";

interface Entry {
  name?: string;
  cluster?: Record<string, unknown>;
  user?: Record<string, unknown>;
  context?: { cluster?: string };
}

interface Kubeconfig {
  "current-context"?: string;
  clusters?: Entry[];
  users?: Entry[];
  contexts?: Entry[];
}

/** What a lab has of an API server that is not its own. */
export interface AttachedServer {
  stop(): Promise<void>;
}

/**
 * Makes an API server that runs elsewhere the lab's: kubeconfigs as `startApiServer` writes them, and an address on the
 * lab's bridge from which connections go on to it, for nodes reach nothing else.
 * @throws AxonError `lab.kubeconfig` naming what is missing.
 */
export async function attachServer(options: {
  kubeconfig: string;
  paths: LabPaths;
  plan: NetworkPlan;
  /** The namespace of the bridge. */
  netns: string;
  log: Logger;
}): Promise<AttachedServer> {
  const { kubeconfig, paths, plan, netns, log } = options;
  const { host, port } = plan.apiServer;
  const { config, cluster } = readKubeconfig(kubeconfig);
  const target = new URL(String(cluster["server"]));
  writeFileSync(paths.kubeconfig, JSON.stringify(config), { mode: 0o600 });
  cluster["server"] = `https://${host}:${port}`;
  cluster["tls-server-name"] ??= isIP(hostOf(target)) === 0 ? hostOf(target) : usualName;
  writeFileSync(paths.nodeKubeconfig, JSON.stringify(config), { mode: 0o600 });
  const server = forward(target, log);
  await new Promise<void>((done) => server.listen({ fd: listenIn(netns, { host, port }) }, done));
  return { stop: () => new Promise((done) => server.close(() => done())) };
}

/** The file's configuration with paths that are good anywhere, and its current cluster, which may be changed. */
function readKubeconfig(path: string): { config: Kubeconfig; cluster: Record<string, unknown> } {
  const config = load(readFileSync(path, "utf8")) as Kubeconfig;
  const context = config.contexts?.find(({ name }) => name === config["current-context"])?.context;
  const cluster = config.clusters?.find(({ name }) => name === context?.cluster)?.cluster;
  if (typeof cluster?.["server"] !== "string" || !cluster["server"].startsWith("https://")) {
    const hint = "its current context must name a cluster with an https server";
    throw new AxonError("lab.kubeconfig", `${path} cannot be used for a lab: ${hint}`);
  }
  const files = ["certificate-authority", "client-certificate", "client-key", "tokenFile"];
  for (const entry of [...(config.clusters ?? []), ...(config.users ?? [])]) {
    const body = entry.cluster ?? entry.user ?? {};
    for (const key of files) if (typeof body[key] === "string") body[key] = resolve(dirname(path), body[key]);
  }
  return { config, cluster };
}

function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

/** Bytes pass as they are: TLS is between the node and the API server. */
function forward(target: URL, log: Logger): Server {
  const to = { host: hostOf(target), port: Number(target.port || 443) };
  return createServer({ allowHalfOpen: true }, (socket) => {
    const onward = createConnection({ ...to, allowHalfOpen: true });
    socket.on("error", () => onward.destroy());
    onward.on("error", (err) => {
      log.warn({ err, server: target.host }, "the API server cannot be reached");
      socket.destroy();
    });
    socket.pipe(onward).pipe(socket);
  });
}
