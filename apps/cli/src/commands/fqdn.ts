import { apiPath, type FqdnCacheView, type FqdnCleanView, type FqdnSelectorView } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, addAgentOptions, askAll, findAgents } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";
import { type OutputOptions, orDash, outputOption, printData } from "../output.ts";
import { examples } from "./help.ts";
import { listCommand, printAnswers, withNode } from "./list.ts";

interface CacheOptions extends AgentOptions, OutputOptions {
  match?: string;
  endpoint?: string;
  ip?: string;
  yes?: boolean;
}

/** `axon fqdn`. */
export function fqdnCommand(context: Context): Command {
  const cache = new Command("cache")
    .description("addresses that pods have learned from DNS answers")
    .addCommand(cacheList(context))
    .addCommand(cacheClean(context));
  return new Command("fqdn")
    .description("DNS names: what pods have learned, and what policies mean by their names")
    .addCommand(cache)
    .addCommand(names(context));
}

function withFilters(command: Command): Command {
  return addAgentOptions(command)
    .option("-m, --match <pattern>", "only names that match, as matchPattern of a policy does")
    .option(
      "-e, --endpoint <endpoint>",
      "only what this endpoint learned: its number, namespace/pod or address",
    )
    .option("--ip <address>", "only this address")
    .addOption(outputOption());
}

function pathOf({ match, endpoint, ip }: CacheOptions): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries({ match, endpoint, ip })) {
    if (value !== undefined) params.set(key, value);
  }
  const query = params.toString();
  return query === "" ? apiPath.fqdnCache : `${apiPath.fqdnCache}?${query}`;
}

function cacheList(context: Context): Command {
  return withFilters(new Command("list").alias("ls"))
    .description("list names, their addresses, until when they count, and the identity they have")
    .addHelpText(
      "after",
      `
STATE is "alive" until the TTL of the latest answer is over, then "kept" as long as a connection uses the address.
IDENTITY is what packets to it carry; "-": no policy names it.
${examples(
  ["axon fqdn cache list", "everything that pods have learned"],
  ["axon fqdn cache list -m '*.example.com'", "under these names"],
  ["axon fqdn cache list -e shop/web --node node1 -o json", "by one pod"],
)}`,
    )
    .action(async (options: CacheOptions) => {
      const answers = await askAll(context, options, (client) =>
        client.get<FqdnCacheView[]>(pathOf(options), "cannot read the DNS cache", context.signal),
      );
      await printAnswers(context, options, answers, {
        header: ["ENDPOINT", "POD", "NAME", "ADDRESS", "TTL", "STATE", "EXPIRES", "IDENTITY"],
        row: (entry) => [
          `${entry.endpoint}`,
          orDash(entry.pod),
          entry.name,
          entry.ip,
          `${entry.ttl}`,
          entry.state,
          entry.expires,
          orDash(entry.identity === undefined ? undefined : `${entry.identity}`),
        ],
        empty: "no DNS names: no pod has asked through the DNS proxy",
      });
    });
}

function cacheClean(context: Context): Command {
  return withFilters(new Command("clean"))
    .description("forget learned addresses: pods lose access to them until they ask again")
    .option("-y, --yes", "do not ask")
    .addHelpText(
      "after",
      `
Also addresses that connections use: those end where only a name allows them.
It asks before it does so; without a terminal it wants --yes.
${examples(
  ["axon fqdn cache clean -m 'old.example.com'", "one name, after a question"],
  ["axon fqdn cache clean --yes", "everything, on all nodes"],
)}`,
    )
    .action(async (options: CacheOptions) => {
      await confirm(context, options);
      const answers = await askAll(context, options, (client) =>
        client.post<FqdnCleanView>(pathOf(options), "cannot clean the DNS cache", context.signal),
      );
      if (options.output !== "table") {
        const views = answers.map(({ node, value }) => withNode(node, value));
        await printData(context, options.output, views);
        return;
      }
      for (const { node, value } of answers) {
        await context.stdout.write(`${node === "" ? "" : `${node}: `}removed ${value.removed} entries\n`);
      }
    });
}

async function confirm(context: Context, options: CacheOptions): Promise<void> {
  if (options.yes === true) return;
  const nodes = findAgents(context, options).map(({ node, socket }) => node || socket);
  if (context.confirm === undefined) {
    throw usageError(
      "the DNS cache is not cleaned without a word",
      "there is no terminal to ask on: add --yes",
    );
  }
  const what = options.match ?? options.ip ?? "all names";
  const question = `Forget ${what} on ${nodes.join(", ")}? Connections that only a name allows end. [y/N] `;
  if (await context.confirm(question)) return;
  throw new CliError(exitCode.failed, { what: "nothing was forgotten", cause: "the answer was not yes" });
}

function names(context: Context): Command {
  return listCommand<FqdnSelectorView>(context, {
    command: new Command("names").description(
      "show the names and patterns that policies allow, and the addresses and identities they mean now",
    ),
    path: apiPath.fqdnNames,
    what: "cannot read the names of policies",
    header: ["SELECTOR", "POLICIES", "NAMES", "ADDRESSES", "IDENTITIES"],
    row: (view) => [
      view.selector,
      orDash(view.policies.join(",")),
      orDash(shortList(view.names)),
      orDash(shortList(view.addresses.map(({ ip }) => ip))),
      orDash(view.identities.join(",")),
    ],
    orderBy: (view) => view.selector,
    empty: "no policy names DNS names",
  }).addHelpText(
    "after",
    examples(
      ["axon fqdn names", "each selector of toFQDNs with what it means now"],
      ["axon fqdn names -o yaml", "with all names and addresses"],
    ),
  );
}

/** As many as fit a line; how many there are when they do not. */
function shortList(texts: readonly string[]): string {
  const shown = texts.slice(0, 3).join(",");
  return texts.length <= 3 ? shown : `${shown} and ${texts.length - 3} more`;
}
