import { type ChildProcess, spawn } from "node:child_process";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import {
  type AgentMessage,
  type AnswerMessage,
  encodeLine,
  LineReader,
  type ProxyMessage,
  type QueryMessage,
  type WelcomeMessage,
} from "@axoneme/dns";
import { builtFile, dialIn, launch, listenIn } from "@axoneme/netlink";
import { type Answer, type DecodedPacket, decode, encode, type Packet, type Question } from "dns-packet";

/** A name server in a namespace, over UDP and TCP. What it is asked is in `asked`. */
export class NameServer {
  readonly asked: { name: string; type: string; id: number; from: string; port: number }[] = [];
  readonly udp: UdpSocket;
  readonly tcp: Server;
  private readonly answer: (question: Question, packet: Packet) => Partial<Packet> | undefined;

  private constructor(family: "v4" | "v6", answer: NameServer["answer"]) {
    this.answer = answer;
    this.udp = createSocket(family === "v4" ? "udp4" : "udp6");
    this.tcp = createServer();
  }

  /** `answer`: what to say, undefined for nothing. */
  static async start(
    netns: string,
    host: string,
    answer: NameServer["answer"],
    port = 53,
  ): Promise<NameServer> {
    const server = new NameServer(host.includes(":") ? "v6" : "v4", answer);
    server.udp.on("message", (bytes, from) => {
      const reply = server.reply(bytes, from.address, from.port);
      if (reply !== undefined) server.udp.send(reply, from.port, from.address);
    });
    server.tcp.on("connection", (socket) => {
      readFrames(socket, (bytes) => {
        const reply = server.reply(bytes, socket.remoteAddress ?? "", socket.remotePort ?? 0);
        if (reply !== undefined) socket.write(framed(reply));
      });
      socket.on("error", () => socket.destroy());
    });
    const udpFd = listenIn(netns, { host, port, protocol: "udp" });
    const tcpFd = listenIn(netns, { host, port });
    await new Promise<void>((resolve) => server.udp.bind({ fd: udpFd }, resolve));
    await new Promise<void>((resolve) => server.tcp.listen({ fd: tcpFd }, resolve));
    return server;
  }

  private reply(bytes: Buffer, from: string, port: number): Buffer | undefined {
    const packet = decode(bytes);
    const [question] = packet.questions ?? [];
    if (question === undefined) return undefined;
    this.asked.push({ name: question.name, type: question.type, id: packet.id ?? 0, from, port });
    const said = this.answer(question, packet);
    if (said === undefined) return undefined;
    return encode({ type: "response", id: packet.id ?? 0, questions: [question], ...said });
  }

  stop(): void {
    this.udp.close();
    this.tcp.close();
  }
}

function framed(message: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([message.length >> 8, message.length & 0xff]), message]);
}

function readFrames(socket: Socket, each: (message: Buffer) => void): void {
  let held = Buffer.alloc(0);
  socket.on("data", (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]);
    while (held.length >= 2 && held.length >= held.readUInt16BE(0) + 2) {
      const end = held.readUInt16BE(0) + 2;
      each(held.subarray(2, end));
      held = held.subarray(end);
    }
  });
}

export function addresses(name: string, ips: readonly string[], ttl = 60): Answer[] {
  return ips.map((data) => ({ type: data.includes(":") ? "AAAA" : "A", name, ttl, data }) as Answer);
}

/** A decoded answer, and who sent it. */
export type Reply = Decoded & { from: string };
/** Its types leave the rcode out. */
type Decoded = DecodedPacket & { rcode: string };

const read = (bytes: Buffer): Decoded => decode(bytes) as Decoded;

let nextId = 1;

/** Queries from one UDP socket of a namespace, each on an id of its own. */
export class Resolver {
  private readonly socket: UdpSocket;
  private readonly waiting = new Map<number, { resolve: (packet: Reply) => void }>();

  private constructor(socket: UdpSocket) {
    this.socket = socket;
    socket.on("message", (bytes, from) => {
      const packet = read(bytes);
      const wait = this.waiting.get(packet.id ?? 0);
      this.waiting.delete(packet.id ?? 0);
      wait?.resolve({ ...packet, from: from.address });
    });
  }

  static async open(netns: string, family: "v4" | "v6"): Promise<Resolver> {
    const fd = listenIn(netns, { host: family === "v4" ? "0.0.0.0" : "::", port: 0, protocol: "udp" });
    const socket = createSocket(family === "v4" ? "udp4" : "udp6");
    await new Promise<void>((resolve) => socket.bind({ fd }, resolve));
    return new Resolver(socket);
  }

  /** One query, no second try. Rejects after `timeoutMs`. */
  ask(
    server: string,
    name: string,
    type = "A",
    more: Partial<Packet> = {},
    timeoutMs = 3000,
  ): Promise<Reply> {
    const id = nextId++ & 0xffff;
    const query = encode({
      type: "query",
      id,
      flags: 0x100,
      questions: [{ type, name } as Question],
      ...more,
    });
    return this.send(server, query, id, timeoutMs);
  }

  send(server: string, query: Uint8Array, id: number, timeoutMs = 3000): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Error(`no answer of ${server} in ${timeoutMs} ms`));
      }, timeoutMs);
      this.waiting.set(id, {
        resolve: (packet) => {
          clearTimeout(timer);
          resolve(packet);
        },
      });
      this.socket.send(query, 53, server);
    });
  }

  close(): void {
    this.socket.close();
  }
}

/** Several queries over one TCP connection, answers in whatever order. */
export async function askOverTcp(
  netns: string,
  server: string,
  names: readonly string[],
  type = "A",
): Promise<Map<string, Decoded>> {
  const socket = await dialIn(netns, { host: server, port: 53 });
  const answers = new Map<string, Decoded>();
  const done = new Promise<void>((resolve, reject) => {
    readFrames(socket, (bytes) => {
      const packet = read(bytes);
      answers.set(packet.questions?.[0]?.name ?? "", packet);
      if (answers.size === names.length) resolve();
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("the connection was closed")));
  });
  for (const [i, name] of names.entries()) {
    socket.write(
      framed(encode({ type: "query", id: i + 1, flags: 0x100, questions: [{ type, name } as Question] })),
    );
  }
  await done.finally(() => socket.destroy());
  return answers;
}

/** The proxy's process in a node's namespace. */
export class ProxyProcess {
  readonly runDir: string;
  readonly child: ChildProcess;
  readonly log: string[];

  private constructor(runDir: string, child: ChildProcess, log: string[]) {
    this.runDir = runDir;
    this.child = child;
    this.log = log;
  }

  /** Resolves when it serves. */
  static async start(netns: string, runDir: string, bpffs: string): Promise<ProxyProcess> {
    mkdirSync(runDir, { recursive: true });
    const config = join(runDir, "dnsproxy.config.json");
    writeFileSync(config, JSON.stringify({ runDir, bpffs }));
    const bundle = builtFile("../dist/dnsproxy.mjs");
    const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, [
      process.execPath,
      bundle,
      "--config",
      config,
    ]);
    const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
    const log: string[] = [];
    child.stdout?.on("data", (bytes: Buffer) => log.push(...bytes.toString().split("\n")));
    const proxy = new ProxyProcess(runDir, child, log);
    await waitFor(() => log.some((line) => line.includes('"serving"')) || child.exitCode !== null, {
      timeoutMs: 20_000,
      what: "the DNS proxy to serve",
    });
    return proxy;
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  get record(): { pid: number; build: string } | undefined {
    const path = join(this.runDir, "dnsproxy.json");
    return existsSync(path)
      ? (JSON.parse(readFileSync(path, "utf8")) as { pid: number; build: string })
      : undefined;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGKILL");
      await new Promise((resolve) => this.child.once("exit", resolve));
    }
    rmSync(this.runDir, { recursive: true, force: true });
  }
}

/** An agent as far as the proxy knows it. */
export class AgentStandIn {
  readonly heard: ProxyMessage[] = [];
  acks = true;
  private readonly socket: Socket;

  private constructor(path: string) {
    this.socket = createConnection({ path });
    const reader = new LineReader();
    this.socket.on("error", () => this.socket.destroy());
    this.socket.on("data", (bytes) => {
      for (const line of reader.push(bytes)) {
        const message = JSON.parse(line) as ProxyMessage;
        this.heard.push(message);
        if (message.t === "answer" && this.acks && message.seq > 0) this.say({ t: "ack", seq: message.seq });
      }
    });
  }

  /** Connects, and says these sets of rules. Resolves when the proxy has answered. */
  static async connect(
    runDir: string,
    sets: Record<number, { names?: string[]; patterns?: string[] }>,
    config: object = {},
  ): Promise<AgentStandIn> {
    const agent = new AgentStandIn(join(runDir, "dns.sock"));
    agent.say({ t: "hello", version: 1 });
    agent.say({ t: "config", rejectCode: "refused", budgetMs: 100, ...config });
    for (const [id, { names = [], patterns = [] }] of Object.entries(sets))
      agent.say({ t: "rules", id: Number(id), names, patterns });
    agent.say({ t: "synced" });
    await waitFor(() => agent.welcome !== undefined, { what: "the proxy's welcome" });
    return agent;
  }

  get welcome(): WelcomeMessage | undefined {
    return this.heard.find((m): m is WelcomeMessage => m.t === "welcome");
  }

  get answers(): AnswerMessage[] {
    return this.heard.filter((m): m is AnswerMessage => m.t === "answer");
  }

  get queries(): QueryMessage[] {
    return this.heard.filter((m): m is QueryMessage => m.t === "query");
  }

  say(message: AgentMessage): void {
    this.socket.write(encodeLine(message));
  }

  close(): void {
    this.socket.destroy();
  }
}
