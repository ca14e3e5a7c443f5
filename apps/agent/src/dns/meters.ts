import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { LearnedNames } from "./learned-names.ts";

/** Seconds: an answer waits this long for the agent. */
const delays = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

/** The metrics about DNS names, under the field's names. */
export class DnsMeters {
  readonly #removed: Counter;
  readonly #delay: Histogram;

  constructor(registry: Registry, names: LearnedNames) {
    const registers = [registry];
    this.#removed = new Counter({
      name: "cilium_fqdn_gc_deletions_total",
      help: "Addresses of DNS names removed because their time was over",
      registers,
    });
    this.#delay = new Histogram({
      name: "cilium_proxy_upstream_reply_seconds",
      help: "What a DNS answer waited for: dataplaneTime is until its addresses were allowed",
      labelNames: ["error", "protocol_l7", "scope"],
      buckets: delays,
      registers,
    });
    new Gauge({
      name: "cilium_fqdn_selectors",
      help: "Distinct names and patterns in toFQDNs of policies",
      registers,
      collect() {
        this.set(names.classes.selectorCount);
      },
    });
    perEndpoint(
      registry,
      names,
      "cilium_fqdn_active_names",
      "Names that an endpoint has learned",
      (f) => f.names,
    );
    perEndpoint(
      registry,
      names,
      "cilium_fqdn_active_ips",
      "Addresses that an endpoint has learned",
      (f) => f.addresses,
    );
    perEndpoint(
      registry,
      names,
      "cilium_fqdn_alive_zombie_connections",
      "Addresses whose TTL is over, kept for connections that use them",
      (f) => f.dead,
    );
  }

  /** Addresses were removed. */
  removed(addresses: number): void {
    this.#removed.inc(addresses);
  }

  /** Answers that came together were let through after so many seconds. */
  answered(answers: number, seconds: number): void {
    for (let i = 0; i < answers; i++) {
      this.#delay.observe({ error: "allow", protocol_l7: "dns", scope: "dataplaneTime" }, seconds);
    }
  }
}

type Figures = ReturnType<LearnedNames["cache"]["figures"]> extends Generator<infer T> ? T : never;

function perEndpoint(
  registry: Registry,
  names: LearnedNames,
  name: string,
  help: string,
  value: (figures: Figures) => number,
): void {
  new Gauge({
    name,
    help,
    labelNames: ["endpoint"],
    registers: [registry],
    collect() {
      this.reset();
      for (const figures of names.cache.figures())
        this.set({ endpoint: `${figures.endpoint}` }, value(figures));
    },
  });
}
