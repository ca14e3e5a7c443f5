import { apiPath, type LoadBalancingStatus, type ModuleState, type StatusResponse } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, type Answer, addAgentOptions, askAll, findRelay } from "../agents.ts";
import type { Context } from "../context.ts";
import { exitCode } from "../errors.ts";
import {
  ageText,
  type Colors,
  colorsOf,
  type OutputOptions,
  orDash,
  outputOption,
  printData,
} from "../output.ts";
import { formatTable } from "../table.ts";
import { examples } from "./help.ts";
import { withNode } from "./list.ts";

/** Kinds of Services there are: with fewer a kube-proxy has the others. */
const frontendKinds = 5;

interface StatusOptions extends AgentOptions, OutputOptions {
  verbose?: boolean;
}

/** `axon status`: health of the agents, module by module. */
export function statusCommand(context: Context): Command {
  return addAgentOptions(new Command("status"))
    .description("health of the agents; exits 1 when one of them is not ok, 4 when one cannot be reached")
    .option("-v, --verbose", "show every module, not only those in trouble")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        ["axon status", "one line a node, and every module that is not ok"],
        ["axon status --verbose", "all modules, what they do, since when"],
        ["axon status -o json | jq '.[].state'", "for scripts"],
      ),
    )
    .action(async (options: StatusOptions) => {
      const answers = await askAll(context, options, (client) =>
        client.get<StatusResponse>(apiPath.status, "cannot read the status", context.signal),
      );
      if (answers.some(({ value }) => value.state !== "ok")) context.setExitCode(exitCode.failed);
      if (options.output === "table") await printStatus(context, options, answers);
      else {
        const shown = answers.map(({ node, value }) => withNode(node, value));
        await printData(context, options.output, shown);
      }
    });
}

function painted(colors: Colors, state: ModuleState): string {
  if (state === "ok") return colors.green(state);
  return state === "failed" ? colors.red(state) : colors.yellow(state);
}

async function printStatus(
  context: Context,
  options: StatusOptions,
  answers: readonly Answer<StatusResponse>[],
): Promise<void> {
  const colors = colorsOf(context);
  const header = [
    "NODE",
    "STATE",
    "ROUTING",
    "ADDRESSES",
    "POD-CIDRS",
    "ENDPOINTS",
    "IDENTITIES",
    "SERVICES",
  ];
  header.push("POLICIES", "FLOWS/S", "UP");
  const rows = answers.map(({ value: status }) => [
    status.node,
    painted(colors, status.state),
    status.routing,
    orDash(status.addresses.join(",")),
    orDash(status.podCidrs.join(",")),
    `${status.endpoints.ready}/${status.endpoints.total}`,
    `${status.identities}`,
    `${status.services}`,
    `${status.policies}`,
    status.flows.flows_rate.toFixed(1),
    ageText(context.now(), status.started),
  ]);
  await context.stdout.write(formatTable(header, rows));
  await context.stdout.write(`\n${servicesTable(answers)}`);
  await context.stdout.write(`\n${dnsTable(answers)}`);
  const relay = findRelay(context, options);
  if (relay !== undefined)
    await context.stdout.write(`\nflows of all nodes: unix://${relay} (axon hubble, hubble --server)\n`);
  await printModules(context, options, answers, colors);
  if (options.verbose !== true) return;
  const builds = answers.map(({ value: s }) => [
    s.node,
    s.version,
    s.kernel,
    `${s.pid}`,
    orDash(s.device),
    masquerade(s),
  ]);
  const about = formatTable(["NODE", "VERSION", "KERNEL", "PID", "DEVICE", "MASQUERADE"], builds);
  await context.stdout.write(`\n${about}`);
}

function servicesTable(answers: readonly Answer<StatusResponse>[]): string {
  const rows = answers.map(({ value: { node, loadBalancing: lb } }) => [
    node,
    `${lb.services}`,
    `${lb.frontends}`,
    `${lb.backends}`,
    `${lb.problems}`,
    lb.kinds.length === frontendKinds ? "all" : orDash(lb.kinds.join(",")),
    lb.algorithm,
    lb.mode,
    lb.socket ? "yes" : "no",
    orDash(lb.acceleration.map(accelerationText).join(", ")),
  ]);
  const header = ["NODE", "SERVICES", "FRONTENDS", "BACKENDS", "PROBLEMS", "KINDS", "ALGORITHM", "MODE"];
  return formatTable([...header, "AT-CONNECT", "FROM-OUTSIDE"], rows);
}

function dnsTable(answers: readonly Answer<StatusResponse>[]): string {
  const rows = answers.map(({ value: { node, dnsProxy: proxy } }) => [
    node,
    proxy.mode === "off" ? "off" : proxy.serving ? "serving" : "not serving",
    orDash(proxy.pid === undefined ? "" : `${proxy.pid}`),
    `${proxy.ruleSets}`,
    proxy.serving ? (proxy.asNode === undefined ? "pods" : `the node (${proxy.asNode})`) : "-",
  ]);
  return formatTable(["NODE", "DNS-PROXY", "PID", "RULE-SETS", "SERVERS-SEE"], rows);
}

function accelerationText({ device, at, reason }: LoadBalancingStatus["acceleration"][number]): string {
  return `${device} ${at}${reason === undefined ? "" : ` (${reason})`}`;
}

function masquerade({ masquerade: { ipv4, ipv6 } }: StatusResponse): string {
  return [ipv4 ? "ipv4" : "", ipv6 ? "ipv6" : ""].filter(Boolean).join(",") || "off";
}

async function printModules(
  context: Context,
  options: StatusOptions,
  answers: readonly Answer<StatusResponse>[],
  colors: Colors,
): Promise<void> {
  const modules = answers.flatMap(({ value }) =>
    value.modules
      .filter((module) => options.verbose === true || module.state !== "ok")
      .map((module) => [
        value.node,
        module.name,
        painted(colors, module.state),
        ageText(context.now(), module.since),
        module.message,
        Object.entries(module.metrics ?? {})
          .map(([name, figure]) => `${name}=${figure}`)
          .join(" "),
      ]),
  );
  if (modules.length === 0) return;
  await context.stdout.write(
    `\n${formatTable(["NODE", "MODULE", "STATE", "FOR", "MESSAGE", "FIGURES"], modules)}`,
  );
}
