import { namespaceOf, type SandboxSide, suggestPolicies } from "@axoneme/policy";
import { Command, InvalidArgumentError } from "commander";
import { dump } from "js-yaml";
import { type AgentOptions, addAgentOptions } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { parseTime } from "../observe/values.ts";
import { seenSince } from "../policy/flows.ts";
import { allEndpoints } from "../policy/places.ts";
import { examples } from "./help.ts";

interface SuggestOptions extends AgentOptions {
  readonly since: string;
  readonly dnsPatterns?: number;
}

const about = `
Made from the connections that were recorded since --since and let through: what has not happened in that time is not
allowed. Pods are known by their app labels, what is outside by DNS name or address. A pod may ask for the names it asked
for; those of a pod whose queries go past the DNS proxy are not known, and it may ask for all: suggest again once it has
such a policy. Look at it, keep watching with the annotation policy.axoneme.io/audit: "true", then let it decide.
`;

/** `axon policy suggest <pod|namespace>`. */
export function policySuggestCommand(context: Context): Command {
  return addAgentOptions(new Command("suggest"))
    .description("write the least policy that allows what was seen")
    .argument("<subject>", "a namespace, or namespace/pod")
    .option("--since <time>", "connections recorded since: 10m, 24h, or RFC 3339", "1h")
    .option("--dns-patterns <n>", "n names or more of one domain become a pattern: *.example.com", atLeastTwo)
    .addHelpText(
      "after",
      `${about}${examples(
        ["axon policy suggest shop > shop.yaml", "for each workload of a namespace"],
        ["axon policy suggest shop/cart-0 --since 24h", "for the workload of one pod"],
        ["axon policy suggest shop --dns-patterns 5", "five names of a domain stand for all of it"],
        ["axon policy suggest shop | axon policy preview -f -", "and what it would do"],
      )}`,
    )
    .action(async (subject: string, options: SuggestOptions) => {
      const flows = await seenSince(context, options, parseTime(options.since, context.now()), true);
      const wants = await wanted(context, options, subject);
      const policies = suggestPolicies(
        flows.filter(({ wasForwarded }) => wasForwarded),
        wants,
        options.dnsPatterns === undefined ? {} : { patternsFrom: options.dnsPatterns },
      );
      if (policies.length === 0)
        throw new CliError(exitCode.notFound, {
          what: "nothing to make a policy from: no connection was recorded",
          object: subject,
          fix: "look further back with --since, or wait until there is traffic",
        });
      const texts = policies.map((policy) => dump(policy, { noRefs: true, lineWidth: 110 }));
      await context.stdout.write(texts.join("---\n"));
    });
}

function atLeastTwo(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 2) return number;
  throw new InvalidArgumentError("want a whole number of names, 2 or more");
}

async function wanted(
  context: Context,
  options: AgentOptions,
  subject: string,
): Promise<(side: SandboxSide) => boolean> {
  if (!subject.includes("/")) return ({ labels }) => namespaceOf(labels) === subject;
  const endpoints = await allEndpoints(context, options);
  const pod = endpoints.find(({ namespace, pod: name }) => `${namespace}/${name}` === subject);
  if (pod === undefined)
    throw new CliError(exitCode.notFound, {
      what: "no such pod",
      object: subject,
      fix: "see `axon endpoint list`",
    });
  const labels = new Set(pod.labels);
  return (side) => {
    const lines = Object.entries(side.labels).map(([key, value]) => (value === "" ? key : `${key}=${value}`));
    return lines.length > 0 && lines.every((line) => labels.has(line));
  };
}
