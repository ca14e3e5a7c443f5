import { readFileSync } from "node:fs";
import { labUp } from "@axoneme/lab";
import { type Comparison, compare, measureMode } from "../net/index.ts";
import { BenchLab } from "../pods/lab.ts";

/**
 * What an operator can switch off: the Hubble API with its metrics, and whose sockets they are. Records of connections'
 * begin and end are written all the same, for `axon monitor` and `axon why`.
 */
const off = {
  enableHubble: false,
  hubbleListenAddress: "",
  hubbleProcesses: "off",
  monitorAggregation: "maximum",
};

interface Site {
  readonly lab: BenchLab;
  /** Microseconds of CPU that the agent has used. */
  readonly agentCpu: () => number;
  readonly ends: { readonly clientNs: string; readonly serverNs: string; readonly serverIp: string };
}

async function site(
  root: string,
  name: string,
  agentConfig: Readonly<Record<string, unknown>>,
): Promise<Site> {
  const lab = BenchLab.at(root, name);
  await lab.down();
  await labUp({ name, nodes: 1, agentConfig });
  await lab.pods([
    { name: "client", node: "node1" },
    { name: "near", node: "node1" },
  ]);
  const [client, near] = [await lab.pod("client"), await lab.pod("near")];
  const pid = Number(readFileSync(`/run/axon/${name}/nodes/node1/agent.pid`, "utf8"));
  return {
    lab,
    agentCpu: () => cpuOf(pid),
    ends: { clientNs: client.netns, serverNs: near.netns, serverIp: near.ipv4 },
  };
}

/** Time of user and kernel (proc(5), fields 14 and 15 of stat), in ticks of 10 ms. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

export interface CostFigures {
  readonly traffic: Comparison;
  /** Microseconds of the agent's CPU for each connection that was opened, with observation and without. */
  readonly agent: { readonly on: number; readonly off: number };
}

/** What observation costs pods of one node: the same traffic in two labs, in turns. */
export async function cost(root: string, rounds: number, seconds: number): Promise<CostFigures> {
  const names = { off: `bench-off-${process.pid}`, on: `bench-on-${process.pid}` };
  const labs: BenchLab[] = [];
  const used = { on: { micros: 0, connections: 0 }, off: { micros: 0, connections: 0 } };
  try {
    const sites = { off: await site(root, names.off, off), on: await site(root, names.on, {}) };
    labs.push(sites.off.lab, sites.on.lab);
    const subject = (which: "on" | "off", name: string) => ({
      name,
      measure: async (mode: Parameters<typeof measureMode>[0]) => {
        const before = sites[which].agentCpu();
        const measured = await measureMode(mode, { ...sites[which].ends, seconds, cpu: 1, realtime: true });
        if (mode === "tcp-crr") {
          used[which].micros += sites[which].agentCpu() - before;
          used[which].connections += measured.operations;
        }
        return measured;
      },
    });
    const traffic = await compare(
      [subject("off", "without observation"), subject("on", "with observation")],
      {
        rounds,
      },
    );
    const each = ({ micros, connections }: { micros: number; connections: number }): number =>
      micros / connections;
    return { traffic, agent: { on: each(used.on), off: each(used.off) } };
  } finally {
    await Promise.all(Object.values(names).map((name) => BenchLab.at(root, name).down()));
  }
}
