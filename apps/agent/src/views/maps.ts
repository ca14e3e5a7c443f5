import { ConfigFlags, EpFlags } from "@axoneme/abi";
import { formatIp, formatMac, formatPrefix, type Ip } from "@axoneme/base";
import type { DatapathMaps } from "@axoneme/datapath";
import { readMetrics, readServiceRows } from "@axoneme/datapath";
import { dropReasonText, protocolName } from "@axoneme/flow";
import { choicesOf } from "@axoneme/loadbalancer";
import type { MapDumpView, MapEntryView, MapName } from "@axoneme/observe";

import { algorithmOf, flagsOf, scopeOf, typeOf } from "../lb/views.ts";

/** Rows answered when the caller gives no limit. */
export const defaultMapLimit = 100_000;

interface Dump {
  readonly maps: readonly { readonly name: string; readonly maxEntries: number }[];
  readonly columns: readonly string[];
  rows(maps: DatapathMaps): MapEntryView[];
}

const at = (ip: Ip, port: number) =>
  formatIp(ip).includes(":") ? `[${formatIp(ip)}]:${port}` : `${formatIp(ip)}:${port}`;
const isSet = (ip: Ip) => ip.some((byte) => byte !== 0);
const paths = ["?", "peer", "stack", "neighbour", "tunnel", "direct"];
const tcpFlagNames = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
const flagText = (flags: number) => tcpFlagNames.filter((_, bit) => flags & (1 << bit)).join(",");
/** The kernel's rows say when they end on the clock since boot; people ask how long they last. */
const remaining = (expiresS: number) => Math.max(0, expiresS - monotonicS());
/** Seconds of CLOCK_MONOTONIC, the datapath's clock. */
const monotonicS = () => Number(process.hrtime.bigint() / 1_000_000_000n);
const verdicts = ["allow", "deny", "default-deny", "audit"];

/** Reads and decodes one of the datapath's maps. */
export function mapView(name: MapName, maps: DatapathMaps, limit: number): MapDumpView {
  const dump = dumps(maps)[name];
  const rows = dump.rows(maps);
  return {
    name,
    maps: dump.maps.map((m) => m.name),
    entries: rows.length,
    maxEntries: Math.max(...dump.maps.map((m) => m.maxEntries)),
    columns: [...dump.columns],
    rows: rows.slice(0, limit),
    ...(rows.length > limit ? { truncated: true } : {}),
  };
}

function dumps(maps: DatapathMaps): Record<MapName, Dump> {
  return {
    endpoints: {
      maps: [maps.endpoints.raw],
      columns: ["ip", "endpoint", "identity", "policy", "ifindex", "mac", "hostMac", "flags"],
      rows: endpointRows,
    },
    ipcache: {
      maps: [maps.ipcache.raw],
      columns: ["prefix", "identity", "node", "direct"],
      rows: ipcacheRows,
    },
    cidrs: { maps: [maps.cidrs.raw], columns: ["prefix", "number"], rows: cidrRows },
    policy: {
      maps: [maps.policy.raw, maps.policyHeads.raw],
      columns: [
        "policy",
        "direction",
        "identity",
        "prefix",
        "protocol",
        "port",
        "shape",
        "verdict",
        "precedence",
        "rule",
      ],
      rows: policyRows,
    },
    ct: {
      maps: [maps.ct.raw],
      columns: [
        "protocol",
        "a",
        "b",
        "initiator",
        "flags",
        "pathA",
        "pathB",
        "identityA",
        "identityB",
        "tcpA",
        "tcpB",
        "expiresInS",
        "epoch",
      ],
      rows: ctRows,
    },
    nat: {
      maps: [maps.nat.raw],
      columns: ["protocol", "kind", "from", "to", "becomes", "expiresInS"],
      rows: natRows,
    },
    lb: {
      maps: [maps.services.raw, maps.slots, maps.backends.raw],
      columns: ["frontend", "protocol", "scope", "id", "algorithm", "flags", "slots", "backend", "backendId"],
      rows: lbRows,
    },
    frags: { maps: [maps.frags.raw], columns: ["protocol", "source", "destination", "id"], rows: fragRows },
    metrics: { maps: [maps.metrics], columns: ["reason", "direction", "packets", "bytes"], rows: metricRows },
    config: { maps: [maps.config.raw], columns: ["option", "value"], rows: configRows },
  };
}

function endpointRows(maps: DatapathMaps): MapEntryView[] {
  return maps.endpoints.entries().map(([ip, e]) => ({
    ip: formatIp(ip),
    endpoint: e.id,
    identity: e.identity,
    policy: e.policyId,
    ifindex: e.ifindex,
    mac: formatMac(e.mac),
    hostMac: formatMac(e.hostMac),
    flags: endpointFlags(e.flags),
  }));
}

function endpointFlags(flags: number): string {
  const names = Object.entries(EpFlags).filter(([, bit]) => flags & bit);
  return names.map(([name]) => name.toLowerCase()).join(",");
}

function ipcacheRows(maps: DatapathMaps): MapEntryView[] {
  return maps.ipcache.entries().map(([key, e]) => ({
    prefix: formatPrefix({ ip: key.addr, length: key.prefixlen }),
    identity: e.identity,
    node: isSet(e.nodeIp) ? formatIp(e.nodeIp) : "",
    direct: (e.flags & 1) === 1,
  }));
}

function cidrRows(maps: DatapathMaps): MapEntryView[] {
  return maps.cidrs.entries().map(([{ addr, prefixlen }, number]) => ({
    prefix: formatPrefix({ ip: addr, length: prefixlen }),
    number,
  }));
}

function policyRows(maps: DatapathMaps): MapEntryView[] {
  const prefixes = new Map(
    maps.cidrs
      .entries()
      .map(([{ addr, prefixlen }, number]) => [number, formatPrefix({ ip: addr, length: prefixlen })]),
  );
  const rows = maps.policy.entries().map(([key, row]) => ({
    policy: key.policyId,
    direction: key.shape & 0x80 ? "egress" : "ingress",
    identity: key.identity,
    prefix: prefixes.get(key.cidr) ?? "",
    protocol: (key.shape & 0x1f) === 0 ? "ANY" : protocolName(key.proto),
    port: (key.shape & 0x1f) <= 8 ? "ANY" : key.port,
    shape: key.shape & 0x1f,
    verdict: verdicts[row.verdict] ?? "?",
    precedence: row.precedence,
    rule: row.ruleId,
  }));
  const heads = maps.policyHeads.entries().map(([key, head]) => ({
    policy: key >>> 1,
    direction: key & 1 ? "egress" : "ingress",
    identity: "default",
    prefix: "",
    protocol: "ANY",
    port: "ANY",
    shape: 0,
    verdict: verdicts[head.defaultVerdict] ?? "?",
    precedence: 0,
    rule: head.defaultRule,
  }));
  return [...rows, ...heads].sort((a, b) => a.policy - b.policy);
}

const ctFlagNames = [
  "initiator-b",
  "reply-seen",
  "fin-a",
  "fin-b",
  "closed",
  "audited",
  "refused",
  "masquerade",
];

function ctRows(maps: DatapathMaps): MapEntryView[] {
  return maps.ct.entries().map(([key, ct]) => {
    const [a, b] = ct.side;
    return {
      protocol: protocolName(key.proto),
      a: at(key.a, key.aport),
      b: at(key.b, key.bport),
      initiator: ct.flags & 1 ? "b" : "a",
      flags: ctFlagNames.filter((_, bit) => bit > 0 && ct.flags & (1 << bit)).join(","),
      pathA: paths[a?.path ?? 0] ?? "?",
      pathB: paths[b?.path ?? 0] ?? "?",
      identityA: a?.identity ?? 0,
      identityB: b?.identity ?? 0,
      tcpA: flagText(a?.tcpFlags ?? 0),
      tcpB: flagText(b?.tcpFlags ?? 0),
      expiresInS: remaining(ct.expiresS),
      epoch: ct.epoch,
    };
  });
}

function natRows(maps: DatapathMaps): MapEntryView[] {
  return maps.nat.entries().map(([key, nat]) => ({
    protocol: protocolName(key.proto),
    kind: key.reverse ? "reverse" : "forward",
    from: at(key.saddr, key.sport),
    to: at(key.daddr, key.dport),
    becomes: at(nat.addr, nat.port),
    expiresInS: remaining(nat.expiresS),
  }));
}

/** One row for each backend that a frontend's slots name. */
function lbRows(maps: DatapathMaps): MapEntryView[] {
  const { services, slots, backends } = readServiceRows(maps);
  const rows = new Map(backends.map(({ id, row }) => [id, row]));
  return services.flatMap(({ key, row }): MapEntryView[] => {
    const frontend = {
      frontend: at(key.addr, key.port),
      protocol: protocolName(key.proto),
      scope: scopeOf(key.scope),
      id: row.serviceId,
      algorithm: algorithmOf(row.algorithm),
      flags: [typeOf(row.flags), ...flagsOf(row.flags)].join(","),
    };
    if (row.slots === 0) return [{ ...frontend, slots: 0, backend: "none", backendId: 0 }];
    const counts = new Map<number, number>();
    for (const id of choicesOf(row, slots)) counts.set(id, (counts.get(id) ?? 0) + 1);
    return [...counts].map(([backendId, count]) => {
      const backend = rows.get(backendId);
      return {
        ...frontend,
        slots: count,
        backend: backend ? at(backend.addr, backend.port) : "missing",
        backendId,
      };
    });
  });
}

function fragRows(maps: DatapathMaps): MapEntryView[] {
  return maps.frags.entries().map(([key, ports]) => ({
    protocol: protocolName(key.proto),
    source: at(key.saddr, ports.sport),
    destination: at(key.daddr, ports.dport),
    id: key.id,
  }));
}

function metricRows(maps: DatapathMaps): MapEntryView[] {
  return readMetrics(maps.metrics).map(({ reason, direction, packets, bytes }) => ({
    reason: reason === 0 ? "forwarded" : dropReasonText(reason),
    direction,
    packets: packets.toString(),
    bytes: bytes.toString(),
  }));
}

function configRows(maps: DatapathMaps): MapEntryView[] {
  const config = maps.config.get(0);
  if (!config) return [];
  return Object.entries(config).map(([option, value]) => ({
    option,
    value:
      option === "flags"
        ? configFlagText(Number(value))
        : value instanceof Uint8Array
          ? isSet(value)
            ? formatIp(value)
            : ""
          : Number(value),
  }));
}

function configFlagText(flags: number): string {
  const names = Object.entries(ConfigFlags).filter(([, bit]) => flags & bit);
  return names.map(([name]) => name.toLowerCase()).join(",");
}
