import { mkdirSync, rmSync } from "node:fs";
import { silentLogger } from "@axoneme/base";
import { BpfObject, isBpffs, RingBuffer, unpin } from "@axoneme/bpf";
import { RawStore } from "@axoneme/flow";
import { builtFile } from "@axoneme/netlink";
import { FlowMetrics, Observer, parseMetricSpecs } from "@axoneme/observe";
import { Registry } from "prom-client";
import { EventPump } from "../../apps/agent/src/events.ts";
import { RuleUses } from "../../apps/agent/src/state/rule-use.ts";
import { namingResolver } from "./records.ts";
import { start } from "./roles.ts";

export interface IngestFigures {
  readonly rate: number;
  /** Written by the kernel, without room there, and in the store. */
  readonly written: number;
  readonly lost: number;
  readonly stored: number;
  /** Share of one CPU that taking them in cost. */
  readonly cpu: number;
}

/** Records of the kernel at a rate, for so many seconds, through the agent's pump into store and metrics. */
export async function ingest(rate: number, seconds: number): Promise<IngestFigures> {
  const pins = `/sys/fs/bpf/axon-bench-hubble-${process.pid}`;
  if (!isBpffs("/sys/fs/bpf")) throw new Error("no bpf file system at /sys/fs/bpf");
  mkdirSync(pins);
  const object = BpfObject.open(builtFile("bench/feeder.bpf.o")).configure({ pinDir: pins }).load();
  const program = object.program("feed");
  program.pin(`${pins}/feed`);
  const resolver = namingResolver("node1");
  const observer = new Observer({ store: new RawStore({ capacity: 65_536 }), resolver, version: "bench" });
  const { specs } = parseMetricSpecs(["flow", "drop", "tcp", "icmp", "port-distribution", "policy", "dns"]);
  const metrics = new FlowMetrics({ registry: new Registry(), resolver, specs, seriesLimit: 4096 });
  const ring = (): RingBuffer => RingBuffer.open(object.map("feed_events"));
  const uses = new RuleUses(`/run/axon/bench-uses-${process.pid}.json`, () => undefined, silentLogger);
  const pump = new EventPump(ring, () => 0n, observer, metrics, uses, silentLogger);
  const health = { ok: () => undefined, degraded: () => undefined, failed: () => undefined };
  try {
    pump.start(health);
    const before = process.cpuUsage();
    const began = performance.now();
    const { child, told } = await start("feed", pins, rate, seconds);
    const used = process.cpuUsage(before);
    const elapsed = (performance.now() - began) * 1000;
    pump.stop();
    child.disconnect();
    const { written, lost, ms } = told as { written: number; lost: number; ms: number };
    const cpu = (used.user + used.system) / elapsed;
    const stored = observer.store.nextSeq;
    if (written > 0 && stored === 0)
      throw new Error("the store took no record: the feeder's have another form");
    return { rate: (written + lost) / (ms / 1000), written, lost, stored, cpu };
  } finally {
    unpin(`${pins}/feed`);
    object.close();
    rmSync(pins, { recursive: true, force: true });
  }
}
