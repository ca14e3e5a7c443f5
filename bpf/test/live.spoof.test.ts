import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DropReason, EventType } from "@axoneme/abi";
import { waitFor } from "@axoneme/base";
import { launch } from "@axoneme/netlink";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { concat, u8, u32 } from "./bytes.ts";
import { LiveCluster, type Node, netOf, type Pod, serve, world } from "./live.ts";
import { udp } from "./packet.ts";

/** What only live traffic shows: frames with a tag of the pod's choice, and VXLAN from who is no node. */
const PORT = 8080;
const VXLAN_PORT = 8472;

function run(netns: string, command: string[]): Promise<number> {
  const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, command);
  const child = spawn(file, args, { stdio: ["ignore", "ignore", "inherit"] });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? -1));
  });
}

/** Sends one frame, given in hexadecimal, out of eth0: no tool of the system does that everywhere. */
const SEND_FRAME = `
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
int main(int argc, char **argv)
{
	unsigned char frame[2048];
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("eth0") };
	size_t length = strlen(argv[1]) / 2;
	for (size_t i = 0; i < length && i < sizeof(frame); i++)
		sscanf(argv[1] + 2 * i, "%2hhx", &frame[i]);
	int fd = socket(AF_PACKET, SOCK_RAW, htons(0x0003));
	return sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof(to)) == (ssize_t)length ? 0 : 1;
}
`;

/** Sends a frame inside VXLAN to a node, as `vni`. */
function encapsulated(netns: string, to: string, vni: number, frame: Uint8Array): Promise<number> {
  const bytes = concat(u8(8, 0, 0, 0), u32(vni << 8), frame);
  const hex = Buffer.from(bytes).toString("hex");
  const code =
    `const s=require("dgram").createSocket("udp4");` +
    `s.send(Buffer.from("${hex}","hex"),${VXLAN_PORT},"${to}",()=>s.close())`;
  return run(netns, [process.execPath, "-e", code]);
}

describe("live, who pretends", () => {
  let cluster: LiveCluster;
  let node1: Node;
  let node2: Node;
  let a: Pod;
  let c: Pod;
  const stops: (() => void)[] = [];

  beforeAll(async () => {
    cluster = await LiveCluster.create(true);
    [node1, node2] = cluster.nodes as [Node, Node];
    a = await cluster.pod("sa", node1, 11, 301);
    c = await cluster.pod("sc", node2, 13, 303);
    stops.push(await serve(c.netns, PORT, c.name));
  });
  afterAll(async () => {
    for (const stop of stops) stop();
    await cluster.close();
  });
  beforeEach(() => {
    for (const node of [node1, node2]) node.dp.events();
  });

  test("a pod's frame with a VLAN tag goes nowhere", async () => {
    const dir = mkdtempSync(join(tmpdir(), "axspoof-"));
    try {
      execFileSync("gcc", ["-x", "c", "-", "-o", join(dir, "send")], { input: SEND_FRAME });
      const plain = udp({ src: a.addresses.v4, dst: world.v4, sport: 9, dport: PORT });
      const tagged = concat(plain.subarray(0, 12), u8(0x81, 0, 0, 5), plain.subarray(12));
      const before = node1.dp.counted(DropReason.UNKNOWN_L3, 1);
      const hex = Buffer.from(tagged).toString("hex");
      expect(await run(a.netns, [join(dir, "send"), hex])).toBe(0);
      await waitFor(() => node1.dp.counted(DropReason.UNKNOWN_L3, 1) > before || seen(node1, 9), {
        timeoutMs: 5000,
        everyMs: 20,
        what: "the frame to be dropped",
      });
      expect(node1.dp.connections().filter((ct) => ct.aport === 9 || ct.bport === 9)).toEqual([]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  const frame = () => udp({ src: a.addresses.v4, dst: c.addresses.v4, sport: 7, dport: PORT });
  const seen = (node: Node, sport: number) => node.dp.events().find((e) => e.sport === sport);
  const outcome = async (sender: string) => {
    expect(await encapsulated(sender, node2.addresses.v4, 301, frame())).toBe(0);
    return waitFor(() => seen(node2, 7), {
      timeoutMs: 5000,
      everyMs: 20,
      what: "the packet to be seen",
    });
  };

  test("VXLAN from an address that is no node's is dropped", async () => {
    expect(await outcome(netOf("net"))).toMatchObject({
      type: EventType.DROP,
      subtype: DropReason.ENCAP_PROHIBITED,
    });
  });

  test("the same from a node is let in, under the identity it says", async () => {
    expect(await outcome(netOf("node1"))).toMatchObject({ type: EventType.TRACE, srcIdentity: 301 });
  });
});
