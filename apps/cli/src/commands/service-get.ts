import { apiPath, type ServiceDetailView, type ServiceView } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, addAgentOptions, askWhoKnows } from "../agents.ts";
import type { Context } from "../context.ts";
import { usageError } from "../errors.ts";
import { type OutputOptions, orDash, outputOption, printData } from "../output.ts";
import { formatTable } from "../table.ts";
import { examples } from "./help.ts";
import { withNode } from "./list.ts";
import { frontendText, hostPort } from "./service-list.ts";

/** `axon service get <namespace/name>`. */
export function serviceGetCommand(context: Context): Command {
  return addAgentOptions(new Command("get"))
    .description("show one Service as each node balances it: frontends, backends, health check, problems")
    .argument("<service>", "namespace/name; a name alone is of the namespace default")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        ["axon service get shop/web", "on every node"],
        ["axon service get shop/web --node node1", "on one"],
        ["axon service get shop/web -o yaml", "everything that is known"],
      ),
    )
    .action(async (name: string, options: AgentOptions & OutputOptions) => {
      const path = `${apiPath.services}/${serviceName(name)}`;
      const answers = await askWhoKnows(context, options, {
        ask: (client) => client.get<ServiceDetailView>(path, "cannot read the service", context.signal),
        unknown: { what: "no such Service", object: serviceName(name), fix: "see `axon service list`" },
      });
      if (options.output !== "table") {
        const shown = answers.map(({ node, value }) => withNode(node, value));
        await printData(context, options.output, shown.length === 1 ? shown[0] : shown);
        return;
      }
      const texts = answers.map(({ node, value }) => detailText(answers.length > 1 ? node : "", value));
      await context.stdout.write(texts.join("\n"));
    });
}

/** `namespace/name` as the user means it. */
export function serviceName(text: string): string {
  const parts = text.split("/");
  if (parts.length > 2 || parts.some((part) => !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(part)))
    throw usageError(`"${text}" is no Service`, "write namespace/name, for example shop/web");
  return parts.length === 1 ? `default/${text}` : text;
}

function detailText(node: string, detail: ServiceDetailView): string {
  const { frontends, healthCheck, problems, sourceRanges } = detail;
  const lines: [string, string][] = [
    ["Service:", `${detail.namespace}/${detail.name}${node === "" ? "" : ` on ${node}`}`],
    ["Status:", detail.status],
    ...problems.map((problem): [string, string] => ["Problem:", problem]),
  ];
  if (detail.nextRetry !== undefined) lines.push(["Retry:", detail.nextRetry]);
  if (sourceRanges.length > 0) lines.push(["Allowed:", sourceRanges.join(", ")]);
  if (healthCheck) {
    const { port, localEndpoints, message } = healthCheck;
    lines.push([
      "Health:",
      `port ${port}, ${localEndpoints} local endpoints${message ? `: ${message}` : ""}`,
    ]);
  }
  const head = lines.map(([name, value]) => `${name.padEnd(10)}${value}`).join("\n");
  if (frontends.length === 0) return `${head}\n`;
  return `${head}\n\n${frontendTable(frontends)}\n${backendTable(frontends)}`;
}

function frontendTable(frontends: readonly ServiceView[]): string {
  const header = [
    "FRONTEND",
    "TYPE",
    "PORT",
    "ID",
    "ALGORITHM",
    "FORWARDING",
    "AFFINITY",
    "FLAGS",
    "BACKENDS",
  ];
  const rows = frontends.map((f) => [
    frontendText(f.frontend),
    f.type,
    orDash(f.portName),
    orDash(f.frontend?.id),
    f.algorithm,
    f.forwarding,
    f.affinitySeconds === undefined ? "-" : `${f.affinitySeconds}s`,
    orDash(f.flags.join(",")),
    f.backends.length === 0 ? "none: connections are refused" : `${f.backends.length}`,
  ]);
  return formatTable(header, rows);
}

/** A backend once, with the frontends' ids that choose from it. */
function backendTable(frontends: readonly ServiceView[]): string {
  const rows = new Map<string, { cells: string[]; ids: Set<number> }>();
  for (const { frontend, backends } of frontends) {
    for (const { address, port, state, pod, node, local } of backends) {
      const cells = [hostPort(address, port), state, local ? "this node" : orDash(node), orDash(pod)];
      const key = cells.join(" ");
      const row = rows.get(key) ?? { cells, ids: new Set<number>() };
      rows.set(key, row);
      if (frontend) row.ids.add(frontend.id);
    }
  }
  const cells = [...rows.values()].map((row) => [...row.cells, [...row.ids].join(",")]);
  return cells.length === 0 ? "" : formatTable(["BACKEND", "STATE", "NODE", "POD", "OF"], cells);
}
