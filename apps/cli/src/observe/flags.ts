import { type Command, InvalidArgumentError, Option } from "commander";
import type { FilterBuilder, Selector, Side } from "./builder.ts";
import {
  oneOf,
  parseDropReason,
  parseEventType,
  parseHeader,
  parseIdentity,
  parseInterface,
  parseNumber,
  parsePort,
  parseRawFilter,
  parseTcpFlags,
  parseWorkload,
  typeNames,
  verdicts,
} from "./values.ts";

interface SelectorFlag {
  readonly selector: Selector;
  readonly flag: string;
  readonly short?: string;
  readonly value: string;
  readonly says: string;
  readonly parse?: (text: string) => unknown;
}

const selectors: readonly SelectorFlag[] = [
  { selector: "pod", flag: "pod", value: "[namespace/]pod", says: "pod name prefix" },
  { selector: "namespace", flag: "namespace", short: "n", value: "namespace", says: "namespace" },
  {
    selector: "label",
    flag: "label",
    short: "l",
    value: "selector",
    says: 'label selector ("k8s:app=web", "tier in (a,b)")',
  },
  { selector: "ip", flag: "ip", value: "ip|cidr", says: "address or CIDR" },
  { selector: "port", flag: "port", value: "port", says: "port", parse: parsePort },
  { selector: "service", flag: "service", value: "[namespace/]service", says: "Service name prefix" },
  { selector: "workload", flag: "workload", value: "[kind/]name", says: "workload", parse: parseWorkload },
  {
    selector: "identity",
    flag: "identity",
    value: "identity",
    says: "identity (number or host, world, ...)",
    parse: parseIdentity,
  },
  { selector: "fqdn", flag: "fqdn", value: "name", says: "DNS name (* is a wildcard)" },
  { selector: "cluster_name", flag: "cluster", value: "cluster", says: "cluster" },
  {
    selector: "process",
    flag: "process",
    value: "binary",
    says: "process (curl, /usr/bin/*)",
  },
];

const sideWords: Record<Side, string> = { any: "with this", from: "from this", to: "to this" };

/** An option whose every use tells the builder, in the order of the command line. */
function filterOption(
  flags: string,
  description: string,
  group: string,
  use: (text: string) => void,
): Option {
  return new Option(flags, description)
    .helpGroup(group)
    .argParser((text: string, before: string[] | undefined) => {
      use(text);
      return [...(before ?? []), text];
    });
}

function addSelectors(command: Command, builder: FilterBuilder): void {
  for (const side of ["any", "from", "to"] as const) {
    for (const { selector, flag, short, value, says, parse } of selectors) {
      const long = side === "any" ? `--${flag}` : `--${side}-${flag}`;
      const flags = side === "any" && short !== undefined ? `-${short}, ${long}` : long;
      const group =
        side === "any"
          ? "Filters on either side:"
          : `Filters on the ${side === "from" ? "source" : "destination"}:`;
      command.addOption(
        filterOption(`${flags} <${value}>`, `flows ${sideWords[side]} ${says}`, group, (text) =>
          builder.side(side, selector, parse === undefined ? text : parse(text)),
        ),
      );
    }
    const name = side === "any" ? "all-namespaces" : `${side}-all-namespaces`;
    const flags = side === "any" ? `-A, --${name}` : `--${name}`;
    command.addOption(
      new Option(flags, `flows ${sideWords[side]} pod in any namespace`).helpGroup("Filters on either side:"),
    );
    command.on(`option:${name}`, () => builder.side(side, "pod", "/"));
  }
}

/** Adds all filter flags of `hubble observe`. */
export function addFilterFlags(command: Command, builder: FilterBuilder): void {
  const group = "Filters on the event:";
  const add = (flags: string, description: string, use: (text: string) => void): void => {
    command.addOption(filterOption(flags, description, group, use));
  };
  command.addOption(new Option("--not", "the next filter excludes what it matches").helpGroup(group));
  command.on("option:not", () => builder.not());
  add("-t, --type <type[:subtype]>", `event type: ${typeNames.join(", ")}; as trace:to-endpoint`, (text) =>
    builder.plain("event_type", parseEventType(text)),
  );
  add("--verdict <verdict>", "forwarded, dropped, error, audit, redirected, traced, translated", (text) =>
    builder.plain("verdict", ...oneOf(verdicts, text)),
  );
  add("--drop-reason-desc <reason>", "drop reason, as POLICY_DENIED", (text) =>
    builder.plain("drop_reason_desc", parseDropReason(text)),
  );
  add("--protocol <protocol>", "tcp, udp, icmp, icmpv4, icmpv6, sctp, dns, http", (text) =>
    builder.plain("protocol", ...text.split(",")),
  );
  add("--tcp-flags <flags>", "TCP flags that must be set, as SYN,ACK", (text) =>
    builder.plain("tcp_flags", parseTcpFlags(text)),
  );
  add("--traffic-direction <direction>", "ingress or egress", (text) =>
    builder.plain("traffic_direction", ...oneOf(["INGRESS", "EGRESS"], text)),
  );
  add("--ip-version <version>", "4 or 6", (text) => builder.plain("ip_version", ipVersion(text)));
  command.addOption(new Option("-4, --ipv4", "IPv4 only").helpGroup(group));
  command.on("option:ipv4", () => builder.plain("ip_version", "IPv4"));
  command.addOption(new Option("-6, --ipv6", "IPv6 only").helpGroup(group));
  command.on("option:ipv6", () => builder.plain("ip_version", "IPv6"));
  add("--interface <name|index>", "network interface", (text) =>
    builder.plain("interface", parseInterface(text)),
  );
  add("--node-name <pattern>", "[cluster/]node, * is a wildcard", (text) => builder.plain("node_name", text));
  add("--node-label <selector>", "label selector on the node", (text) => builder.plain("node_labels", text));
  add("--uuid <uuid>", "one flow", (text) => builder.plain("uuid", text));
  add("--snat-ip <ip|cidr>", "translated source address", (text) => builder.plain("source_ip_xlated", text));
  add("--ip-trace-id <id>", "trace id in an IP option", (text) =>
    builder.plain("ip_trace_id", parseNumber(text)),
  );
  command.addOption(new Option("--encrypted", "encrypted flows only").helpGroup(group));
  command.on("option:encrypted", () => builder.plain("encrypted", true));
  command.addOption(new Option("--unencrypted", "flows that are not encrypted").helpGroup(group));
  command.on("option:unencrypted", () => builder.plain("encrypted", false));
  add("--trace-id <id>", "trace id of the request", (text) => builder.plain("trace_id", text));
  add("--http-status <code>", "HTTP status, as 404 or 5+", (text) => builder.plain("http_status_code", text));
  add("--http-method <method>", "HTTP method", (text) => builder.plain("http_method", text));
  add("--http-path <regex>", "HTTP path", (text) => builder.plain("http_path", text));
  add("--http-url <regex>", "HTTP URL", (text) => builder.plain("http_url", text));
  add("--http-header <key:value>", "HTTP header", (text) => builder.plain("http_header", parseHeader(text)));
  add("--dns-query <regex>", "DNS name asked for", (text) => builder.plain("dns_query", text));
  add("--allowlist <json>", "a FlowFilter as JSON; flows must match one", (text) =>
    builder.raw("allow", parseRawFilter(text)),
  );
  add("--denylist <json>", "a FlowFilter as JSON; flows must not match", (text) =>
    builder.raw("deny", parseRawFilter(text)),
  );
  addSelectors(command, builder);
}

function ipVersion(text: string): "IPv4" | "IPv6" {
  const digit = text.toLowerCase().replace(/^(ip)?v/, "");
  if (digit === "4") return "IPv4";
  if (digit === "6") return "IPv6";
  throw new InvalidArgumentError("Allowed: 4, 6.");
}
