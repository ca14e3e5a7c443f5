import { Counter, Gauge, type Registry } from "prom-client";

/** What Services give. */
export interface ServiceFigures {
  /** Services seen, by what happened to them. */
  readonly seen: Readonly<Record<"add" | "update" | "delete", number>>;
  readonly services: number;
  readonly frontends: number;
  readonly backends: number;
  /** Objects that are not programmed as they ask. */
  readonly problems: number;
  /** Service ports whose rows the kernel refuses now, and writes it refused so far. */
  readonly refused: number;
  readonly failures: number;
  readonly rows: number;
  /** Maps by kernel name: how many of how many. */
  readonly maps: readonly { readonly name: string; readonly entries: number; readonly capacity: number }[];
}

/** Names that the field has not are ours: `axoneme_*`. */
export function serviceMetrics(registry: Registry, read: () => ServiceFigures): void {
  const counter = (name: string, help: string, value: (figures: ServiceFigures) => number) =>
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(value(read()));
      },
    });
  const gauge = (name: string, help: string, value: (figures: ServiceFigures) => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value(read()));
      },
    });
  new Counter({
    name: "cilium_services_events_total",
    help: "Services added, updated and deleted",
    labelNames: ["action"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [action, count] of Object.entries(read().seen)) this.inc({ action }, count);
    },
  });
  gauge("axoneme_services", "Services that are balanced", ({ services }) => services);
  gauge("axoneme_service_frontends", "Frontends of Services", ({ frontends }) => frontends);
  gauge("axoneme_service_backends", "Backends of Services", ({ backends }) => backends);
  gauge("axoneme_service_problems", "Objects not programmed as they ask", ({ problems }) => problems);
  gauge("axoneme_service_ports_refused", "Service ports whose rows the kernel refuses", (s) => s.refused);
  counter("axoneme_service_write_failures_total", "Writes of Services the kernel refused", (s) => s.failures);
  counter("axoneme_service_rows_written_total", "Rows of Services written", ({ rows }) => rows);
}
