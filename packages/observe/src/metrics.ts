import {
  at,
  dropReasonName,
  dropReasonText,
  eventFlag,
  eventType,
  type FlowResolver,
  icmpText,
  ipProtocol,
  matchTypeOf,
  matchTypeText,
  type Part,
  partsOf,
  protocolName,
  recordSize,
  tracePointText,
  traceReasonReply,
  traceReasonUnknown,
} from "@axoneme/flow";
import type { Registry } from "prom-client";
import { BoundedCounter } from "./bounded-counter.ts";

export interface FlowMetricsOptions {
  readonly registry: Registry;
  /** Names the rule behind a verdict, for the `match` label. */
  readonly resolver: Pick<FlowResolver, "ruleById">;
  /** Series of one metric at most; what comes later is folded into one with the value "other" (default 512). */
  readonly seriesLimit?: number;
}

/** Host identity: its verdicts are not counted (as in the field). */
const hostIdentity = 1;

/**
 * The field's hubble_* counters that need no names of pods, counted on the raw bytes of every record: what an event
 * costs here it costs a million times a second.
 */
export class FlowMetrics {
  readonly #resolver: Pick<FlowResolver, "ruleById">;
  readonly #flows: BoundedCounter;
  readonly #drops: BoundedCounter;
  readonly #verdicts: BoundedCounter;
  readonly #tcp: BoundedCounter;
  readonly #icmp: BoundedCounter;
  readonly #ports: BoundedCounter;
  readonly #lost: BoundedCounter;

  constructor(options: FlowMetricsOptions) {
    this.#resolver = options.resolver;
    const make = (name: string, help: string, labels: readonly string[], texts: (key: number) => string[]) =>
      new BoundedCounter({
        registry: options.registry,
        name,
        help,
        labels,
        texts,
        limit: options.seriesLimit ?? 512,
      });
    this.#flows = make(
      "hubble_flows_processed_total",
      "Flows seen, whether or not anybody read them",
      ["protocol", "type", "subtype", "verdict"],
      flowLabels,
    );
    this.#drops = make("hubble_drop_total", "Flows with verdict DROPPED", ["reason", "protocol"], (key) => [
      dropReasonName(key & 0xff),
      protocolName(key >> 8),
    ]);
    this.#verdicts = make(
      "hubble_policy_verdicts_total",
      "Policy verdicts",
      ["direction", "match", "action"],
      (key) => [
        (key & 1) === 0 ? "ingress" : "egress",
        matchTypeText((key >> 1) & 7),
        actions[key >> 4] ?? "forwarded",
      ],
    );
    this.#tcp = make("hubble_tcp_flags_total", "TCP flags of forwarded flows", ["flag", "family"], (key) => [
      tcpFlagNames[key >> 1] ?? "",
      family(key & 1),
    ]);
    this.#icmp = make("hubble_icmp_total", "ICMP flows", ["family", "type"], (key) => [
      family(key & 1),
      icmpText((key & 1) === 1, (key >> 1) & 0xff, key >> 9),
    ]);
    this.#ports = make(
      "hubble_port_distribution_total",
      "Forwarded flows that are not replies, by destination port",
      ["protocol", "port"],
      (key) => [protocolName(key & 0xff), `${key >> 8}`],
    );
    this.#lost = make(
      "hubble_lost_events_total",
      "Events that were lost before anybody saw them",
      ["source"],
      (key) => [lostSources[key] ?? "unknown"],
    );
  }

  /** Counts `count` records that stand in `source` from `offset` on, `stride` bytes apart. */
  count(source: Uint8Array, count: number, offset = 0, stride = recordSize): void {
    const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
    for (let i = 0; i < count; i++) this.#one(view, offset + i * stride);
  }

  /** Counts losses: in the kernel's ring buffer, or of readers that were too slow for the store. */
  countLoss(source: "perf_event_ring_buffer" | "hubble_ring_buffer", count: number): void {
    this.#lost.add(lostSources.indexOf(source), count);
  }

  #one(view: DataView, o: number): void {
    const type = view.getUint8(o + at.type);
    const subtype = view.getUint8(o + at.subtype);
    const flags = view.getUint8(o + at.flags);
    const proto = view.getUint8(o + at.proto);
    for (const part of partsOf(type, subtype, flags)) {
      const verdict = verdictNumber(part, subtype);
      const eventIs = part.kind === "verdict" ? eventType.policyVerdict : part.type;
      const shown = part.kind === "verdict" ? 0 : subtype;
      this.#flows.add(((proto * 256 + eventIs) * 256 + shown) * 8 + verdict, 1);
      if (verdict === dropped)
        this.#drops.add((proto << 8) | this.#dropReason(view, o, part, type, subtype), 1);
      if (part.kind === "verdict") this.#verdict(view, o, part);
      if (verdict === forwarded) this.#forwarded(view, o, part, proto, flags);
      if (proto === ipProtocol.icmp || proto === ipProtocol.icmpv6) {
        const of = view.getUint8(o + at.icmpType) | (view.getUint8(o + at.icmpCode) << 8);
        this.#icmp.add((of << 1) | (proto === ipProtocol.icmpv6 ? 1 : 0), 1);
      }
    }
  }

  #forwarded(view: DataView, o: number, part: Part, proto: number, flags: number): void {
    if (proto === ipProtocol.tcp) {
      const flag = tcpFlagOf(view.getUint8(o + at.tcpFlags));
      if (flag >= 0) this.#tcp.add((flag << 1) | ((flags & eventFlag.ipv6) === 0 ? 0 : 1), 1);
    }
    const reason = view.getUint8(o + at.reason) & 0x7f;
    const mayReply = reason === traceReasonReply || reason === traceReasonUnknown;
    if (part.kind === "event" && (part.type !== eventType.trace || mayReply)) return;
    const hasPorts = proto === ipProtocol.tcp || proto === ipProtocol.udp || proto === ipProtocol.sctp;
    this.#ports.add(((hasPorts ? view.getUint16(o + at.dport) : 0) << 8) | proto, 1);
  }

  #verdict(view: DataView, o: number, part: Part & { kind: "verdict" }): void {
    if (view.getUint32(o + at.srcIdentity, true) === hostIdentity) return;
    const egress = part.direction === "EGRESS";
    const rule = view.getUint32(o + (egress ? at.ruleEgress : at.ruleIngress), true);
    const match = matchTypeOf(this.#resolver.ruleById(rule), part.outcome);
    const action = part.outcome === "allowed" ? 0 : part.outcome === "denied" ? 1 : 2;
    this.#verdicts.add((action << 4) | (match << 1) | (egress ? 1 : 0), 1);
  }

  #dropReason(view: DataView, o: number, part: Part, type: number, subtype: number): number {
    if (type === eventType.drop) return subtype;
    const egress = part.kind === "verdict" && part.direction === "EGRESS";
    const rule = this.#resolver.ruleById(view.getUint32(o + (egress ? at.ruleEgress : at.ruleIngress), true));
    return rule === undefined || rule.defaultDeny === true ? 133 : 181;
  }
}

const forwarded = 1;
const dropped = 2;
const verdictNames = [
  "VERDICT_UNKNOWN",
  "FORWARDED",
  "DROPPED",
  "ERROR",
  "AUDIT",
  "REDIRECTED",
  "TRACED",
  "TRANSLATED",
];
const actions = ["forwarded", "dropped", "audit"];
const tcpFlagNames = ["SYN", "SYN-ACK", "FIN", "RST"];
const lostSources = ["perf_event_ring_buffer", "observer_events_queue", "hubble_ring_buffer"];

function family(bit: number): string {
  return bit === 0 ? "IPv4" : "IPv6";
}

function verdictNumber(part: Part, subtype: number): number {
  if (part.kind === "verdict")
    return part.outcome === "denied" ? dropped : part.outcome === "audit" ? 4 : forwarded;
  if (part.type === eventType.drop) return dropped;
  if (part.type === eventType.trace) return forwarded;
  return subtype === 2 || subtype === 4 ? 7 : 6;
}

/** Index in tcpFlagNames; -1 when the flags are none of these. */
function tcpFlagOf(bits: number): number {
  if ((bits & 4) !== 0) return 3;
  if ((bits & 1) !== 0) return 2;
  if ((bits & 2) !== 0) return (bits & 16) !== 0 ? 1 : 0;
  return -1;
}

function flowLabels(key: number): string[] {
  const verdict = key % 8;
  const subtype = Math.floor(key / 8) % 256;
  const type = Math.floor(key / 2048) % 256;
  const proto = Math.floor(key / 524_288);
  return [protocolName(proto), ...typeLabels(type, subtype), verdictNames[verdict] ?? ""];
}

function typeLabels(type: number, subtype: number): [string, string] {
  if (type === eventType.drop) return ["Drop", dropReasonText(subtype)];
  if (type === eventType.trace) return ["Trace", tracePointText(subtype)];
  return type === eventType.policyVerdict ? ["PolicyVerdict", ""] : ["Unknown", `${type}`];
}
