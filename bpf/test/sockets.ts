import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, renameSync, rmdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import * as abi from "@axoneme/abi";
import { parsePrefix, waitFor } from "@axoneme/base";
import { AttachType, findCgroup2, Link } from "@axoneme/bpf";
import { builtFile, launch } from "@axoneme/netlink";
import { type Datapath, decoded, encoded, key32, text } from "./datapath.ts";
import { mapped } from "./dissect.ts";

/** What the tests of the socket layer share: programs on a cgroup of their own, and sockets worked by hand in it. */

const TOOL = join(import.meta.dirname, "../../build/test/sockets");
const SOURCE = join(import.meta.dirname, "native/sockets.c");

/** Compiles native/sockets.c when it is newer than its program. */
function tool(): string {
  const made = statSync(TOOL, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (made > statSync(SOURCE).mtimeMs) return TOOL;
  mkdirSync(join(TOOL, ".."), { recursive: true });
  const temporary = `${TOOL}.${process.pid}`;
  execFileSync(process.env["CC"] ?? "gcc", ["-Wall", "-Wextra", "-Werror", "-O2", "-o", temporary, SOURCE]);
  renameSync(temporary, TOOL);
  return TOOL;
}

/** As `Attachments.attachOwners`. */
export function attachOwner(dp: Datapath, cgroup: ServedCgroup): Link {
  return Link.attachCgroup(dp.object.program("sock_owner"), cgroup.path, AttachType.CGROUP_INET_SOCK_CREATE);
}

const HOOKS = {
  connect4: AttachType.CGROUP_INET4_CONNECT,
  connect6: AttachType.CGROUP_INET6_CONNECT,
  sendmsg4: AttachType.CGROUP_UDP4_SENDMSG,
  sendmsg6: AttachType.CGROUP_UDP6_SENDMSG,
  recvmsg4: AttachType.CGROUP_UDP4_RECVMSG,
  recvmsg6: AttachType.CGROUP_UDP6_RECVMSG,
  getpeername4: AttachType.CGROUP_INET4_GETPEERNAME,
  getpeername6: AttachType.CGROUP_INET6_GETPEERNAME,
};

/** A cgroup whose processes are served by the socket programs. */
export class ServedCgroup {
  readonly path: string;
  readonly #links: Link[] = [];

  constructor(name: string, dp: Datapath) {
    this.path = join(findCgroup2(), `${name}-${process.pid}`);
    mkdirSync(this.path);
    for (const [hook, type] of Object.entries(HOOKS))
      this.#links.push(Link.attachCgroup(dp.object.program(`sock_${hook}`), this.path, type));
  }

  /** Waits for the processes in it, which the caller has ended. */
  async close(): Promise<void> {
    for (const link of this.#links) link.close();
    const remove = () => {
      try {
        rmdirSync(this.path);
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw error;
        return false;
      }
    };
    await waitFor(async () => remove(), { timeoutMs: 5000, everyMs: 20, what: "the cgroup to be empty" });
  }
}

/** One process with sockets, in a namespace and a cgroup; see native/sockets.c. */
export class Sockets {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #next = 0;

  constructor(netns: string, cgroup: string) {
    const { file, args } = launch({ netns, cgroups: [cgroup], parentDeathSignal: "KILL" }, [tool()]);
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    this.pid = child.pid ?? -1;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  async command(text: string): Promise<string> {
    this.#child.stdin?.write(`${text}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the sockets are gone at "${text}"`);
    return value;
  }

  async open(kind: "tcp4" | "tcp6" | "udp4" | "udp6"): Promise<Socket> {
    const socket = new Socket(this, this.#next++);
    await socket.must(`open`, kind);
    return socket;
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }
}

/** Calls answer "ok", data, or the symbol of an errno. */
export class Socket {
  readonly #sockets: Sockets;
  readonly #number: number;

  constructor(sockets: Sockets, number: number) {
    this.#sockets = sockets;
    this.#number = number;
  }

  #call(what: string, ...rest: (string | number)[]): Promise<string> {
    return this.#sockets.command([what, this.#number, ...rest].join(" "));
  }

  async must(what: string, ...rest: (string | number)[]): Promise<void> {
    const answer = await this.#call(what, ...rest);
    if (answer !== "ok") throw new Error(`${what} ${rest.join(" ")}: ${answer}`);
  }

  bind = (ip: string, port = 0) => this.#call("bind", ip, port);
  connect = (ip: string, port: number) => this.#call("connect", ip, port);
  disconnect = () => this.#call("disconnect");
  send = () => this.#call("send");
  sendTo = (ip: string, port: number) => this.#call("sendto", ip, port);
  receive = () => this.#call("receive");
  peer = () => this.#call("peer");
  error = () => this.#call("error");
  close = () => this.#call("close");

  /** Sends a word and gives the name of the server that answers, and the address the answer seems to come from. */
  async ask(ip?: string, port = 0): Promise<{ by: string; from: string } | { failed: string }> {
    const sent = ip === undefined ? await this.send() : await this.sendTo(ip, port);
    if (sent !== "ok") return { failed: sent };
    const answer = await this.receive();
    const [from, at, by] = answer.split(" ");
    return by === undefined ? { failed: answer } : { by, from: `${from} ${at}` };
  }
}

/** axon-probe as a server for TCP and UDP on a port of a namespace; it answers with its name. */
export function startServer(netns: string, port: number, name: string): () => void {
  const command = [builtFile("bin/axon-probe"), "serve", String(port), "--name", name];
  const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, command);
  const child = spawn(file, args, { stdio: "ignore" });
  return () => child.kill("SIGKILL");
}

/** The three ways to dial a Service, each with a backend address and what other tests need of the family. */
export const families = [
  {
    name: "IPv4",
    kind: "4",
    service: "10.96.0.10",
    dialled: "10.96.0.10",
    backend: "127.0.0.1",
    loopback: "127.0.0.1",
    wildcard: "0.0.0.0",
    pod: "10.201.0.7",
    node: "172.30.0.11",
    other: "10.250.0.5",
    bind: "10.250.0.5",
  },
  {
    name: "IPv6",
    kind: "6",
    service: "fd96::10",
    dialled: "fd96::10",
    backend: "::1",
    loopback: "::1",
    wildcard: "::",
    pod: "fd10:1::7",
    node: "fd00:172:30::11",
    other: "fd25::5",
    bind: "fd25::5",
  },
  {
    name: "IPv4 over an IPv6 socket",
    kind: "6",
    service: "10.96.0.11",
    dialled: "::ffff:10.96.0.11",
    backend: "127.0.0.1",
    loopback: "::ffff:127.0.0.1",
    wildcard: "0.0.0.0",
    pod: "10.201.0.7",
    node: "172.30.0.11",
    other: "10.250.0.5",
    bind: "::ffff:10.250.0.5",
  },
] as const;

export type FamilyCase = (typeof families)[number];

/** The namespace with that cookie is a pod with these addresses. */
export function putPod(dp: Datapath, cookie: bigint, ...ips: string[]): void {
  const of = (v4: boolean) => ips.find((ip) => ip.includes(":") !== v4);
  const [ip4, ip6] = [of(true), of(false)].map((ip) => (ip ? mapped(ip) : new Uint8Array(16)));
  if (!ip4 || !ip6) return;
  dp.map("ax_netns").put(key64(cookie), encoded(abi.netnsSize, abi.encodeNetns, { ip4, ip6 }));
}

function key64(value: bigint): Uint8Array {
  return new Uint8Array(new BigUint64Array([value]).buffer);
}

export function putRange(dp: Datapath, serviceId: number, prefix: string): void {
  const { ip, length } = parsePrefix(prefix);
  const key = { prefixlen: 32 + length, serviceId, addr: ip };
  dp.map("ax_src_ranges").put(encoded(abi.srcRangeKeySize, abi.encodeSrcRangeKey, key), key32(1));
}

export function putSkip(dp: Datapath, serviceId: number, client: string): void {
  const key = { client: mapped(client), serviceId };
  dp.map("ax_lrp_skip").put(encoded(abi.skipKeySize, abi.encodeSkipKey, key), key32(1));
}

/** Clients that affinity remembers, with the backend each had. */
export function affinities(dp: Datapath): [client: string, backend: number][] {
  return [...dp.map("ax_affinity")].map(([key, value]) => [
    text(decoded(abi.decodeAffinityKey, key).client),
    decoded(abi.decodeAffinity, value).backendId,
  ]);
}
