import { parseLabelLines } from "@axoneme/identity";
import { apiPath, type WhySideView } from "@axoneme/observe";
import type { SandboxQuery, SandboxSide } from "@axoneme/policy";
import { Command } from "commander";
import { dump } from "js-yaml";
import { type AgentOptions, addAgentOptions } from "../agents.ts";
import type { Context } from "../context.ts";
import { exitCode } from "../errors.ts";
import { colorsOf, type OutputOptions, outputOption, printData } from "../output.ts";
import { type Asked, type AskedOptions, questionsOf } from "../policy/asked.ts";
import { type ClusterOptions, clusterInstead, kubeconfigOption } from "../policy/cluster-option.ts";
import { readTexts, type WrittenRule, withLines } from "../policy/lines.ts";
import {
  allEndpoints,
  ask,
  findPlace,
  type Place,
  placeByName,
  throughService,
  unknownPlace,
} from "../policy/places.ts";
import type { L4 } from "../policy/ports.ts";
import { serviceByName } from "../policy/service.ts";
import { missingPolicies, type ShownSide, type WhyAnswer } from "../policy/why-answer.ts";
import { whyFromCluster } from "../policy/why-cluster.ts";
import { examples } from "./help.ts";

const about = `
Each side is a pod (namespace/name), an address, a DNS name that the source has asked for, a Service (its address, or
namespace/name), or an entity (world, host, remote-node, kube-apiserver, ...). Egress is answered by the agent of the source's node, ingress
by that of the destination's, each from its engine and from the rows in the kernel. Nothing is sent. Without a port the
question is about a ping. Exit code 0: allowed; 5: denied.

Without agents at hand, --kubeconfig answers from what the API server knows, by the same engine, and says what it does
not know. So does a kubeconfig of the environment where there is no agent and no lab.
`;

interface WhyOptions extends AskedOptions, ClusterOptions {
  readonly manifests?: string[];
}

/** `axon why <source> <destination> [port]`. */
export function whyCommand(context: Context): Command {
  return addAgentOptions(new Command("why"))
    .description("say whether a connection is allowed, by which rule, and what would have to be added")
    .argument("[source]", "who connects")
    .argument("[destination]", "to whom")
    .argument("[port]", "80, 80/tcp, 53/udp, icmp/8 (default: a ping)")
    .option("--flow <uuid>", "about a flow that the nodes still hold")
    .option("-f, --file <file>", "about flows in a file; -: what `axon hubble observe -o json` prints")
    .option("--manifests <files...>", "YAML files of policies: names the line of each rule")
    .addOption(kubeconfigOption())
    .addOption(outputOption())
    .addHelpText(
      "after",
      `${about}${examples(
        ["axon why shop/web shop/cart 8080", "from pod to pod"],
        ["axon why shop/web kube-system/kube-dns 53/udp", "to a Service: a pod behind it"],
        ["axon why shop/web api.example.com 443", "to a name that the pod has asked for"],
        ["axon why world shop/web 80/tcp -o yaml", "from outside, as data"],
        ["axon hubble observe --verdict dropped --last 1 -o json | axon why -f -", "what was dropped last"],
        ["axon why shop/web shop/cart 8080 --kubeconfig ~/.kube/config", "without any agent"],
        ["axon why shop/web shop/cart 8080 --manifests shop/*.yaml", "with the lines of the rules"],
      )}`,
    )
    .action(
      async (
        from: string | undefined,
        to: string | undefined,
        port: string | undefined,
        options: WhyOptions & OutputOptions,
      ) => {
        const texts = await readTexts(options.manifests ?? []);
        const cluster = await clusterInstead(context, options);
        const answers: WhyAnswer[] = [];
        for (const asked of await questionsOf(context, options, [from, to, port])) {
          const { seen } = asked;
          const answer = cluster ? whyFromCluster(cluster, asked) : await why(context, options, asked);
          const sides = answer.sides.map((one) => withLines(one, texts));
          answers.push({ ...answer, sides, ...(seen && { seen }) });
        }
        if (answers.some(({ verdict }) => verdict === "denied")) context.setExitCode(exitCode.denied);
        if (options.output !== "table") {
          await printData(context, options.output, answers.length === 1 ? answers[0] : answers);
        } else await context.stdout.write(answers.map((answer) => textOf(context, answer)).join("\n"));
      },
    );
}

async function why(
  context: Context,
  options: AgentOptions,
  { from, to, l4: asked }: Asked,
): Promise<WhyAnswer> {
  const endpoints = await allEndpoints(context, options);
  const source = findPlace(endpoints, from);
  if (source === undefined) throw unknownPlace(from);
  let destination =
    findPlace(endpoints, to) ??
    (await serviceByName(context, source, to, asked)) ??
    (await placeByName(context, source, to));
  if (destination === undefined) throw unknownPlace(to);
  let l4 = asked;
  const dialled = { address: destination.peer, port: asked.port, protocol: asked.protocol };
  const through =
    destination.endpoint === undefined && /[.:]/.test(destination.peer)
      ? await throughService(context, endpoints, source, dialled)
      : undefined;
  if (through !== undefined) {
    destination = through.place;
    l4 = { ...asked, port: through.port };
  }
  const sides = await Promise.all([
    ...(source.endpoint ? [side(context, "egress", source, destination, l4)] : []),
    ...(destination.endpoint ? [side(context, "ingress", destination, source, l4)] : []),
  ]);
  const isDenied = sides.some(({ verdict }) => verdict === "deny" || verdict === "default-deny");
  return {
    source: from,
    destination: to,
    protocol: l4.protocol,
    port: l4.port,
    ...(through === undefined ? {} : { service: through.service }),
    verdict: isDenied ? "denied" : "allowed",
    sides,
    missing: missingPolicies(sides, queryOf(sides, source, destination, l4)),
  };
}

function side(
  context: Context,
  direction: "ingress" | "egress",
  of: Place,
  peer: Place,
  { proto, port }: L4,
): Promise<WhySideView> {
  const { endpoint } = of;
  if (endpoint === undefined) throw unknownPlace(of.text);
  const query = new URLSearchParams({
    endpoint: String(endpoint.id),
    direction,
    peer: peer.peer,
    proto: String(proto),
    port: String(port),
  });
  return ask<WhySideView>(context, endpoint.agent, `${apiPath.why}?${query}`, "cannot ask why");
}

/** The connection as policies look at it. */
function queryOf(
  sides: readonly WhySideView[],
  source: Place,
  destination: Place,
  { proto, port }: L4,
): SandboxQuery {
  const seen = sides.find(({ direction }) => direction === "egress");
  const met = sides.find(({ direction }) => direction === "ingress");
  const asSide = (place: Place, labels: readonly string[] | undefined): SandboxSide => ({
    isPod: place.endpoint !== undefined,
    labels: parseLabelLines(labels ?? []),
    names: place.names,
    ...(/[.:]/.test(place.peer) ? { ip: place.peer } : {}),
  });
  return {
    proto,
    port,
    source: asSide(source, source.endpoint?.labels ?? met?.peer.labels),
    destination: asSide(destination, destination.endpoint?.labels ?? seen?.peer.labels),
  };
}

function ruleText({ kind, namespace, name, path, file, line }: WrittenRule): string {
  if (kind === "Builtin") return `the agent itself (${name})`;
  const where = line === undefined ? "" : ` (${file}:${line})`;
  return `${kind} ${namespace === "" ? "" : `${namespace}/`}${name}, ${path}${where}`;
}

function sideText(context: Context, { direction, endpoint, peer, ...said }: ShownSide): string[] {
  const colors = colorsOf(context);
  const who = `${endpoint.namespace}/${endpoint.pod}`;
  const where = direction === "egress" ? `egress of ${who}` : `ingress of ${who}`;
  const isDenied = said.verdict === "deny" || said.verdict === "default-deny";
  const word = isDenied
    ? colors.red("denied")
    : said.verdict === "audit"
      ? colors.yellow("audited")
      : colors.green("allowed");
  const lines = [`${word}  ${where} on ${said.node}: ${reason(said)}`];
  for (const field of said.rule?.fields ?? []) lines.push(`         by its ${field}`);
  if (said.others.length > 0)
    lines.push(
      ...said.others.map(
        (rule) =>
          `         also matches: ${ruleText(rule)} (${rule.verdict}): ${rule.lost ?? "it ranks lower"}`,
      ),
    );
  const identity = peer.identity === undefined ? "" : `identity ${peer.identity} `;
  lines.push(`         the other side there: ${identity}${peer.labels.slice(0, 4).join(" ")}`);
  if (said.kernel !== undefined && said.kernel !== said.verdict)
    lines.push(
      colors.red(
        `         the rows in the kernel say ${said.kernel}: the agent is about to write, or it is a fault (axon status)`,
      ),
    );
  return lines;
}

function reason({ verdict, rule, isEnforced }: Pick<ShownSide, "verdict" | "rule" | "isEnforced">): string {
  if (rule === undefined) return isEnforced ? "nobody decides" : "no policy isolates it in this direction";
  if (verdict === "default-deny") return `no rule allows it, and ${ruleText(rule)} isolates it`;
  return `by ${ruleText(rule)}`;
}

function seenText({ seen }: WhyAnswer): string[] {
  if (seen === undefined) return [];
  const reason = seen.drop_reason_desc ? ` (${seen.drop_reason_desc})` : "";
  return [`         it was ${seen.verdict ?? "seen"}${reason} at ${seen.time}; today:`];
}

function textOf(context: Context, answer: WhyAnswer): string {
  const { source, destination, protocol, port, service, verdict, sides, missing: policies } = answer;
  const colors = colorsOf(context);
  const what = protocol.startsWith("ICMP") ? `${protocol} type ${port}` : `${protocol}/${port}`;
  const through = service === undefined ? "" : ` (a backend of the Service ${service})`;
  const lines = [
    colors.bold(`${source} -> ${destination} ${what}${through}: ${verdict.toUpperCase()}`),
    ...seenText(answer),
    ...sides.flatMap((one) => sideText(context, one)),
  ];
  if (sides.length === 0) lines.push("neither side is a pod of ours: no policy has a say");
  for (const policy of policies)
    lines.push("", "this would allow it:", dump(policy, { noRefs: true, lineWidth: 110 }).trimEnd());
  for (const { direction, verdict: said, rule } of sides) {
    if (said !== "deny" || rule === undefined) continue;
    lines.push(
      "",
      `${ruleText(rule)} stands in the way of ${direction}: nothing that is added helps before it is changed`,
    );
  }
  if (answer.unknown)
    lines.push("", "not known without the agents:", ...answer.unknown.map((fact) => `  ${fact}`));
  return `${lines.join("\n")}\n`;
}
