import type { Flow, FlowDns } from "@axoneme/flow";
import { direction, type PeerFacts } from "./context.ts";
import { InternedValues } from "./interned.ts";
import { ContextMetric, type MetricSetting, type MetricShape } from "./metric.ts";
import type { MetricSpec } from "./spec.ts";

/** Names of response codes (IANA registry of DNS RCODEs) as the field writes them. */
const rcodes: Readonly<Record<number, string>> = {
  0: "No Error",
  1: "Format Error",
  2: "Server Failure",
  3: "Non-Existent Domain",
  4: "Not Implemented",
  5: "Query Refused",
  6: "YXDomain",
  7: "YXRRSet",
  8: "NXRRSet",
  9: "NotAuth",
  10: "NotZone",
  16: "BADVERS",
};

/** One of the DNS counters: its label values are texts of the flow. */
class TextMetric {
  readonly #metric: ContextMetric;
  readonly #values: InternedValues;

  constructor(shape: Omit<MetricShape, "texts">, spec: MetricSpec, setting: MetricSetting) {
    this.#values = new InternedValues(setting.limit);
    const texts = (base: number): readonly string[] => this.#values.textsOf(base);
    this.#metric = new ContextMetric({ ...shape, texts }, spec.context, setting);
  }

  count(texts: readonly string[], flow: Flow): void {
    const { source, destination } = this.#metric;
    const of =
      flow.traffic_direction === "INGRESS"
        ? direction.ingress
        : flow.traffic_direction === "EGRESS"
          ? direction.egress
          : direction.unknown;
    const base = this.#values.idOf({ texts, pod: undefined });
    const from = source.idFor(factsOf(flow, "source"), of);
    this.#metric.add(base, of, from, destination.idFor(factsOf(flow, "destination"), of), 1);
  }

  drop(pods: ReadonlySet<string>): void {
    this.#metric.drop(pods);
  }

  dispose(): void {
    this.#metric.dispose();
  }
}

function factsOf(flow: Flow, side: "source" | "destination"): PeerFacts {
  return { endpoint: flow[side] ?? {}, ip: flow.IP?.[side] ?? "", names: flow[`${side}_names`] ?? [] };
}

/** The `dns` metrics: questions, answers, and the types of what is answered. */
export class DnsMetrics {
  readonly #queries: TextMetric;
  readonly #responses: TextMetric;
  readonly #types: TextMetric;
  readonly #withQuery: boolean;
  readonly #ignoreAaaa: boolean;

  constructor(spec: MetricSpec, setting: MetricSetting) {
    this.#withQuery = spec.options.has("query");
    this.#ignoreAaaa = spec.options.has("ignoreAAAA");
    const make = (metric: string, help: string, labels: string[]): TextMetric =>
      new TextMetric(
        { metric, help, labels: this.#withQuery ? [...labels, "query"] : labels },
        spec,
        setting,
      );
    const labels = ["rcode", "qtypes", "ips_returned"];
    this.#queries = make("hubble_dns_queries_total", "DNS questions", labels);
    this.#responses = make("hubble_dns_responses_total", "DNS answers", labels);
    this.#types = make("hubble_dns_response_types_total", "Records in DNS answers, by type", [
      "type",
      "qtypes",
    ]);
  }

  /** Counts a layer 7 flow if it is about DNS. */
  count(flow: Flow): void {
    const dns = flow.l7?.dns;
    if (dns === undefined || (this.#ignoreAaaa && dns.qtypes?.includes("AAAA") === true)) return;
    const qtypes = (dns.qtypes ?? []).join(",");
    const query = this.#withQuery ? [dns.query ?? ""] : [];
    const ips = `${dns.ips?.length ?? 0}`;
    if (flow.l7?.type === "REQUEST") {
      const rcode = flow.verdict === "DROPPED" ? "Policy denied" : "";
      this.#queries.count([rcode, qtypes, ips, ...query], flow);
    } else if (flow.l7?.type === "RESPONSE") {
      this.#responses.count([rcodeText(dns), qtypes, ips, ...query], flow);
      for (const type of dns.rrtypes ?? []) this.#types.count([type, qtypes, ...query], flow);
    }
  }

  /** They are not counted any more. */
  dispose(): void {
    for (const metric of [this.#queries, this.#responses, this.#types]) metric.dispose();
  }

  drop(pods: ReadonlySet<string>): void {
    for (const metric of [this.#queries, this.#responses, this.#types]) metric.drop(pods);
  }
}

function rcodeText({ rcode = 0 }: FlowDns): string {
  return rcodes[rcode] ?? `${rcode}`;
}
