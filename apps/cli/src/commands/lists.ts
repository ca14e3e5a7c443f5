import { apiPath, type IdentityView, type IpcacheEntryView } from "@axoneme/observe";
import { Command } from "commander";
import type { Context } from "../context.ts";
import { orDash } from "../output.ts";
import { examples, labelsText } from "./help.ts";
import { listCommand } from "./list.ts";

/** `axon identity list`. */
export function identityCommand(context: Context): Command {
  const list = listCommand<IdentityView>(context, {
    command: new Command("list").alias("ls").description("list the identities that the agents know"),
    path: apiPath.identities,
    what: "cannot read the identities",
    header: ["ID", "SCOPE", "ENDPOINTS", "LABELS"],
    row: (identity) => [
      `${identity.id}`,
      identity.scope,
      `${identity.endpoints}`,
      labelsText(identity.labels),
    ],
    orderBy: (identity) => `${identity.id}`,
    empty: "no identities",
  }).addHelpText("after", examples(["axon identity list", "numbers as flows and policy rows show them"]));
  return new Command("identity")
    .description("security identities: a number for a set of labels")
    .addCommand(list);
}

/** `axon ip list`. */
export function ipCommand(context: Context): Command {
  const list = listCommand<IpcacheEntryView>(context, {
    command: new Command("list")
      .alias("ls")
      .description("list the ipcache: which identity stands behind an address"),
    path: apiPath.ipcache,
    what: "cannot read the ipcache",
    header: ["PREFIX", "IDENTITY", "NODE-IP", "POD", "SOURCE"],
    row: (entry) => [
      entry.prefix,
      `${entry.identity}`,
      orDash(entry.nodeIp),
      orDash(entry.pod),
      entry.source,
    ],
    // IPv4 before IPv6, as the agents sort.
    orderBy: ({ prefix }) => `${prefix.includes(":") ? 6 : 4} ${prefix}`,
    empty: "the ipcache is empty",
  }).addHelpText(
    "after",
    examples(
      ["axon ip list", "every prefix, its identity and the node that hosts it"],
      ["axon ip list --node node1 -o yaml", "of one node, as YAML"],
    ),
  );
  return new Command("ip").description("addresses and their identities").addCommand(list);
}
