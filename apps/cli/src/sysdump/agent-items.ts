import { dirname, join } from "node:path";
import { apiPath, queryOf } from "@axoneme/observe";
import type { AgentClient } from "../client.ts";
import { type DumpItem, jsonText, tailOf } from "./item.ts";

/** Answers of an agent that are one JSON document, by file name. */
const documents: Readonly<Record<string, string>> = {
  status: apiPath.status,
  config: apiPath.config,
  endpoints: apiPath.endpoints,
  identities: apiPath.identities,
  ipcache: apiPath.ipcache,
  services: apiPath.services,
  policy: apiPath.policy,
  rules: apiPath.rules,
  "fqdn-cache": apiPath.fqdnCache,
  "fqdn-names": apiPath.fqdnNames,
  "maps-lb": `${apiPath.stat}/lb`,
  "maps-ct": `${apiPath.stat}/ct`,
  "maps-nat": `${apiPath.stat}/nat`,
};

/** Left out by --quick: they grow with the cluster. */
const large: ReadonlySet<string> = new Set(["ipcache", "services", "policy", "identities"]);

/** What is asked of one agent. */
export interface AgentItemOptions {
  /** Folder of the node in the archive. */
  readonly folder: string;
  readonly isQuick: boolean;
  /** The newest flows. */
  readonly flows: number;
}

/** What an agent tells of itself, of the kernel's maps and of the last flows. */
export function agentItems(client: AgentClient, { folder, isQuick, flows }: AgentItemOptions): DumpItem[] {
  const asked = Object.entries(documents).filter(([name]) => !isQuick || !large.has(name));
  return [
    ...asked.map(
      ([name, path]): DumpItem => ({
        path: `${folder}/${name}.json`,
        read: async (signal) => jsonText(await client.get(path, `cannot read ${path}`, signal)),
      }),
    ),
    {
      // A lab's agents write beside their sockets; those of a cluster write to their containers.
      path: `${folder}/agent.log`,
      read: (signal) => tailOf(join(dirname(client.agent.socket), "agent.log"), signal),
    },
    {
      path: `${folder}/metrics.txt`,
      read: (signal) => client.text(apiPath.metrics, "cannot read the metrics", signal),
    },
    {
      path: `${folder}/flows.jsonl`,
      read: async (signal) => {
        const lines: string[] = [];
        const path = apiPath.flows + queryOf({ number: flows });
        for await (const flow of client.lines(path, "cannot read the flows", signal))
          lines.push(JSON.stringify(flow));
        return lines.length === 0 ? undefined : `${lines.join("\n")}\n`;
      },
    },
  ];
}
