import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { cpus, freemem, release, totalmem, uptime, version } from "node:os";
import { promisify } from "node:util";
import { type DumpItem, jsonText } from "./item.ts";

const run = promisify(execFile);
const mostOutput = 32 << 20;

/** Read-only questions to iproute2, of the network namespace this runs in. */
const questions: Readonly<Record<string, readonly string[]>> = {
  links: ["-d", "-s", "link", "show"],
  addresses: ["address", "show"],
  rules: ["rule", "show"],
  routes: ["route", "show", "table", "all"],
  "routes-v6": ["-6", "route", "show", "table", "all"],
  neighbours: ["neighbour", "show"],
};

const sysctls = [
  "net/ipv4/ip_forward",
  "net/ipv4/conf/all/rp_filter",
  "net/ipv6/conf/all/forwarding",
  "net/core/bpf_jit_enable",
  "net/core/bpf_jit_harden",
  "kernel/unprivileged_bpf_disabled",
];

/** The machine that the command runs on: useful where that is the node. */
export function machineItems(): DumpItem[] {
  return [
    {
      path: "machine/kernel.json",
      read: async () =>
        jsonText({
          kernel: release(),
          version: version(),
          cpus: cpus().length,
          memoryBytes: { total: totalmem(), free: freemem() },
          uptimeSeconds: uptime(),
          node: process.version,
          sysctls: Object.fromEntries(
            await Promise.all(sysctls.map(async (name) => [name, await sysctlOf(name)])),
          ),
        }),
    },
    ...Object.entries(questions).map(
      ([name, words]): DumpItem => ({
        path: `machine/${name}.txt`,
        read: async (signal) =>
          (await run("ip", [...words], { signal, maxBuffer: mostOutput })).stdout || undefined,
      }),
    ),
  ];
}

async function sysctlOf(name: string): Promise<string> {
  return readFile(`/proc/sys/${name}`, "utf8").then(
    (text) => text.trim(),
    (error: NodeJS.ErrnoException) => error.code ?? "unknown",
  );
}
