import { apiPath, type IdentityView, type IpcacheEntryView, type ServiceView } from "@axoneme/observe";
import { Command } from "commander";
import type { Context } from "../context.ts";
import { orDash } from "../output.ts";
import { examples, labelsText } from "./help.ts";
import { listCommand } from "./list.ts";

/** `axon service list`. */
export function serviceCommand(context: Context): Command {
  const list = listCommand<ServiceView>(context, {
    command: new Command("list").alias("ls").description("list the Services that the agents balance"),
    path: apiPath.services,
    what: "cannot read the services",
    header: ["SERVICE", "TYPE", "FRONTEND", "PROTOCOL", "BACKENDS", "STATUS"],
    row: (service) => [
      `${service.namespace}/${service.name}`,
      service.type,
      hostPort(service.frontend.address, service.frontend.port),
      service.frontend.protocol,
      backendsText(service),
      service.message === undefined ? service.status : `${service.status}: ${service.message}`,
    ],
    orderBy: (service) => `${service.namespace}/${service.name}`,
    empty: "no services",
  }).addHelpText(
    "after",
    examples(
      ["axon service list", "frontends and their backends"],
      ["axon service list -o json", "with node, state and port name of each backend"],
    ),
  );
  return new Command("service")
    .alias("svc")
    .description("Services as the datapath balances them")
    .addCommand(list);
}

function hostPort(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function backendsText(service: ServiceView): string {
  if (service.backends.length === 0) return "none: connections are refused";
  const shown = service.backends.slice(0, 4).map((backend) => {
    const text = hostPort(backend.address, backend.port);
    return backend.state === "active" ? text : `${text} (${backend.state})`;
  });
  const more = service.backends.length - shown.length;
  return shown.join(",") + (more > 0 ? ` and ${more} more` : "");
}

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
