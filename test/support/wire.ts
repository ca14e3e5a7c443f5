/** The network around a lab's nodes: routes of the world, addresses of nodes, nodes that are lost. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ipEqual, parseInterfaceAddress, parseIp, parsePrefix, waitFor } from "@axoneme/base";
import { resources } from "@axoneme/kube";
import { Netlink } from "@axoneme/netlink";
import type { TestLab } from "./lab.ts";

async function inNamespace<T>(netnsPath: string, action: (netlink: Netlink) => Promise<T>): Promise<T> {
  const netlink = Netlink.open({ netnsPath });
  try {
    return await action(netlink);
  } finally {
    netlink.close();
  }
}

function hostPrefix(address: string): string {
  return `${address}/${address.includes(":") ? 128 : 32}`;
}

/** The world sends an address to a node, as a router in front of the cluster would. */
export async function routeFromWorld(lab: TestLab, address: string, node: string): Promise<void> {
  const { v4, v6 } = lab.node(node);
  await inNamespace(lab.world.netns, (netlink) =>
    netlink.routeReplace({
      dst: parsePrefix(hostPrefix(address)),
      gateway: parseIp(address.includes(":") ? v6 : v4),
    }),
  );
}

/** The world itself has an address: what lies behind a load balancer that is no business of the nodes. */
export async function ownByWorld(lab: TestLab, address: string): Promise<void> {
  await inNamespace(lab.world.netns, async (netlink) => {
    const { index } = await netlink.linkGet("world0");
    await netlink.addrReplace({ index, prefix: parseInterfaceAddress(hostPrefix(address)), noDad: true });
  });
}

/** Gives a node's device a further address, "a.b.c.d/len". */
export async function addNodeAddress(lab: TestLab, node: string, text: string): Promise<void> {
  await inNamespace(lab.node(node).netns, async (netlink) => {
    const { index } = await netlink.linkGet("eth0");
    await netlink.addrReplace({ index, prefix: parseInterfaceAddress(text), noDad: true });
  });
}

/** Takes it away again. */
export async function removeNodeAddress(lab: TestLab, node: string, text: string): Promise<void> {
  await inNamespace(lab.node(node).netns, async (netlink) => {
    const { index } = await netlink.linkGet("eth0");
    await netlink.addrDel({ index, prefix: parseInterfaceAddress(text) });
  });
}

/** What the world knows of the neighbours that have an address: their hardware address, or undefined. */
export async function neighbourOf(lab: TestLab, address: string): Promise<string | undefined> {
  return inNamespace(lab.world.netns, async (netlink) => {
    const wanted = parseIp(address);
    const found = (await netlink.neighList()).find(({ ip }) => ipEqual(ip, wanted));
    return found?.mac === undefined ? undefined : Buffer.from(found.mac).toString("hex");
  });
}

/** The world asks its neighbours afresh. */
export async function forgetNeighbours(lab: TestLab): Promise<void> {
  await inNamespace(lab.world.netns, async (netlink) => {
    const { index } = await netlink.linkGet("br0");
    for (const neighbour of await netlink.neighList({ index })) {
      if (neighbour.mac !== undefined) await netlink.neighDel({ index, ip: neighbour.ip });
    }
  });
}

/** The hardware address of a node's device. */
export async function macOf(lab: TestLab, node: string): Promise<string> {
  return inNamespace(lab.node(node).netns, async (netlink) => {
    const { mac } = await netlink.linkGet("eth0");
    return Buffer.from(mac).toString("hex");
  });
}

/** The bridge's port of a node; the plan numbers them from 1 in the order of the nodes. */
function portOf(lab: TestLab, node: string): string {
  return `port${[...lab.nodes.keys()].indexOf(node) + 1}`;
}

async function setPort(lab: TestLab, node: string, up: boolean): Promise<void> {
  await inNamespace(lab.world.netns, async (netlink) => {
    const { index } = await netlink.linkGet(portOf(lab, node));
    await netlink.linkSet({ index, up });
  });
}

/** A node is lost: its cable is cut and its kubelet says nothing any more. */
export async function loseNode(lab: TestLab, node: string): Promise<void> {
  process.kill(lab.runnerPid(node), "SIGSTOP");
  await setPort(lab, node, false);
}

/** It is found again. */
export async function findNode(lab: TestLab, node: string): Promise<void> {
  await setPort(lab, node, true);
  process.kill(lab.runnerPid(node), "SIGCONT");
  await untilNode(lab, node, "True");
}

/** Waits until the cluster holds a node for ready ("True") or lost ("Unknown"). */
export async function untilNode(lab: TestLab, node: string, ready: "True" | "Unknown"): Promise<void> {
  await waitFor(
    async () => {
      const { status } = await lab.client.resource(resources.nodes).get(node);
      return status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === ready);
    },
    { timeoutMs: 30_000, everyMs: 50, what: `the node ${node} to be ready: ${ready}` },
  );
}

/** Gives a node's agent other options, from its next start on. */
export function reconfigure(lab: TestLab, node: string, options: Readonly<Record<string, unknown>>): void {
  const path = join(lab.paths.nodeDir(node), "agent.json");
  const now = JSON.parse(readFileSync(path, "utf8")) as object;
  writeFileSync(path, JSON.stringify({ ...now, ...options }));
}

/** Kills a node's agent; returns what {@link agentBack} needs. */
export function killAgent(lab: TestLab, node: string): number {
  const pid = lab.agentPid(node);
  if (pid === undefined) throw new Error(`no agent runs on ${node}`);
  process.kill(pid, "SIGKILL");
  return pid;
}

/** Waits until another agent than `former` serves the node. */
export async function agentBack(lab: TestLab, node: string, former: number): Promise<void> {
  await waitFor(() => (lab.agentPid(node) ?? former) !== former, {
    timeoutMs: 30_000,
    what: `another agent on ${node}`,
  });
  await waitFor(() => lab.agent(node).isReady(), { timeoutMs: 30_000, what: `the agent of ${node}` });
}
