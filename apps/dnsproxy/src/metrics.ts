/** Default Prometheus buckets, seconds. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

class Histogram {
  private readonly counts = new Float64Array(BUCKETS.length + 1);
  private sum = 0;

  observe(seconds: number): void {
    let i = 0;
    while (i < BUCKETS.length && seconds > (BUCKETS[i] ?? 0)) i++;
    this.counts[i] = (this.counts[i] ?? 0) + 1;
    this.sum += seconds;
  }

  text(name: string, labels: string): string[] {
    const lines: string[] = [];
    let total = 0;
    for (const [i, count] of this.counts.entries()) {
      total += count;
      lines.push(`${name}_bucket{${labels},le="${BUCKETS[i] ?? "+Inf"}"} ${total}`);
    }
    lines.push(`${name}_sum{${labels}} ${this.sum}`, `${name}_count{${labels}} ${total}`);
    return lines;
  }
}

/** Why a message went no further. */
export type Lost =
  | "stray" // from nobody that the datapath sent here
  | "malformed" // a query that cannot be read
  | "in-flight" // too many queries in all
  | "pod-in-flight" // too many queries of the pod
  | "timeout" // the server did not answer
  | "spoofed" // an answer from elsewhere than asked, or to another question
  | "unmatched" // an answer to nothing that is asked
  | "send" // the kernel refused to send
  | "tcp-sessions"; // too many connections

/** What the proxy counts: the field's metrics under their names, and ours. */
export class Metrics {
  /** cilium_policy_l7_total */
  received = 0;
  forwarded = 0;
  denied = 0;
  parseErrors = 0;
  audited = 0;
  /** cilium_proxy_datapath_update_timeout_total */
  overBudget = 0;
  /** Messages for the agent that were left out. */
  unobserved = 0;
  answersLost = 0;
  readonly lost = new Map<Lost, number>();
  readonly upstream = new Histogram();
  readonly processing = new Histogram();
  readonly dataplane = new Histogram();
  readonly total = new Histogram();
  /** Read when asked for. */
  gauges: () => Readonly<Record<string, number>> = () => ({});

  lose(why: Lost): void {
    this.lost.set(why, (this.lost.get(why) ?? 0) + 1);
  }

  /** The Prometheus text format. */
  text(): string {
    const lines: string[] = [];
    const add = (name: string, type: string, help: string, rows: readonly string[]): void => {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...rows);
    };
    const l7 = {
      received: this.received,
      forwarded: this.forwarded,
      denied: this.denied,
      parse_errors: this.parseErrors,
    };
    add(
      "cilium_policy_l7_total",
      "counter",
      "DNS queries by what became of them",
      Object.entries(l7).map(([rule, n]) => `cilium_policy_l7_total{rule="${rule}",proxy_type="fqdn"} ${n}`),
    );
    const name = "cilium_proxy_upstream_reply_seconds";
    const scopes = {
      upstreamTime: this.upstream,
      processingTime: this.processing,
      dataplaneTime: this.dataplane,
      totalTime: this.total,
    };
    add(
      name,
      "histogram",
      "How long queries took, in all and in parts",
      Object.entries(scopes).flatMap(([scope, h]) =>
        h.text(name, `error="",protocol_l7="dns",scope="${scope}"`),
      ),
    );
    const plain = (metric: string, help: string, n: number): void =>
      add(metric, "counter", help, [`${metric} ${n}`]);
    plain(
      "cilium_proxy_datapath_update_timeout_total",
      "Answers that went on before the agent had let their addresses in",
      this.overBudget,
    );
    plain(
      "axoneme_dnsproxy_audited_total",
      "Queries that would have been refused, of pods whose policy only reports",
      this.audited,
    );
    plain(
      "axoneme_dnsproxy_unobserved_total",
      "Messages left out of what the agent is told of queries",
      this.unobserved,
    );
    plain(
      "axoneme_dnsproxy_answers_lost_total",
      "Answers with addresses that the agent will not hear of",
      this.answersLost,
    );
    add(
      "axoneme_dnsproxy_lost_total",
      "counter",
      "DNS messages that went no further, by cause",
      [...this.lost].map(([why, n]) => `axoneme_dnsproxy_lost_total{reason="${why}"} ${n}`),
    );
    for (const [gauge, n] of Object.entries(this.gauges())) {
      add(`axoneme_dnsproxy_${gauge}`, "gauge", gauge.replaceAll("_", " "), [
        `axoneme_dnsproxy_${gauge} ${n}`,
      ]);
    }
    return `${lines.join("\n")}\n`;
  }
}
