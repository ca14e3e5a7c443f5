import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { findCgroup2 } from "@axoneme/bpf";
import { labPaths } from "../../apps/lab/src/index.ts";
import { BenchNode } from "../agent/node.ts";
import { median } from "../net/index.ts";
import { countRows, mapMemory } from "./maps.ts";

/** What it costs an agent to start in a cluster that has its Services already. */
export interface LoadFigures {
  /** Milliseconds from the start of the process until everything is in the maps, each round on an empty node. */
  readonly ms: number;
  readonly rounds: readonly number[];
  /** CPU milliseconds of the agent's process until then. */
  readonly cpuMs: readonly number[];
  /** Resident kilobytes afterwards, when they have come to rest. */
  readonly rssKb: number;
  /** Kernel memory of the maps, in bytes. */
  readonly maps: ReadonlyMap<string, number>;
}

function tail(file: string, from: number): string {
  if (!existsSync(file)) return "";
  const length = statSync(file).size - from;
  const buffer = Buffer.alloc(Math.max(0, length));
  const fd = openSync(file, "r");
  try {
    readSync(fd, buffer, 0, buffer.length, from);
  } finally {
    closeSync(fd);
  }
  return buffer.toString();
}

/** Starts an agent on an empty node of the lab `rounds` times; at the end of each start `count` Services are there. */
export async function loadFigures(lab: string, count: number, rounds: number): Promise<LoadFigures> {
  const node = await BenchNode.join(lab, findCgroup2());
  const paths = labPaths(lab, { run: "/run/axon", cgroup2: findCgroup2(), bpffs: "/sys/fs/bpf" });
  const bpffs = paths.bpffs("bench");
  const log = join(node.runDir, "agent.log");
  const times: number[] = [];
  const cpuMs: number[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      await node.killAgent();
      node.unpin();
      const from = existsSync(log) ? statSync(log).size : 0;
      const begin = performance.now();
      node.startAgent();
      await waitFor(() => tail(log, from).includes("ready to add pods"), {
        timeoutMs: 60_000,
        everyMs: 10,
        what: `an agent that is ready (${log})`,
      });
      times.push(performance.now() - begin);
      cpuMs.push(node.agentCpuMs());
      const there = countRows(bpffs, "ax_services");
      if (there < count)
        throw new Error(
          `the agent says it is ready and has ${there} of ${count} Services: ${readFileSync(log, "utf8").slice(-500)}`,
        );
    }
    const rssKb = await node.agentMemory();
    return { ms: median(times), rounds: times, cpuMs, rssKb, maps: mapMemory(bpffs) };
  } finally {
    await node.close();
  }
}
