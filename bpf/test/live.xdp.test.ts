import { spawn } from "node:child_process";
import { ConfigFlags, DropReason, SvcFlags } from "@axoneme/abi";
import { waitFor } from "@axoneme/base";
import { Link } from "@axoneme/bpf";
import { closeFd, driverCounters, launch, openNetns, setOffloads } from "@axoneme/netlink";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath } from "./datapath.ts";
import { LiveCluster, type Node, netOf, type Pod, probe, serve } from "./live.ts";
import { Proto } from "./packet.ts";

/** A client on the wire, node 1 that balances, a backend on node 2; frames as on hardware. */
const PORT = 8080;
const NODE_PORT = 30080;
const DATAGRAMS = 200;
const families = ["v4", "v6"] as const;
const client = netOf("net");
const port = "port1";

let cluster: LiveCluster;
let node1: Node;
let backend: Pod;
let xdp: Datapath;
let link: Link | undefined;
const stops: (() => void)[] = [];

function attach(): void {
  const netnsFd = openNetns(node1.netns);
  try {
    link = Link.attachXdp(xdp.object.program("xdp_lb"), { ifindex: node1.device, netnsFd });
  } finally {
    closeFd(netnsFd);
  }
}

function detach(): void {
  link?.detach();
  link?.close();
  link = undefined;
}

/** What the driver ran XDP on, and what went back out of the device and was taken by the other end. */
function frames(): { seen: number; sent: number } {
  const all = Object.entries(driverCounters(node1.netns, "eth0"));
  const sum = (pattern: RegExp) => all.filter(([name]) => pattern.test(name)).reduce((n, [, v]) => n + v, 0);
  return { seen: sum(/^rx_queue_\d+_xdp_packets$/), sent: sum(/^tx_queue_\d+_xdp_xmit$/) };
}

/** Sends datagrams one after the other and tells how many were answered. */
function ask(to: string, toPort: number, count: number): Promise<number> {
  const type = to.includes(":") ? "udp6" : "udp4";
  const code = `const s=require("dgram").createSocket("${type}");let n=0;
    const next=()=>s.send("ask "+n,${toPort},"${to}");
    s.on("message",()=>{if(++n===${count}){console.log(n);process.exit()}next()});
    setTimeout(()=>{console.log(n);process.exit()},5000);next()`;
  const { file, args } = launch({ netns: client, parentDeathSignal: "KILL" }, [process.execPath, "-e", code]);
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => resolve(Number(output)));
  });
}

beforeAll(async () => {
  cluster = await LiveCluster.create(false);
  const [first, second] = cluster.nodes as [Node, Node];
  node1 = first;
  backend = await cluster.pod("c", second, 13, 303);
  xdp = new Datapath("xdp", node1.pinDir);
  node1.dp.configure({
    flags: node1.dp.config.flags | ConfigFlags.SERVICES | ConfigFlags.XDP_REDIRECT,
    natPortMin: 61_000,
  });
  for (const family of families) {
    node1.dp.endpoint(node1.addresses[family], { identity: 1, flags: 1 | 8 });
    [Proto.TCP, Proto.UDP].forEach((proto, i) => {
      const frontend = { ip: node1.addresses[family], port: NODE_PORT, proto };
      const to = [{ ip: backend.addresses[family], port: PORT }];
      node1.dp.service((family === "v4" ? 10 : 20) + i, frontend, to, { flags: SvcFlags.NODEPORT });
    });
  }
  setOffloads(client, port, { gro: true, txChecksum: false });
  stops.push(await serve(backend.netns, PORT, "c"));
});
afterAll(async () => {
  for (const stop of stops) stop();
  detach();
  xdp.close();
  await cluster.close();
});
afterEach(detach);
beforeEach(() => {
  for (const map of ["ax_svc_flows", "ax_nat", "ax_deny"]) xdp.map(map).clear();
  node1.dp.events();
});

describe.each(families)("a Service from outside, %s", (family) => {
  const dial = (kind: "tcp" | "udp") =>
    probe(client, kind, node1.addresses[family], String(NODE_PORT), "--timeout", "2000");

  test.each(["tcp", "udp"] as const)("in XDP: %s there and back, under the node's address", async (kind) => {
    attach();
    try {
      expect((await dial(kind)).code).toBe(0); // the neighbours are known from now on
      const before = frames();
      const { code, output } = await dial(kind);
      expect([code, output]).toEqual([0, expect.stringContaining(node1.addresses[family])]);
      expect(frames().sent - before.sent).toBeGreaterThanOrEqual(kind === "tcp" ? 6 : 2);
    } finally {
      detach();
    }
  });

  test("in XDP: tc does not see the packets of a flow", async () => {
    attach();
    try {
      expect((await dial("udp")).code).toBe(0);
      const before = frames();
      expect(await ask(node1.addresses[family], NODE_PORT, DATAGRAMS)).toBe(DATAGRAMS);
      const after = frames();
      const sent = after.sent - before.sent;
      expect(sent).toBeGreaterThan(2 * DATAGRAMS - 10);
      // What is left are the neighbours' questions.
      expect(after.seen - before.seen - sent).toBeLessThan(20);
    } finally {
      detach();
    }
  });

  test("a flow goes on when XDP comes, and when it goes", async () => {
    const asked = ask(node1.addresses[family], NODE_PORT, 20 * DATAGRAMS);
    const start = frames().sent;
    await waitFor(() => [...xdp.map("ax_svc_flows")].length > 0, { what: "the flow" });
    attach();
    await waitFor(() => frames().sent - start > DATAGRAMS, { what: "frames sent by XDP" });
    detach();
    expect(await asked).toBe(20 * DATAGRAMS);
    expect([...xdp.map("ax_svc_flows")]).toHaveLength(1);
  });

  test("without XDP: the same by tc", async () => {
    for (const kind of ["tcp", "udp"] as const) {
      const { code, output } = await dial(kind);
      expect([code, output]).toEqual([0, expect.stringContaining(node1.addresses[family])]);
    }
  });

  test("a sender that leaves its checksums to the device is served by tc, behind XDP", async () => {
    setOffloads(client, port, { txChecksum: true });
    attach();
    try {
      const before = frames();
      for (const kind of ["tcp", "udp"] as const) expect((await dial(kind)).code).toBe(0);
      expect(frames().sent - before.sent).toBe(0);
    } finally {
      detach();
      setOffloads(client, port, { txChecksum: false });
    }
  });

  test("a denied source hears nothing", async () => {
    attach();
    try {
      const source = family === "v4" ? "172.30.250.1/32" : "fd00:172:30:fa::1/128";
      xdp.deny(source);
      expect(
        (await probe(client, "udp", node1.addresses[family], String(NODE_PORT), "--timeout", "300")).code,
      ).toBe(1);
      expect(xdp.counted(DropReason.POLICY_DENY, 0)).toBeGreaterThan(0n);
    } finally {
      detach();
    }
  });
});
