import { readFileSync } from "node:fs";
import { parseLabelLines } from "@axoneme/identity";
import {
  type ChangedFlow,
  type Preview,
  previewChange,
  type SandboxContext,
  type SandboxSide,
  type SideJudgement,
} from "@axoneme/policy";
import { Command } from "commander";
import { loadAll } from "js-yaml";
import { type AgentOptions, addAgentOptions } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { parseTime } from "../observe/values.ts";
import { colorsOf, type OutputOptions, outputOption, printData } from "../output.ts";
import { type ClusterOptions, clusterInstead, kubeconfigOption } from "../policy/cluster-option.ts";
import { cidrMatchOf, policyObjects, type SeenFlow, seenSince } from "../policy/flows.ts";
import { allEndpoints } from "../policy/places.ts";
import { unknownToAll } from "../policy/why-cluster.ts";
import { examples } from "./help.ts";

interface PreviewOptions extends AgentOptions, OutputOptions, ClusterOptions {
  readonly filename: string[];
  readonly delete?: boolean;
  readonly since: string;
}

const about = `
Nothing is applied. The agents' own engine decides once as policies are and once as they would be: about the pods that
are there, and about the connections that were recorded since --since. Ports by name and toServices are judged without
knowing what is behind them. Exit code 5: something that flowed would be denied. With --kubeconfig policies and pods are read
from the API server, and no agent is asked: recorded connections are not known then.
`;
/** Changed connections that a person is shown. */
const mostLines = 40;

/** `axon policy preview -f new.yaml`. */
export function policyPreviewCommand(context: Context): Command {
  return addAgentOptions(new Command("preview"))
    .description("say what a change of policies would do, before anything is applied")
    .requiredOption("-f, --filename <file...>", "YAML or JSON with policies; - is standard input")
    .option("--delete", "as if these were deleted")
    .option("--since <time>", "connections recorded since: 10m, 2h, or RFC 3339", "1h")
    .addOption(kubeconfigOption())
    .addOption(outputOption())
    .addHelpText(
      "after",
      `${about}${examples(
        ["axon policy preview -f deny-all.yaml", "who becomes isolated, which connections would be cut"],
        ["axon policy preview --delete -f old.yaml --since 24h", "what a policy that goes has held back"],
      )}`,
    )
    .action(async (options: PreviewOptions) => {
      const objects = options.filename.flatMap(readObjects);
      const { today, pods, flows, unknown, engine } = await known(context, options);
      const change = { objects, isDeletion: options.delete === true };
      const preview = previewChange(today, change, { pods, flows: flows ?? [] }, engine);
      if (preview.nowDenied > 0) context.setExitCode(exitCode.denied);
      if (options.output === "table") {
        await context.stdout.write(textOf(context, preview, flows?.length));
        if (unknown.length > 0)
          await context.stdout.write(
            `\nnot known without the agents:\n${unknown.map((fact) => `  ${fact}\n`).join("")}`,
          );
      } else {
        await printData(context, options.output, {
          ...(dataOf(preview) as object),
          ...(unknown.length > 0 && { unknown }),
        });
      }
    });
}

/** What is there today. */
interface Known {
  readonly today: readonly unknown[];
  readonly pods: readonly { readonly name: string; readonly side: SandboxSide }[];
  /** Undefined: nobody was asked. */
  readonly flows: readonly SeenFlow[] | undefined;
  readonly unknown: readonly string[];
  readonly engine: SandboxContext;
}

async function known(context: Context, options: PreviewOptions): Promise<Known> {
  const cluster = await clusterInstead(context, options);
  if (cluster) {
    const pods = cluster.pods.map(({ namespace, name, side }) => ({ name: `${namespace}/${name}`, side }));
    const unknown = [
      "recorded connections: which of them would be cut is not said",
      ...cluster.unreadable.map((kind) => `objects of kind ${kind}: this user may not read them`),
      ...unknownToAll,
    ];
    return { today: cluster.objects, pods, flows: undefined, unknown, engine: cluster.context };
  }
  const [today, endpoints, cidrMatch, flows] = await Promise.all([
    policyObjects(context, options),
    allEndpoints(context, options),
    cidrMatchOf(context, options),
    seenSince(context, options, parseTime(options.since, context.now())),
  ]);
  const pods = endpoints
    .filter(({ kind }) => kind === "pod")
    .map(({ namespace, pod, labels }) => ({
      name: `${namespace}/${pod}`,
      side: { isPod: true, labels: parseLabelLines(labels) },
    }));
  return { today, pods, flows, unknown: [], engine: { cidrMatch } };
}

function readObjects(file: string): unknown[] {
  try {
    const all = loadAll(readFileSync(file === "-" ? 0 : file, "utf8")) as unknown[];
    return all.filter((object) => object !== null && object !== undefined);
  } catch (cause) {
    throw new CliError(exitCode.failed, { what: "cannot read policies", object: file, cause });
  }
}

function changeText({ flow, before, after }: ChangedFlow<SeenFlow>): string {
  const decisive =
    [after.egress, after.ingress].find((side) => isDenied(side)) ?? after.ingress ?? after.egress;
  const was = [before.egress, before.ingress].find((side) => isDenied(side));
  const by = (after.isAllowed ? was : decisive)?.rule;
  const port = flow.protocol.startsWith("ICMP") ? flow.protocol : `${flow.protocol}/${flow.port}`;
  const who = by === undefined ? "" : ` (${by.name})`;
  return `${flow.from} -> ${flow.to} ${port}${who}`;
}

function isDenied(side: SideJudgement | undefined): boolean {
  return side?.verdict === "deny" || side?.verdict === "default-deny";
}

function textOf(context: Context, preview: Preview<SeenFlow>, seen: number | undefined): string {
  const colors = colorsOf(context);
  const isolation = ({ ingress, egress }: { ingress: boolean; egress: boolean }): string =>
    [ingress ? "ingress" : "", egress ? "egress" : ""].filter(Boolean).join("+") || "open";
  const denied = preview.flows.filter(({ after }) => !after.isAllowed);
  const allowed = preview.flows.filter(({ after }) => after.isAllowed);
  const some = (all: readonly ChangedFlow<SeenFlow>[], sign: string): string[] => [
    ...all.slice(0, mostLines).map((one) => `  ${sign} ${changeText(one)}`),
    ...(all.length > mostLines ? [`  ... and ${all.length - mostLines} more`] : []),
  ];
  const lines = [
    ...preview.problems.map((problem) => colors.yellow(`not understood: ${problem}`)),
    `${preview.pods.length} pods are concerned:`,
    ...preview.pods.map(
      ({ name, before, after, policies }) =>
        `  ${name}: ${isolation(before)}${isolation(before) === isolation(after) ? "" : ` -> ${isolation(after)}`} (${policies.join(", ")})`,
    ),
    ...(seen === undefined ? [] : [`${seen} different connections were recorded:`]),
    ...(denied.length > 0
      ? [colors.red(`${denied.length} would be denied that are let through:`)]
      : seen === undefined
        ? []
        : ["none of them would be denied that is let through"]),
    ...some(denied, "-"),
    ...(allowed.length > 0
      ? [`${allowed.length} would be allowed that are denied:`, ...some(allowed, "+")]
      : []),
  ];
  return `${lines.join("\n")}\n`;
}

function dataOf({ pods, flows, problems, nowDenied, nowAllowed }: Preview<SeenFlow>): unknown {
  return {
    pods,
    problems,
    nowDenied,
    nowAllowed,
    flows: flows.map(({ flow, before, after }) => ({
      source: flow.from,
      destination: flow.to,
      protocol: flow.protocol,
      port: flow.port,
      before: before.isAllowed ? "allowed" : "denied",
      after: after.isAllowed ? "allowed" : "denied",
      rule: [after.egress, after.ingress].find(isDenied)?.rule?.name ?? "",
    })),
  };
}
