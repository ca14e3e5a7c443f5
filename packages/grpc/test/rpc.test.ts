import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp } from "node:http2";
import { connect as connectSocket, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Deferred, silentLogger, waitFor } from "@axoneme/base";
import { issue, type KeyPair } from "@axoneme/pki";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type ClientOptions,
  Connection,
  FrameBatch,
  GrpcError,
  grpcCode,
  type Handler,
  parseTarget,
  RpcServer,
  TlsFileSource,
  TlsHolder,
} from "../src/index.ts";

// Connections, certificates and pauses of the code itself: on a busy machine they add up.
vi.setConfig({ testTimeout: 20_000 });

const quick = { everyMs: 50, withinMs: 100 };
const never = new AbortController().signal;
let dir: string;
let server: RpcServer;
let streamed = 0;
let open: Connection[] = [];
const held = new Deferred<void>();

const methods = new Map<string, Handler>([
  ["/t.T/Echo", async (call) => call.write(await call.request())],
  [
    "/t.T/Many",
    async (call) => {
      await call.request();
      const batch = new FrameBatch();
      const message = new Uint8Array(1000);
      while (!call.signal.aborted && streamed < 20_000) {
        for (let i = 0; i < 50; i++) batch.add(message);
        streamed += 50;
        await call.writeBatch(batch);
      }
    },
  ],
  [
    "/t.T/Hang",
    (call) =>
      new Promise<void>((resolve) => call.signal.addEventListener("abort", () => resolve())).then(
        held.resolve,
      ),
  ],
  [
    "/t.T/Refuse",
    () => {
      throw new GrpcError(grpcCode.notFound, "nichts: 100 % Übel\n");
    },
  ],
  [
    "/t.T/Break",
    () => {
      throw new Error("bug");
    },
  ],
]);

const socket = (): string => join(dir, "t.sock");

async function connect(options: Partial<ClientOptions> = {}): Promise<Connection> {
  const connection = await Connection.open({ target: { path: socket() }, connectMs: 2000, ...options });
  open.push(connection);
  return connection;
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "axon-rpc-"));
  streamed = 0;
  open = [];
  server = new RpcServer({ methods, log: silentLogger });
  await server.listenUnix(socket());
});

afterEach(async () => {
  for (const connection of open) connection.close();
  await server.stop();
  rmSync(dir, { recursive: true, force: true });
});

const ask = (connection: Connection, method: string, timeoutMs = 2000) =>
  connection.unary(`/t.T/${method}`, Uint8Array.of(1, 2, 3), { timeoutMs });

describe("a call", () => {
  it("is answered, or its status is told", async () => {
    const connection = await connect();
    expect([...(await ask(connection, "Echo")).message]).toEqual([1, 2, 3]);
    await expect(ask(connection, "Refuse")).rejects.toMatchObject({
      status: 5,
      message: "nichts: 100 % Übel\n",
    });
    await expect(ask(connection, "Break")).rejects.toMatchObject({ status: 13, message: "bug" });
    await expect(ask(connection, "Nothing")).rejects.toMatchObject({ status: 12 });
  });

  it("ends at its deadline, on both sides", async () => {
    const connection = await connect();
    await expect(ask(connection, "Hang", 50)).rejects.toMatchObject({ status: grpcCode.deadlineExceeded });
    await held.promise;
  });

  it("a server that hangs is found out, one that has nothing to say is not", async () => {
    const connection = await connect({ keepAlive: quick });
    const stream = connection.stream("/t.T/Hang", new Uint8Array(0), never);
    const first = stream.next().catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(connection.isClosed).toBe(false);
    await server.stop();
    expect(await first).toMatchObject({ status: grpcCode.unavailable });
    // Takes connections and is silent, also when pinged.
    const sockets: Socket[] = [];
    const mute: Server = createServer((s) => void sockets.push(s));
    await new Promise<void>((resolve) => mute.listen(join(dir, "mute.sock"), resolve));
    await expect(connect({ target: { path: join(dir, "mute.sock") }, connectMs: 100 })).rejects.toMatchObject(
      {
        status: grpcCode.unavailable,
      },
    );
    for (const s of sockets) s.destroy();
    mute.close();
  });

  it("what is not read stays with the server", async () => {
    const connection = await connect();
    const stream = connection.stream("/t.T/Many", new Uint8Array(0), never);
    await stream.next();
    let before = -1;
    const stalled = (): boolean => {
      const isSame = streamed === before;
      before = streamed;
      return isSame;
    };
    await waitFor(stalled, { everyMs: 100, what: "the stream to stall" });
    // Twenty million bytes were there to be sent; the windows hold far less.
    expect(streamed).toBeLessThan(3000);
    let got = 0;
    for await (const messages of stream) got += messages.length;
    expect(got).toBeGreaterThan(19_000);
  });

  it("a reader that goes away ends it", async () => {
    const connection = await connect();
    const ended = new AbortController();
    const stream = connection.stream("/t.T/Many", new Uint8Array(0), ended.signal);
    await stream.next();
    ended.abort();
    await expect(
      (async () => {
        for await (const _ of stream);
      })(),
    ).rejects.toMatchObject({ status: grpcCode.cancelled });
    expect([...(await ask(connection, "Echo")).message]).toEqual([1, 2, 3]);
    connection.close();
    await waitFor(() => server.connections === 0, { what: "the connection to go" });
  });

  it("arbitrary bytes end their own connection only", async () => {
    await server.stop();
    // Bytes that are the begin of a frame are waited for until the stranger does not answer a ping.
    server = new RpcServer({ methods, log: silentLogger, keepAlive: { everyMs: 200, withinMs: 500 } });
    await server.listenUnix(socket());
    const good = await connect();
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    for (let i = 0; i < 60; i++) {
      // Half of them begin as HTTP/2 does.
      const noise = randomBytes(1 + i * 40);
      const bytes = i % 2 === 0 ? noise : Buffer.concat([preface, noise]);
      const stranger = connectSocket(socket());
      stranger.on("error", () => undefined);
      await new Promise<void>((resolve) => void stranger.end(bytes, () => resolve()));
    }
    await waitFor(() => server.connections === 1, { timeoutMs: 5000, what: "the strangers to go" });
    expect([...(await ask(good, "Echo")).message]).toEqual([1, 2, 3]);
  });

  it("what is no gRPC is turned away", async () => {
    const session = connectHttp("http://localhost", { createConnection: () => connectSocket(socket()) });
    session.on("error", () => undefined);
    const status = await new Promise((resolve) => {
      const request = session.request({ ":path": "/t.T/Echo" });
      request.on("response", (headers) => resolve(headers[":status"]));
      request.end();
    });
    session.destroy();
    expect(status).toBe(415);
  });
});

describe("mutual TLS", () => {
  let ca: KeyPair;
  const hour = 3_600_000;
  const pair = (name: string, use: "server" | "client", by = ca) =>
    issue({ commonName: name, sans: [name], use, validMs: hour }, by);
  const clientOf = async (by = ca, use: "server" | "client" = "client") => {
    const { certificate, key } = await pair("relay", use, by);
    return { ca: ca.certificate, cert: certificate, key, serverName: "n1.example" };
  };
  const offered = async (holder: TlsHolder, by = ca, trust = ca.certificate) => {
    const { certificate, key } = await pair("n1.example", "server", by);
    holder.offer({ cert: certificate, key, ca: trust });
  };

  beforeEach(async () => {
    ca = await issue({ commonName: "ca", use: "ca", validMs: hour });
  });

  it("lets in whom the CA knows as a client, and nobody else", async () => {
    const holder = new TlsHolder();
    await offered(holder);
    const target = { host: "127.0.0.1", port: await server.listenTcp("127.0.0.1:0", holder) };
    const good = await connect({ target, tls: await clientOf() });
    expect([...(await ask(good, "Echo")).message]).toEqual([1, 2, 3]);
    const other = await issue({ commonName: "other", use: "ca", validMs: hour });
    const strangers = [
      { ca: ca.certificate, serverName: "n1.example" },
      await clientOf(other),
      // A node's certificate is for servers: it does not read other nodes' flows.
      await clientOf(ca, "server"),
    ];
    for (const tls of strangers) {
      const refused = connect({ target, tls, connectMs: 1000 }).then((c) => ask(c, "Echo"));
      await expect(refused).rejects.toMatchObject({ status: grpcCode.unavailable });
    }
    await waitFor(() => server.refused === strangers.length, { what: "the refusals to be counted" });
    // And the client does not talk to another node than it means.
    const wrong = connect({ target, tls: { ...(await clientOf()), serverName: "n2.example" } });
    await expect(wrong).rejects.toMatchObject({ status: grpcCode.unavailable });
  });

  it("takes up new certificates without a restart, and keeps connections", async () => {
    const holder = new TlsHolder();
    await offered(holder);
    const target = { host: "127.0.0.1", port: await server.listenTcp("127.0.0.1:0", holder) };
    const before = await connect({ target, tls: await clientOf() });
    const next = await issue({ commonName: "ca2", use: "ca", validMs: hour });
    // The new CA is trusted beside the old one, then it signs.
    await offered(holder, ca, ca.certificate + next.certificate);
    const both = await connect({ target, tls: await clientOf(next) });
    await offered(holder, next, next.certificate);
    const tls = { ...(await clientOf(next)), ca: next.certificate };
    const after = await connect({ target, tls });
    for (const connection of [before, both, after]) {
      expect([...(await ask(connection, "Echo")).message]).toEqual([1, 2, 3]);
    }
    const old = connect({ target, tls: { ...(await clientOf()), ca: next.certificate } }).then((c) =>
      ask(c, "Echo"),
    );
    await expect(old).rejects.toMatchObject({ status: grpcCode.unavailable });
  });

  it("files are read again when they change, never half", async () => {
    const file = (name: string) => join(dir, name);
    const write = async (by: KeyPair) => {
      const { certificate, key } = await pair("n1.example", "server", by);
      writeFileSync(file("key"), key);
      writeFileSync(file("ca"), by.certificate);
      writeFileSync(file("cert"), certificate);
      return certificate;
    };
    const source = new TlsFileSource({ cert: file("cert"), key: file("key"), ca: file("ca") }, 20);
    try {
      expect(source.current).toBeUndefined();
      expect(source.problem).toContain("ENOENT");
      const first = await write(ca);
      await waitFor(() => source.current?.cert === first, { what: "the first" });
      writeFileSync(file("key"), "half a k");
      await waitFor(() => source.problem?.includes("belong together"), { what: "the damage to be told" });
      expect(source.current?.cert).toBe(first);
      const second = await write(ca);
      await waitFor(() => source.current?.cert === second && source.problem === undefined, {
        what: "the second",
      });
    } finally {
      source.stop();
    }
  });

  it("without certificates nothing listens", async () => {
    await expect(server.listenTcp("127.0.0.1:0", new TlsHolder())).rejects.toMatchObject({
      code: "grpc.tls",
    });
    await expect(server.listenTcp("nonsense", undefined)).rejects.toMatchObject({ code: "grpc.listen" });
  });
});

describe("targets", () => {
  it.each([
    ["unix:///run/x.sock", { path: "/run/x.sock", isTls: false }],
    ["unix:/run/x.sock", { path: "/run/x.sock", isTls: false }],
    ["/run/x.sock", { path: "/run/x.sock", isTls: false }],
    ["localhost", { host: "localhost", port: 4245, isTls: false }],
    ["tls://relay.example:443", { host: "relay.example", port: 443, isTls: true }],
    ["dns:///relay:80", { host: "relay", port: 80, isTls: false }],
    ["[::1]:4244", { host: "::1", port: 4244, isTls: false }],
  ])("%s", (text, target) => expect(parseTarget(text)).toEqual(target));

  it.each(["", "a b:1", "relay:99999", "http://x/y", "::1:4244:"])("%j is none", (text) => {
    expect(() => parseTarget(text)).toThrow("is no server");
  });
});
