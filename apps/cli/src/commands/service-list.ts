import { apiPath, frontendTypes, type ServiceView } from "@axoneme/observe";
import { Command, Option } from "commander";
import { type AgentOptions, addAgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { exitCode } from "../errors.ts";
import { type OutputOptions, orDash, outputOption } from "../output.ts";
import { examples } from "./help.ts";
import { printAnswers } from "./list.ts";

interface ListOptions extends AgentOptions, OutputOptions {
  namespace?: string;
  name?: string;
  type?: string;
  problems?: boolean;
  wide?: boolean;
}

const narrow = ["SERVICE", "TYPE", "FRONTEND", "BACKENDS", "STATUS"];
const wide = ["SERVICE", "PORT", "TYPE", "FRONTEND", "SCOPE", "ID", "ALGORITHM", "FORWARDING", "AFFINITY"];
wide.push("FLAGS", "BACKENDS", "STATUS");

/** `axon service list`. */
export function serviceListCommand(context: Context): Command {
  return addAgentOptions(new Command("list"))
    .alias("ls")
    .description("list the frontends that the agents balance, and the backends behind each")
    .option("-n, --namespace <namespace>", "only Services of this namespace")
    .option("--name <service>", "only Services of this name")
    .addOption(new Option("--type <type>", "only frontends of this type").choices([...frontendTypes]))
    .option("--problems", "only Services that could not be programmed as they ask; exits 1 if there is one")
    .option("-w, --wide", "also port name, scope, algorithm, forwarding, affinity, flags; all backends")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
A frontend on 0.0.0.0 or :: is served on every address of the node (see nodePortAddresses). A frontend may have two
rows: scope internal is what clients inside the cluster get, external what all others get.
${examples(
  ["axon service list", "frontends and their backends"],
  ["axon service list -n shop --type NodePort", "the NodePorts of a namespace"],
  ["axon service list --problems", "what is not programmed, and why"],
  ["axon service list --wide", "with the algorithm, the way to other nodes and the flags"],
  ["axon service list -o json", "with node, pod and state of each backend"],
)}`,
    )
    .action(async (options: ListOptions) => {
      const path = `${apiPath.services}${queryOf(options)}`;
      const answers = await askAll(context, options, (client) =>
        client.get<ServiceView[]>(path, "cannot read the services", context.signal),
      );
      if (options.problems === true && answers.some(({ value }) => value.length > 0))
        context.setExitCode(exitCode.failed);
      await printAnswers(context, options, answers, {
        header: options.wide === true ? wide : narrow,
        row: options.wide === true ? wideRow : narrowRow,
        orderBy: ({ namespace, name, frontend }) =>
          `${namespace}/${name} ${frontend?.address.includes(":") ? 6 : 4} ${frontend?.address} ${frontend?.port}`,
        empty: options.problems === true ? "no problems" : "no services",
      });
    });
}

function queryOf({ namespace, name, type, problems }: ListOptions): string {
  const query = new URLSearchParams();
  if (namespace !== undefined) query.set("namespace", namespace);
  if (name !== undefined) query.set("name", name);
  if (type !== undefined) query.set("type", type);
  if (problems === true) query.set("problems", "1");
  return query.size === 0 ? "" : `?${query}`;
}

function narrowRow(service: ServiceView): string[] {
  return [
    `${service.namespace}/${service.name}`,
    service.type,
    frontendText(service.frontend),
    backendsText(service, 4),
    statusText(service),
  ];
}

function wideRow(service: ServiceView): string[] {
  const { frontend, affinitySeconds } = service;
  return [
    `${service.namespace}/${service.name}`,
    orDash(service.portName),
    service.type,
    frontendText(frontend),
    orDash(frontend?.scope),
    orDash(frontend?.id),
    service.algorithm,
    service.forwarding,
    affinitySeconds === undefined ? "-" : `${affinitySeconds}s`,
    orDash(service.flags.join(",")),
    backendsText(service, Number.POSITIVE_INFINITY),
    statusText(service),
  ];
}

/** `10.96.0.10:80/TCP`. */
export function frontendText(frontend: ServiceView["frontend"]): string {
  if (!frontend) return "-";
  const scope = frontend.scope === "external" ? "" : ` (${frontend.scope})`;
  return `${hostPort(frontend.address, frontend.port)}/${frontend.protocol}${scope}`;
}

/** `10.0.0.1:80` or `[fd00::1]:80`. */
export function hostPort(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function statusText({ status, message }: ServiceView): string {
  return message === undefined ? status : `${status}: ${message}`;
}

function backendsText({ backends, frontend }: ServiceView, most: number): string {
  if (!frontend) return "-";
  if (backends.length === 0) return "none: connections are refused";
  const shown = backends.slice(0, most).map((backend) => {
    const text = hostPort(backend.address, backend.port);
    return backend.state === "active" ? text : `${text} (${backend.state})`;
  });
  const more = backends.length - shown.length;
  return shown.join(",") + (more > 0 ? ` and ${more} more` : "");
}
