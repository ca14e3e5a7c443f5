import { MetricIndex } from "@axoneme/abi";
import { type Kernel, readMetrics } from "@axoneme/datapath";
import { dropReasonText } from "@axoneme/flow";
import { Counter, type Registry } from "prom-client";

/**
 * Packets and bytes counted by the programs, by reason and direction. The kernel's figures are absolute, so the counters
 * are set anew at each scrape; the first of them reads for all, since a registry collects in order.
 */
export function datapathCounters(registry: Registry, kernel: Kernel): void {
  const make = (name: string, help: string, labelNames: string[]) =>
    new Counter({ name, help, labelNames, registers: [] });
  const forwardBytes = make("cilium_forward_bytes_total", "Bytes forwarded", ["direction"]);
  const drop = make("cilium_drop_count_total", "Packets dropped", ["reason", "direction"]);
  const dropBytes = make("cilium_drop_bytes_total", "Bytes dropped", ["reason", "direction"]);
  const lost = make("cilium_bpf_events_lost_total", "Events the full ring buffer refused", []);
  const forward: Counter = new Counter({
    name: "cilium_forward_count_total",
    help: "Packets forwarded",
    labelNames: ["direction"],
    registers: [registry],
    collect() {
      for (const counter of [forward, forwardBytes, drop, dropBytes, lost]) counter.reset();
      for (const { reason, packets, bytes, ...at } of readMetrics(kernel.maps.metrics)) {
        const direction = at.direction.toUpperCase();
        if (reason === MetricIndex.EVENTS_LOST >> 2) {
          lost.inc(Number(packets));
        } else if (reason === 0) {
          forward.inc({ direction }, Number(packets));
          forwardBytes.inc({ direction }, Number(bytes));
        } else {
          drop.inc({ reason: dropReasonText(reason), direction }, Number(packets));
          dropBytes.inc({ reason: dropReasonText(reason), direction }, Number(bytes));
        }
      }
    },
  });
  for (const counter of [forwardBytes, drop, dropBytes, lost]) registry.registerMetric(counter);
}
