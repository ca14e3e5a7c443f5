/** The client of the DNS proxy against a server that speaks the protocol over a real socket. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Health } from "@axoneme/app";
import { memoryLogger, waitFor } from "@axoneme/base";
import {
  type AgentMessage,
  type AnswerMessage,
  encodeLine,
  LineReader,
  type ProxyMessage,
} from "@axoneme/dns";
import type { DnsRuleSet } from "@axoneme/policy";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ProxyClient } from "../src/dns/proxy-client.ts";

const answer = (seq: number): AnswerMessage => ({
  t: "answer",
  seq,
  time: 0,
  client: "10.0.0.1",
  clientPort: 1,
  server: "10.0.0.53",
  serverPort: 53,
  proto: "udp",
  name: "a.b.",
  type: "A",
  rcode: 0,
  cnames: [],
  addresses: [{ ip: "192.0.2.1", ttl: 5 }],
  latencyUs: 1,
});

/** A proxy as far as its socket is concerned. */
class FakeProxy {
  readonly heard: AgentMessage[] = [];
  readonly #path: string;
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();

  constructor(path: string) {
    this.#path = path;
  }

  async up(): Promise<void> {
    rmSync(this.#path, { force: true });
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      const reader = new LineReader();
      socket.on("data", (bytes) => {
        for (const line of reader.push(bytes)) this.#hear(socket, JSON.parse(line) as AgentMessage);
      });
      socket.on("error", () => undefined);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve) => this.#server?.listen(this.#path, resolve));
  }

  #hear(socket: Socket, message: AgentMessage): void {
    this.heard.push(message);
    if (message.t === "hello")
      socket.write(encodeLine({ t: "welcome", version: 1, build: "b", pid: 7, lost: 0 }));
  }

  say(text: ProxyMessage | string): void {
    for (const socket of this.#sockets) socket.write(typeof text === "string" ? text : encodeLine(text));
  }

  async down(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => (this.#server ? this.#server.close(() => resolve()) : resolve()));
  }
}

describe("the client of the DNS proxy", () => {
  let dir: string;
  let proxy: FakeProxy;
  let rules: DnsRuleSet[];
  let answers: AnswerMessage[][];
  let client: ProxyClient;
  let health: Health;
  const log = memoryLogger();

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "axon-dns-"));
    proxy = new FakeProxy(join(dir, "dns.sock"));
    rules = [{ id: 3, names: ["a.b"], patterns: ["*.c"] }];
    answers = [];
    health = new Health();
    client = new ProxyClient({
      path: join(dir, "dns.sock"),
      config: () => ({ t: "config", rejectCode: "refused", budgetMs: 100 }),
      rules: () => rules,
      onAnswers: (batch) => answers.push([...batch]),
      onQueries: () => undefined,
      mode: "external",
      log,
    });
    client.start(health.reporter("dns-proxy"));
  });

  afterEach(async () => {
    client.stop();
    await proxy.down();
    rmSync(dir, { recursive: true });
  });

  const said = () => proxy.heard.map(({ t }) => t).join(" ");
  const state = () => health.modules()[0];

  it("says all that is in force, and again to the next proxy", async () => {
    client.open();
    await waitFor(() => state()?.state === "degraded", { what: "the missing proxy to be told" });
    await proxy.up();
    await waitFor(() => said() === "hello config rules synced", { what: "the greeting" });
    expect(proxy.heard[2]).toEqual({ t: "rules", id: 3, names: ["a.b"], patterns: ["*.c"] });
    await waitFor(() => client.isConnected, { what: "the welcome" });
    client.sendRules([{ id: 4, names: [], patterns: ["*"] }]);
    client.dropRules([3]);
    await waitFor(() => said().endsWith("synced rules drop"), { timeoutMs: 5000, what: "news" });
    await proxy.down();
    await waitFor(() => !client.isConnected, { what: "the loss" });
    rules = [{ id: 4, names: [], patterns: ["*"] }];
    proxy.heard.length = 0;
    await proxy.up();
    await waitFor(() => said() === "hello config rules synced", { what: "the second greeting" });
    expect(proxy.heard[2]).toMatchObject({ id: 4 });
    await waitFor(() => state()?.state === "ok", { what: "health" });
  });

  it("hands over answers that come together, and acks them", async () => {
    await proxy.up();
    client.open();
    await waitFor(() => client.isConnected, { what: "the welcome" });
    proxy.say(encodeLine(answer(1)) + encodeLine(answer(2)));
    await waitFor(() => answers.flat().length === 2, { what: "the answers" });
    client.ack(answers.flat());
    await waitFor(() => said().endsWith("ack ack"), { what: "the acks" });
    client.repeat();
    await waitFor(() => said().endsWith("ack ack hello config rules synced"), { what: "everything again" });
  });

  it("says a long set in parts that fit a line", async () => {
    const names = Array.from({ length: 1000 }, (_, i) => `${"x".repeat(60)}.${"y".repeat(60)}.n${i}.example`);
    rules = [{ id: 9, names, patterns: ["*.z"] }];
    await proxy.up();
    client.open();
    await waitFor(() => said().endsWith("synced"), { what: "the greeting" });
    const parts = proxy.heard.flatMap((message) => (message.t === "rules" ? [message] : []));
    expect(parts.flatMap((part) => part.names)).toEqual(names);
    expect(parts.map(({ more }) => more ?? false)).toEqual([false, true, true, true, true, true]);
    expect(Math.max(...parts.map((part) => encodeLine(part).length))).toBeLessThan(64 * 1024);
  });

  it("connects anew after nonsense", async () => {
    await proxy.up();
    client.open();
    await waitFor(() => client.isConnected, { what: "the welcome" });
    proxy.say("{nonsense\n");
    await waitFor(() => proxy.heard.filter(({ t }) => t === "hello").length === 2, {
      what: "a second greeting",
    });
  });
});
