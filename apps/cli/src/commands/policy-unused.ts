import { apiPath, type RuleUseView, type UsedRule } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, type Answer, addAgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { parseTime } from "../observe/values.ts";
import { ageText, type OutputOptions, orDash, outputOption, print, printData } from "../output.ts";
import { examples } from "./help.ts";

interface UnusedOptions extends AgentOptions, OutputOptions {
  since?: string;
}

/** A rule that decided nothing on any node. */
interface UnusedRule {
  kind: string;
  namespace: string;
  name: string;
  path: string;
  action: string;
  /** Pods that its policy selects, of all nodes. */
  endpoints: number;
  /** RFC 3339, before the time that was asked about; absent: never. */
  lastUsed?: string;
}

/** How well the nodes were watched. */
interface Watch {
  /** All nodes have counted since then, RFC 3339. */
  since: string;
  blindSeconds: number;
  lost: number;
  /** Whether that is as long as was asked about. */
  isEnough: boolean;
}

/** `axon policy unused`. */
export function policyUnusedCommand(context: Context): Command {
  return addAgentOptions(new Command("unused"))
    .description("list rules that decided nothing")
    .option(
      "--since <time>",
      "in this time: a duration (7d) or an RFC 3339 time (default: as long as the agents have counted)",
      (text) => parseTime(text, context.now()),
    )
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
A rule decides when a new connection is let through or a packet refused by it. Connections that were there before
counting began, and rules of which another one says the same and ranks first, show no use: ask \`axon why\` before you
remove one. Default deny is no rule of this list.
${examples(
  ["axon policy unused", "since the agents began to count"],
  ["axon policy unused --since 7d -o json", "in a week, as data"],
)}`,
    )
    .action(async (options: UnusedOptions) => {
      const answers = await askAll(context, options, (client) =>
        client.get<RuleUseView>(apiPath.rules, "cannot read what rules decided", context.signal),
      );
      const watch = watchOf(answers, options.since);
      const rules = unusedRules(answers, options.since);
      if (options.output !== "table") {
        await printData(context, options.output, { watch, rules });
        return;
      }
      await context.stderr.write(watchText(context, watch, options.since));
      await print(context, options, rules, {
        header: ["KIND", "POLICY", "RULE", "ACTION", "ENDPOINTS", "LAST USED"],
        row: (rule) => [
          rule.kind,
          rule.namespace === "" ? rule.name : `${rule.namespace}/${rule.name}`,
          rule.path,
          rule.action,
          `${rule.endpoints}`,
          orDash(rule.lastUsed && ageText(context.now(), rule.lastUsed)),
        ],
        empty: "every rule decided something",
      });
    });
}

function watchOf(answers: readonly Answer<RuleUseView>[], wanted: string | undefined): Watch {
  const since =
    answers
      .map(({ value }) => value.since)
      .sort()
      .at(-1) ?? "";
  return {
    since,
    blindSeconds: Math.max(...answers.map(({ value }) => value.blindSeconds)),
    lost: answers.reduce((sum, { value }) => sum + value.lost, 0),
    isEnough: wanted === undefined || Date.parse(since) <= Date.parse(wanted),
  };
}

function unusedRules(answers: readonly Answer<RuleUseView>[], since: string | undefined): UnusedRule[] {
  const merged = new Map<string, UnusedRule>();
  for (const { value } of answers) for (const rule of value.rules) merge(merged, rule);
  const limit = since === undefined ? 0 : Date.parse(since);
  return [...merged.values()]
    .filter(({ lastUsed }) => lastUsed === undefined || Date.parse(lastUsed) < limit)
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

function merge(
  into: Map<string, UnusedRule>,
  { kind, namespace, name, path, action, endpoints, lastUsed }: UsedRule,
): void {
  const rule = { kind, namespace, name, path, action, endpoints, ...(lastUsed && { lastUsed }) };
  const known = into.get(keyOf(rule));
  if (known === undefined) into.set(keyOf(rule), rule);
  else {
    known.endpoints += endpoints;
    if (lastUsed !== undefined && lastUsed > (known.lastUsed ?? "")) known.lastUsed = lastUsed;
  }
}

function keyOf({ kind, namespace, name, path }: Pick<UnusedRule, "kind" | "namespace" | "name" | "path">) {
  return `${namespace}/${name} ${kind} ${path}`;
}

function watchText(
  context: Context,
  { since, blindSeconds, lost, isEnough }: Watch,
  wanted?: string,
): string {
  const parts = [`Counted since ${since} (${ageText(context.now(), since)})`];
  if (blindSeconds > 0) parts.push(`${blindSeconds}s of it without an agent`);
  if (lost > 0) parts.push(`${lost} records were lost`);
  const short = isEnough
    ? ""
    : `\nThat is less than since ${wanted}: a rule that is listed may have been used before.`;
  return `${parts.join(", ")}.${short}\n`;
}
