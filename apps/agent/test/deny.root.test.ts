import { rmSync } from "node:fs";
import { join } from "node:path";
import { formatPrefix, parsePrefix, silentLogger, waitFor } from "@axoneme/base";
import { Kernel } from "@axoneme/datapath";
import type { EdgeDenyList } from "@axoneme/kube";
import { afterEach, expect, it } from "vitest";
import { DenyLists } from "../src/lb/deny.ts";

const bpffs = `/sys/fs/bpf/axdeny-${process.pid}`;
const objectDir = join(import.meta.dirname, "../../../build/bpf");
let kernel: Kernel | undefined;

afterEach(() => {
  kernel?.close();
  rmSync(bpffs, { recursive: true, force: true });
});

function open(maxEntries: Record<string, number> = {}): { kernel: Kernel; lists: DenyLists } {
  kernel = Kernel.open(
    { objectDir, bpffs, maxEntries: { ax_ct: 64, ax_nat: 64, ...maxEntries } },
    silentLogger,
  );
  return { kernel, lists: new DenyLists(kernel.maps.deny, [parsePrefix("192.0.2.0/24")], silentLogger) };
}

const list = (name: string, cidrs: string[], nodeSelector?: EdgeDenyList["spec"]["nodeSelector"]) =>
  ({ metadata: { name }, spec: { cidrs, ...(nodeSelector ? { nodeSelector } : {}) } }) as EdgeDenyList;
const denied = ({ maps }: Kernel) =>
  maps.deny
    .entries()
    .map(([{ addr, prefixlen }]) => formatPrefix({ ip: addr, length: prefixlen }))
    .sort();

it("prefixes of the configuration and of lists for this node are in the kernel; nothing before all is known", async () => {
  const { kernel: own, lists } = open();
  const { onAdd, onUpdate, onDelete } = lists.handlers();
  onAdd?.(list("all", ["198.51.100.7", "2001:db8:bad::/48", "nonsense"]));
  onAdd?.(list("edge", ["203.0.113.0/24"], { matchLabels: { role: "edge" } }));
  await Promise.resolve();
  expect(denied(own)).toEqual([]);
  lists.open();
  expect(denied(own)).toEqual(["192.0.2.0/24", "198.51.100.7/32", "2001:db8:bad::/48"]);
  lists.setLabels({ role: "edge" });
  await Promise.resolve();
  expect(denied(own)).toContain("203.0.113.0/24");
  const shorter = list("all", ["198.51.100.7"]);
  onUpdate?.(shorter, shorter);
  onDelete?.(list("edge", []));
  await Promise.resolve();
  expect([denied(own), lists.size]).toEqual([["192.0.2.0/24", "198.51.100.7/32"], 2]);
});

it("the next agent takes over what is there and removes what nobody wants", () => {
  const first = open();
  first.lists.handlers().onAdd?.(list("old", ["198.51.100.0/24"]));
  first.lists.open();
  first.kernel.close();
  const next = open();
  expect(denied(next.kernel)).toHaveLength(2);
  next.lists.open();
  expect(denied(next.kernel)).toEqual(["192.0.2.0/24"]);
});

it("prefixes that do not fit are a problem, and come when there is room", async () => {
  const { kernel: own, lists } = open({ ax_deny: 2 });
  const { onAdd, onUpdate } = lists.handlers();
  lists.open();
  onAdd?.(list("many", ["198.51.100.0/24", "203.0.113.0/24"]));
  await Promise.resolve();
  expect(lists.problem).toMatch(/could not be written/);
  const fewer = list("many", ["203.0.113.0/24"]);
  onUpdate?.(fewer, fewer);
  await waitFor(() => lists.problem === undefined, { timeoutMs: 5000, what: "the mending" });
  expect(denied(own)).toEqual(["192.0.2.0/24", "203.0.113.0/24"]);
  lists.stop();
});
