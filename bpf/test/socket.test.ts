import { spawn } from "node:child_process";
import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { decodeSockRev } from "@axoneme/abi";
import { waitFor } from "@axoneme/base";
import { AttachType, findCgroup2, Link } from "@axoneme/bpf";
import { builtFile, launch, Netns } from "@axoneme/netlink";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, decoded, key32, text } from "./datapath.ts";
import { Proto } from "./packet.ts";

/** Socket programs have no test run: real sockets in a cgroup and a namespace of their own, over its loopback. */
const cgroup = join(findCgroup2(), `axdp-sock-${process.pid}`);
const netns = join("/run", `axdp-sock-${process.pid}`);
const PORT = 8080;
const families = [
  { name: "IPv4", service: "10.96.0.10", dialled: "10.96.0.10", backend: "127.0.0.1", node: "udp4" },
  { name: "IPv6", service: "fd96::10", dialled: "fd96::10", backend: "::1", node: "udp6" },
  {
    name: "IPv4 over an IPv6 socket",
    service: "10.96.0.11",
    dialled: "::ffff:10.96.0.11",
    backend: "127.0.0.1",
    node: "udp6",
  },
] as const;

let dp: Datapath;
const links: Link[] = [];
let stopServer: () => void;

function child(command: string[], stdio: "pipe" | "ignore" = "pipe") {
  const { file, args } = launch({ netns, cgroups: [cgroup], parentDeathSignal: "KILL" }, command);
  return spawn(file, args, { stdio: ["ignore", stdio, "inherit"] });
}

function run(command: string[]): Promise<{ code: number; output: string }> {
  const process = child(command);
  let output = "";
  process.stdout?.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    process.on("error", reject);
    process.on("close", (code) => resolve({ code: code ?? -1, output: output.trim() }));
  });
}

const probe = (...args: string[]) => run([builtFile("bin/axon-probe"), ...args, "--timeout", "1000"]);
const script = (code: string) => run([process.execPath, "-e", code]);

beforeAll(async () => {
  mkdirSync(cgroup);
  await Netns.create(netns);
  dp = new Datapath("socket");
  const at = (name: string, type: number) =>
    links.push(Link.attachCgroup(dp.object.program(`sock_${name}`), cgroup, type));
  at("connect4", AttachType.CGROUP_INET4_CONNECT);
  at("connect6", AttachType.CGROUP_INET6_CONNECT);
  at("sendmsg4", AttachType.CGROUP_UDP4_SENDMSG);
  at("sendmsg6", AttachType.CGROUP_UDP6_SENDMSG);
  at("recvmsg4", AttachType.CGROUP_UDP4_RECVMSG);
  at("recvmsg6", AttachType.CGROUP_UDP6_RECVMSG);
  at("getpeername4", AttachType.CGROUP_INET4_GETPEERNAME);
  at("getpeername6", AttachType.CGROUP_INET6_GETPEERNAME);
  const server = child([builtFile("bin/axon-probe"), "serve", String(PORT), "--name", "backend"], "ignore");
  stopServer = () => server.kill("SIGKILL");
  await waitFor(async () => (await probe("tcp", "127.0.0.1", String(PORT))).code === 0, {
    timeoutMs: 5000,
    everyMs: 20,
    what: "the server",
  });
});

afterAll(async () => {
  stopServer();
  for (const link of links) link.close();
  dp.close();
  await Netns.delete(netns);
  const empty = () => {
    try {
      rmdirSync(cgroup);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw error;
      return false;
    }
  };
  await waitFor(async () => empty(), { timeoutMs: 5000, everyMs: 20, what: "the cgroup to be empty" });
});

beforeEach(() => dp.reset());

describe.each(families)("services at the socket, $name", (f) => {
  const service = (proto: number, backends: number) =>
    dp.service(
      5,
      { ip: f.service, port: 80, proto },
      Array.from({ length: backends }, () => ({ ip: f.backend, port: PORT })),
    );

  test("TCP reaches the backend", async () => {
    service(Proto.TCP, 2);
    const { code, output } = await probe("tcp", f.dialled, "80");
    expect(code, output).toBe(0);
    expect(output).toContain("backend");
  });

  test("a connected socket sees the address it dialled", async () => {
    service(Proto.TCP, 1);
    const { output } = await script(
      `const s=require("net").connect(80,"${f.dialled}",()=>{console.log(s.remoteAddress,s.remotePort);s.destroy()})`,
    );
    expect(output).toBe(`${f.dialled} 80`);
  });

  test("an unconnected UDP socket sees its answer come from the service", async () => {
    service(Proto.UDP, 1);
    const { output } = await script(
      `const s=require("dgram").createSocket("${f.node}");` +
        `s.on("message",(_,from)=>{console.log(from.address,from.port);s.close()});s.send("x\\n",80,"${f.dialled}")`,
    );
    expect(output).toBe(`${f.dialled} 80`);
    const rows = [...dp.map("ax_sock_rev")].map(([, value]) => decoded(decodeSockRev, value));
    expect(rows.map((row) => [text(row.addr), row.port, row.backendId])).toEqual([[f.service, 80, 500]]);
  });

  test("a connected UDP socket talks to one backend", async () => {
    service(Proto.UDP, 1);
    const { output } = await script(
      `const s=require("dgram").createSocket("${f.node}");s.connect(80,"${f.dialled}",()=>s.send("x\\n"));` +
        `s.on("message",()=>{console.log(s.remoteAddress().address);s.close()})`,
    );
    expect(output).toBe(f.dialled);
  });

  test("a service without backends refuses at once", async () => {
    service(Proto.TCP, 0);
    const { output } = await script(
      `const s=require("net").connect(80,"${f.dialled}");s.on("error",(e)=>console.log(e.code))`,
    );
    expect(output).toBe("ECONNREFUSED");
  });

  test("what is no service is left alone", async () => {
    const direct = f.name === "IPv4 over an IPv6 socket" ? "::ffff:127.0.0.1" : f.backend;
    expect((await probe("tcp", direct, String(PORT))).code).toBe(0);
    expect([...dp.map("ax_sock_rev")]).toEqual([]);
  });

  test("a service whose slots are just being replaced is left to the packets", async () => {
    service(Proto.TCP, 1);
    dp.slots(500, [99]);
    expect((await probe("tcp", f.dialled, "80")).code).not.toBe(0);
    expect([...dp.map("ax_sock_rev")]).toEqual([]);
  });
});
