import { apiPath, type ServiceTraceView } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, addAgentOptions, askWhoKnows } from "../agents.ts";
import type { Context } from "../context.ts";
import { usageError } from "../errors.ts";
import { type OutputOptions, orDash, outputOption, printData } from "../output.ts";
import { formatTable } from "../table.ts";
import { examples } from "./help.ts";
import { withNode } from "./list.ts";
import { hostPort } from "./service-list.ts";

const about = `
The client is a pod (namespace/name), an IP address, "host" (a process of the node itself) or "world" (somebody
outside of the cluster). A pod is asked about on its node; the others on every node, or on those of --node. Nothing
is sent: the answer is what the rows in the kernel say now.
`;

/** `axon service trace <client> <address:port[/protocol]>`. */
export function serviceTraceCommand(context: Context): Command {
  return addAgentOptions(new Command("trace"))
    .description("say what becomes of a connection to a Service: frontend, backends, path, policy, and why")
    .argument("<client>", 'namespace/pod, an IP address, "host" or "world"')
    .argument("<frontend>", "what the client dials: address:port or address:port/protocol (tcp, udp, sctp)")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `${about}${examples(
        ["axon service trace shop/cart-0 10.96.0.10:80", "from a pod to a ClusterIP"],
        ["axon service trace world 172.30.0.11:30080 --node node1", "from outside to a NodePort of node1"],
        ["axon service trace host 127.0.0.1:30053/udp", "from the node itself"],
        ["axon service trace 192.0.2.7 '[fd00::10]:443'", "from an address outside, over IPv6"],
      )}`,
    )
    .action(async (client: string, frontend: string, options: AgentOptions & OutputOptions) => {
      const query = new URLSearchParams({ client, ...parseDialled(frontend) });
      const answers = await askWhoKnows(context, options, {
        ask: (agent) =>
          agent.get<ServiceTraceView>(`${apiPath.trace}?${query}`, "cannot trace", context.signal),
        unknown: {
          what: "no node knows this client",
          object: client,
          fix: 'name a pod (see `axon endpoint list`), an IP address, "host" or "world"',
        },
      });
      if (options.output !== "table") {
        const shown = answers.map(({ node, value }) => withNode(node, value));
        await printData(context, options.output, shown.length === 1 ? shown[0] : shown);
        return;
      }
      const texts = answers.map(({ node, value }) => traceText(node, value));
      await context.stdout.write(texts.join("\n"));
    });
}

/** What is dialled, in parts. */
function parseDialled(text: string): { address: string; port: string; protocol: string } {
  const [, v6, v4, port, protocol = "tcp"] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})(?:\/([a-zA-Z]+))?$/.exec(text) ?? [];
  const address = v6 ?? v4;
  const known = ["tcp", "udp", "sctp"].includes(protocol.toLowerCase());
  if (address === undefined || port === undefined || Number(port) < 1 || Number(port) > 65_535 || !known) {
    throw usageError(
      `"${text}" is nothing a client could dial`,
      "write address:port or address:port/protocol, for example 10.96.0.10:53/udp or [fd00::10]:80",
    );
  }
  return { address, port, protocol: protocol.toUpperCase() };
}

function traceText(node: string, trace: ServiceTraceView): string {
  const { client, dialled, service, frontend, policy, selection, affinity, sourceRanges, path } = trace;
  const who = client.name === client.address ? client.kind : `${client.kind} ${client.name}`;
  const lines: [string, string][] = [
    ["Client:", `${who} (${client.address})${node === "" ? "" : ` on ${node}`}`],
    ["Dials:", `${hostPort(dialled.address, dialled.port)}/${dialled.protocol}`],
    ["Verdict:", `${trace.verdict}: ${trace.reason}`],
  ];
  if (path.at !== "none") lines.push(["Path:", `${path.at}: ${path.reason}`]);
  if (service) {
    const port = service.portName === "" ? "" : ` port ${service.portName}`;
    lines.push(["Service:", `${service.namespace}/${service.name}${port} (id ${service.id})`]);
  }
  if (frontend) {
    const { address, port, type, scope, reason } = frontend;
    lines.push(["Frontend:", `${hostPort(address, port)} ${type}, scope ${scope}: ${reason}`]);
  }
  if (sourceRanges)
    lines.push(["Sources:", `${sourceRanges.allowed ? "allowed" : "refused"}: ${sourceRanges.reason}`]);
  if (policy) lines.push(["Policy:", `${policy.name}: ${policy.reason}`]);
  if (selection) lines.push(["Chooses:", `${selection.algorithm}: ${selection.reason}`]);
  if (affinity) lines.push(["Affinity:", affinityText(affinity)]);
  const head = lines.map(([name, value]) => `${name.padEnd(10)}${value}`).join("\n");
  return `${head}\n${backendTable(trace)}`;
}

function affinityText({
  timeoutS,
  backend,
  honoured,
  reason,
}: NonNullable<ServiceTraceView["affinity"]>): string {
  const had = backend === undefined ? "" : `${honoured ? "goes to" : "had"} ${backend}, `;
  return `${timeoutS}s: ${had}${reason}`;
}

function backendTable({ backends }: ServiceTraceView): string {
  if (backends.length === 0) return "";
  const rows = backends.map((backend) => [
    hostPort(backend.address, backend.port),
    `${(backend.share * 100).toFixed(1)}%`,
    backend.local ? "this node" : orDash(backend.node),
    orDash(backend.pod),
    backend.sees,
    backend.why,
  ]);
  return `\n${formatTable(["BACKEND", "SHARE", "NODE", "POD", "SEES", "BECAUSE"], rows)}`;
}
