import { apiPath, type EndpointView, type PolicyRowView } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, addAgentOptions, askWhoKnows } from "../agents.ts";
import type { Context } from "../context.ts";
import { ageText, type OutputOptions, orDash, outputOption, printData } from "../output.ts";
import { formatTable } from "../table.ts";
import { configCommand } from "./endpoint-config.ts";
import { examples, labelsText } from "./help.ts";
import { listCommand, withNode } from "./list.ts";

const what = "cannot read the endpoints";

/** `axon endpoint list|get`. */
export function endpointCommand(context: Context): Command {
  const list = listCommand<EndpointView>(context, {
    command: new Command("list")
      .alias("ls")
      .description("list the endpoints: the pods on a node, and the node itself"),
    path: apiPath.endpoints,
    what,
    header: ["ID", "POD", "STATE", "IDENTITY", "POLICY", "IPV4", "IPV6", "INTERFACE", "AGE"],
    row: (endpoint, { now }) => [
      `${endpoint.id}`,
      nameOf(endpoint),
      endpoint.message === undefined ? endpoint.state : `${endpoint.state}: ${endpoint.message}`,
      `${endpoint.identity}`,
      endpoint.enforcement,
      addressText(endpoint, endpoint.ipv4),
      addressText(endpoint, endpoint.ipv6),
      orDash(endpoint.interface),
      ageText(now(), endpoint.created),
    ],
    empty: "no endpoints",
  }).addHelpText(
    "after",
    examples(
      ["axon endpoint list", "all endpoints of the lab"],
      ["axon endpoint list --node node2", "those of one node"],
      ["axon endpoint list -o json", "with labels, MAC and container id"],
    ),
  );
  return new Command("endpoint")
    .alias("ep")
    .description("endpoints: the pods on a node, the node itself, and their policy")
    .addCommand(list)
    .addCommand(getCommand(context))
    .addCommand(configCommand(context));
}

/** An address; one that stays with the pod's name says so. */
function addressText({ fixedAddresses = [] }: EndpointView, address: string | undefined): string {
  return address !== undefined && fixedAddresses.includes(address) ? `${address} (fixed)` : orDash(address);
}

function getCommand(context: Context): Command {
  return addAgentOptions(new Command("get"))
    .description("show one endpoint and the policy rows that the kernel enforces for it")
    .argument("<endpoint>", "id, namespace/pod, IP address, or `host` for the node itself")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        ["axon endpoint get default/web", "by pod"],
        ["axon endpoint get 10.200.0.7", "by address"],
        ["axon endpoint get 42 --node node1", "by id (ids are of a node)"],
        ["axon endpoint get host --node node1", "the node itself: what host policies make of it"],
      ),
    )
    .action(async (name: string, options: AgentOptions & OutputOptions) => {
      const found = await find(context, name, options);
      if (options.output !== "table") {
        const shown = found.map(({ node, endpoint }) => withNode(node, endpoint));
        await printData(context, options.output, shown.length === 1 ? shown[0] : shown);
        return;
      }
      for (const { node, endpoint } of found)
        await context.stdout.write(endpointText(node, endpoint, context.now()));
    });
}

interface Found {
  node: string;
  endpoint: EndpointView;
}

async function find(context: Context, name: string, options: AgentOptions): Promise<Found[]> {
  const path = `${apiPath.endpoints}/${encodeURIComponent(name)}`;
  const answers = await askWhoKnows(context, options, {
    ask: (client) => client.get<EndpointView>(path, what, context.signal),
    unknown: { what: "no such endpoint", object: name, fix: "see `axon endpoint list`" },
  });
  return answers.map(({ node, value }) => ({ node, endpoint: value }));
}

function nameOf(endpoint: EndpointView): string {
  return endpoint.kind === "host" ? `${endpoint.pod} (host)` : `${endpoint.namespace}/${endpoint.pod}`;
}

function endpointText(node: string, endpoint: EndpointView, now: number): string {
  const lines: [string, string][] = [
    ["Endpoint:", `${endpoint.id}${node === "" ? "" : ` on ${node}`}`],
    ["Pod:", nameOf(endpoint)],
    ["State:", endpoint.message === undefined ? endpoint.state : `${endpoint.state}: ${endpoint.message}`],
    ["Identity:", `${endpoint.identity}`],
    ["Labels:", labelsText(endpoint.labels)],
    ["IPv4:", orDash(endpoint.ipv4)],
    ["IPv6:", orDash(endpoint.ipv6)],
    ["MAC:", orDash(endpoint.mac)],
    ["Interface:", `${orDash(endpoint.interface)} (${orDash(endpoint.ifindex)})`],
    ["Policy:", `${endpoint.enforcement} (policy ${endpoint.policyId})`],
    ["Created:", `${endpoint.created} (${ageText(now, endpoint.created)} ago)`],
  ];
  if (endpoint.policyAuditMode === true) lines.push(["Audit:", "what policy would drop is only reported"]);
  const head = lines.map(([name, value]) => `${name.padEnd(11)}${value}`).join("\n");
  return `${head}\n${policyText(endpoint)}`;
}

function peerText({ identity, prefix }: PolicyRowView): string {
  if (identity === 0) return prefix ?? "any";
  return prefix === undefined ? `${identity}` : `${identity} in ${prefix}`;
}

function policyText(endpoint: EndpointView): string {
  const rows = endpoint.policy ?? [];
  if (rows.length === 0) return "";
  const header = ["DIRECTION", "PEER", "PROTOCOL", "PORT", "VERDICT", "PRECEDENCE", "RULE", "POLICIES"];
  const cells = rows.map((row) => [
    row.direction,
    peerText(row),
    row.protocol,
    row.port,
    row.verdict,
    `${row.precedence}`,
    `${row.ruleId}`,
    orDash(row.policies.join(",")),
  ]);
  return `\n${formatTable(header, cells)}`;
}
