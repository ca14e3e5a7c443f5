import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Emitter, FakeClock, silentLogger, waitFor } from "@axoneme/base";
import { emptyResolver, type FlowResolver, RawStore } from "@axoneme/flow";
import { TlsHolder } from "@axoneme/grpc";
import {
  ChangeNotificationSchema,
  GetFlowsRequestSchema,
  GetFlowsResponseSchema,
  GetNamespacesResponseSchema,
  HealthCheckRequestSchema,
  HealthCheckResponseSchema,
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
  ServerStatusResponseSchema,
} from "@axoneme/proto";
import {
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonObject,
  type JsonValue,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import {
  type ChannelCredentials,
  Client,
  type ClientReadableStream,
  credentials,
  logVerbosity,
  type Metadata,
  type ServiceError,
  setLogVerbosity,
  status,
} from "@grpc/grpc-js";
import { Registry } from "prom-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type HubbleOptions,
  type HubblePeer,
  type HubbleServer,
  Observer,
  type PeerChange,
  serveHubble,
} from "../src/index.ts";
import { batchOf, type TestRecord } from "./records.ts";

const startMs = Date.parse("2026-11-20T12:00:00Z");
const at = (seconds: number): string => new Date(startMs + seconds * 1000).toISOString();
const numbered = (from: number, to: number, more: TestRecord = {}): TestRecord[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ dport: from + i, ms: (from + i) * 1000, ...more }));

const peer = (name: string): HubblePeer => ({
  name,
  address: `192.0.2.1:4244`,
  serverName: `${name}.default.hubble-grpc.cilium.io`,
});

const namespaces: Record<number, string> = { 1000: "shop", 1001: "bank", 1002: "old" };

/** Endpoint 7 is in the namespace "edge". */
const resolver: FlowResolver = {
  ...emptyResolver("node1"),
  identityById: (id) => {
    const namespace = namespaces[id];
    return namespace === undefined ? undefined : { labels: ["k8s:app=a"], namespace };
  },
  endpointById: (id) => (id === 7 ? { namespace: "edge", podName: "e" } : undefined),
};

let dir: string;
let observer: Observer;
let changes: Emitter<PeerChange>;
let registry: Registry;
let server: HubbleServer;
let client: Client;

const options = (): HubbleOptions => ({
  registry: register(),
  observer,
  resolver,
  clusterName: "default",
  version: "1.2.3",
  peers: { list: () => [peer("node1"), peer("node2")], changes },
  socketPath: join(dir, "hubble.sock"),
  log: silentLogger,
});

/** A registry for each server. */
function register(): Registry {
  registry = new Registry();
  return registry;
}

const connect = (
  address = `unix:${join(dir, "hubble.sock")}`,
  by: ChannelCredentials = credentials.createInsecure(),
) => new Client(address, by, { "grpc.use_local_subchannel_pool": 1 });

function start(capacity = 1024): void {
  const clock = new FakeClock(startMs);
  const store = new RawStore({ capacity });
  observer = new Observer({ store, resolver, version: "1.2.3", clock, seed: new Uint8Array(8) });
}

const add = (...records: TestRecord[]): void => observer.ingest(batchOf(records), records.length);

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "axon-grpc-"));
  changes = new Emitter();
  start();
  server = await serveHubble(options());
  client = connect();
});

afterEach(async () => {
  client.close();
  await server.stop();
  rmSync(dir, { recursive: true, force: true });
});

const bytes = (buffer: Uint8Array) => Buffer.from(buffer);
const readable = (schema: DescMessage) => (buffer: Buffer) =>
  toJson(schema, fromBinary(schema, buffer), { useProtoFieldName: true }) as JsonObject;

function unary(path: string, answer: DescMessage, request = Buffer.alloc(0), through = client) {
  return new Promise<{ body: JsonObject; metadata: Metadata }>((resolve, reject) => {
    let metadata: Metadata;
    through
      .makeUnaryRequest(
        path,
        (b: Buffer) => b,
        readable(answer),
        request,
        (error, body) => (error ? reject(error) : resolve({ body: body ?? {}, metadata })),
      )
      .on("metadata", (m: Metadata) => {
        metadata = m;
      });
  });
}

function getFlows(request: JsonValue = {}): ClientReadableStream<JsonObject> {
  const body = bytes(toBinary(GetFlowsRequestSchema, fromJson(GetFlowsRequestSchema, request)));
  return client.makeServerStreamRequest(
    "/observer.Observer/GetFlows",
    (b: Buffer) => b,
    readable(GetFlowsResponseSchema),
    body,
  );
}

type Response = { flow?: { l4?: { UDP?: { destination_port?: number } } }; lost_events?: { source: string } };
const portOf = (response: JsonObject): number | string => {
  const { flow, lost_events: lost } = response as unknown as Response;
  return lost ? lost.source : (flow?.l4?.UDP?.destination_port ?? -1);
};

/** Keeps what a stream says as it comes. */
function follow(request: JsonValue): {
  stream: ClientReadableStream<JsonObject>;
  ports: (number | string)[];
} {
  const stream = getFlows(request);
  const ports: (number | string)[] = [];
  stream.on("data", (response: JsonObject) => ports.push(portOf(response)));
  stream.on("error", () => undefined);
  return { stream, ports };
}

async function ports(request?: JsonValue): Promise<(number | string)[]> {
  const found: (number | string)[] = [];
  for await (const response of getFlows(request)) found.push(portOf(response as JsonObject));
  return found;
}

const failure = (request: JsonValue): Promise<ServiceError> =>
  ports(request).then(
    () => Promise.reject(new Error("did not fail")),
    (error: ServiceError) => error,
  );

const until = (cond: () => boolean, what: string) => waitFor(cond, { timeoutMs: 10_000, everyMs: 5, what });

describe("GetFlows", () => {
  it("streams the store, with time, node and version", async () => {
    add(...numbered(1, 3));
    const stream = getFlows();
    let version: unknown;
    stream.on("metadata", (metadata: Metadata) => {
      version = metadata.get("hubble-server-version");
    });
    const responses: JsonObject[] = [];
    for await (const response of stream) responses.push(response as JsonObject);
    expect(responses.map(portOf)).toEqual([1, 2, 3]);
    expect(responses[0]).toMatchObject({
      node_name: "node1",
      time: "2026-11-20T12:00:01Z",
      flow: { node_name: "node1", IP: { source: "10.0.0.1", ipVersion: "IPv4" }, Type: "L3_L4" },
    });
    expect(version).toEqual(["1.2.3"]);
  });

  it("number, first, since, until", async () => {
    add(...numbered(1, 9));
    expect(await ports({ number: "2" })).toEqual([8, 9]);
    expect(await ports({ number: "2", first: true })).toEqual([1, 2]);
    expect(await ports({ since: at(7) })).toEqual([7, 8, 9]);
    expect(await ports({ until: at(2) })).toEqual([1, 2]);
    expect(await ports({ since: at(3), until: at(4), number: "1" })).toEqual([3]);
    expect(await ports({ number: "18446744073709551615" })).toHaveLength(9);
  });

  it("white and black lists", async () => {
    add(...numbered(1, 3), { type: 1, subtype: 133, dport: 4, ms: 4000 }, ...numbered(5, 6));
    expect(await ports({ whitelist: [{ verdict: ["DROPPED"] }] })).toEqual([4]);
    expect(await ports({ whitelist: [{ drop_reason_desc: ["POLICY_DENIED"] }] })).toEqual([4]);
    expect(await ports({ whitelist: [{ event_type: [{ type: 1 }] }] })).toEqual([4]);
    expect(await ports({ blacklist: [{ destination_port: ["2", "4"] }] })).toEqual([1, 3, 5, 6]);
    const both = {
      whitelist: [{ destination_port: ["1"] }, { destination_port: ["5"] }],
      blacklist: [{ source_ip: ["192.0.2.0/24"] }],
    };
    expect(await ports(both)).toEqual([1, 5]);
    expect(await ports({ whitelist: [{ ip_version: ["IPv6"] }] })).toEqual([]);
    expect(await ports({ whitelist: [{ protocol: ["tcp"] }] })).toEqual([]);
    expect(await ports({ whitelist: [{ node_name: ["node*"], traffic_direction: ["INGRESS"] }] })).toEqual(
      [],
    );
  });

  it("a field mask", async () => {
    add(...numbered(1, 1));
    const responses: JsonObject[] = [];
    const request = { field_mask: "l4,Summary", number: "1" };
    const wire = fromJson(GetFlowsRequestSchema, { number: "1" });
    wire.fieldMask = { $typeName: "google.protobuf.FieldMask", paths: request.field_mask.split(",") };
    const stream = client.makeServerStreamRequest(
      "/observer.Observer/GetFlows",
      (b: Buffer) => b,
      readable(GetFlowsResponseSchema),
      bytes(toBinary(GetFlowsRequestSchema, wire)),
    );
    for await (const response of stream) responses.push(response as JsonObject);
    expect(responses).toEqual([
      {
        flow: { l4: { UDP: { destination_port: 1 } }, Summary: "UDP" },
        node_name: "node1",
        time: "2026-11-20T12:00:01Z",
      },
    ]);
  });

  it("the mask that the field's CLI sends for its text outputs", async () => {
    add({ type: 5, flags: 0x10, dport: 1, ms: 1000, srcIdentity: 1000, dstEp: 7 });
    const wire = fromJson(GetFlowsRequestSchema, { number: "20", whitelist: [], blacklist: [] });
    const paths = [
      ...[
        "time",
        "verdict",
        "ethernet",
        "IP",
        "l4",
        "source.identity",
        "source.namespace",
        "source.pod_name",
      ],
      ...["destination.identity", "destination.namespace", "destination.pod_name", "Type", "node_name", "l7"],
      ...["event_type", "source_service", "destination_service", "is_reply", "Summary", "ip_trace_id"],
    ];
    wire.fieldMask = { $typeName: "google.protobuf.FieldMask", paths };
    const stream = client.makeServerStreamRequest(
      "/observer.Observer/GetFlows",
      (b: Buffer) => b,
      readable(GetFlowsResponseSchema),
      bytes(toBinary(GetFlowsRequestSchema, wire)),
    );
    const responses: JsonObject[] = [];
    for await (const response of stream) responses.push(response as JsonObject);
    expect(responses.at(-1)).toMatchObject({
      flow: {
        source: { identity: 1000, namespace: "shop" },
        destination: { namespace: "edge", pod_name: "e" },
      },
    });
    for (const { flow } of responses as { flow: JsonObject }[]) {
      for (const name of ["uuid", "traffic_direction", "labels"]) expect(flow).not.toHaveProperty(name);
      expect(flow["source"]).not.toHaveProperty("labels");
    }
  });

  it("follow from now on, and with a number", async () => {
    add(...numbered(1, 3));
    const live = follow({ follow: true });
    const last = follow({ follow: true, number: "2" });
    await until(() => last.ports.length === 2 && server.streams === 2, "the last two");
    add(...numbered(4, 5));
    await until(() => live.ports.length === 2 && last.ports.length === 4, "new flows");
    expect(live.ports).toEqual([4, 5]);
    expect(last.ports).toEqual([2, 3, 4, 5]);
    live.stream.cancel();
    last.stream.cancel();
    await until(() => server.streams === 0, "released streams");
  });

  it("releases a reader whose connection breaks", async () => {
    const gone = connect();
    const live = gone.makeServerStreamRequest(
      "/observer.Observer/GetFlows",
      (b: Buffer) => b,
      readable(GetFlowsResponseSchema),
      bytes(toBinary(GetFlowsRequestSchema, fromJson(GetFlowsRequestSchema, { follow: true, since: at(0) }))),
    );
    live.on("error", () => undefined);
    await until(() => server.streams === 1, "a stream");
    live.cancel();
    gone.close();
    await until(() => server.streams === 0, "a released stream");
    expect(observer.store.onAppend.listenerCount).toBe(0);
  });

  it("a slow reader is told what it lost, and nothing piles up for it", { timeout: 30_000 }, async () => {
    const stream = getFlows({ follow: true, since: at(0) });
    stream.pause();
    await until(() => server.streams === 1, "a stream");
    let sent = 0;
    // Windows of the connection fill, then the store runs over.
    const fill = () => {
      add(...numbered(1, 500));
      sent += 500;
    };
    for (let i = 0; i < 60; i++) {
      fill();
      await new Promise((resolve) => setImmediate(resolve));
    }
    let got = 0;
    let lost = 0;
    stream.on("data", (response: JsonObject) => {
      const { lost_events: loss } = response as { lost_events?: { num_events_lost: string; source: string } };
      if (loss) lost += Number(loss.num_events_lost);
      else got++;
      if (loss) expect(loss.source).toBe("HUBBLE_RING_BUFFER");
    });
    stream.on("error", () => undefined);
    stream.resume();
    await until(() => got + lost === sent, "all of them, delivered or counted");
    expect(lost).toBeGreaterThan(0);
    stream.cancel();
  });

  it("filters by expressions in CEL", async () => {
    add(...numbered(1, 9));
    const cel_expression = ["_flow.l4.UDP.destination_port > 7u && _flow.verdict == Verdict.FORWARDED"];
    expect(await ports({ whitelist: [{ experimental: { cel_expression } }] })).toEqual([8, 9]);
    expect(await ports({ blacklist: [{ experimental: { cel_expression } }] })).toEqual([1, 2, 3, 4, 5, 6, 7]);
    const broken = { whitelist: [{ experimental: { cel_expression: ["_flow.verdict =="] } }] };
    expect((await failure(broken)).details).toMatch(/cel_expression "_flow.verdict ==":/);
  });

  it("refuses what is wrong", async () => {
    const cases: JsonValue[] = [
      { first: true, follow: true },
      { whitelist: [{ source_ip: ["nonsense"] }] },
      { whitelist: [{ experimental: { cel_expression: ["_flow.nothing == 1"] } }] },
      { field_mask: "nope" },
    ];
    for (const request of cases) {
      expect(await failure(request)).toMatchObject({ code: status.INVALID_ARGUMENT });
    }
    expect((await failure({ field_mask: "nope" })).details).toContain('no field "nope"');
    expect(server.streams).toBe(0);
  });
});

it("counts calls, their messages and how they end, by the field's names", async () => {
  const labels = (kind: string, service: string, method: string): string =>
    `{grpc_type="${kind}",grpc_service="${service}",grpc_method="${method}"`;
  const getFlows = labels("server_stream", "observer.Observer", "GetFlows");
  const line = async (name: string): Promise<string | undefined> =>
    (await registry.metrics()).split("\n").find((text) => text.startsWith(name));
  expect(await line(`grpc_server_started_total${getFlows}`)).toMatch(/ 0$/);
  add(...numbered(1, 700));
  await ports();
  await failure({ first: true, follow: true });
  await unary("/observer.Observer/ServerStatus", ServerStatusResponseSchema);
  const { stream } = follow({ follow: true });
  await waitFor(async () => (await line(`grpc_server_started_total${getFlows}`))?.endsWith(" 3"), {
    what: "the call",
  });
  expect(await line(`grpc_server_msg_received_total${getFlows}`)).toMatch(/ 2$| 3$/);
  expect(await line(`grpc_server_msg_sent_total${getFlows}`)).toMatch(/ 700$/);
  expect(await line(`grpc_server_handled_total${getFlows},grpc_code="OK"`)).toMatch(/ 1$/);
  expect(await line(`grpc_server_handled_total${getFlows},grpc_code="InvalidArgument"`)).toMatch(/ 1$/);
  const status = labels("unary", "observer.Observer", "ServerStatus");
  expect(await line(`grpc_server_handled_total${status},grpc_code="OK"`)).toMatch(/ 1$/);
  expect(await line(`grpc_server_handling_seconds_count${getFlows}`)).toMatch(/ 2$/);
  stream.cancel();
  const cancelled = `grpc_server_handled_total${getFlows},grpc_code="Canceled"`;
  await waitFor(async () => (await line(cancelled))?.endsWith(" 1"), { what: "the end of the call" });
});

describe("the other methods", () => {
  it("ServerStatus", async () => {
    add(...numbered(1, 3));
    const { body, metadata } = await unary("/observer.Observer/ServerStatus", ServerStatusResponseSchema);
    expect(body).toMatchObject({ num_flows: "3", max_flows: "1024", seen_flows: "3", version: "1.2.3" });
    expect(metadata.get("hubble-server-version")).toEqual(["1.2.3"]);
  });

  it("GetNamespaces: those of identities and endpoints in flows", async () => {
    const ask = () => unary("/observer.Observer/GetNamespaces", GetNamespacesResponseSchema);
    expect((await ask()).body).toEqual({});
    const ms = Date.now() - startMs;
    add({ srcIdentity: 1002, ms: 1 }, { srcIdentity: 1001, dstIdentity: 1000, ms }, { dstEp: 7, ms });
    expect((await ask()).body).toEqual({
      namespaces: ["bank", "edge", "shop"].map((namespace) => ({ cluster: "default", namespace })),
    });
  });

  it.each(["GetNodes", "GetAgentEvents"])("%s is not served here", async (method) => {
    const asked = unary(`/observer.Observer/${method}`, ServerStatusResponseSchema);
    await expect(asked).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  });

  it("recording packets is not supported, and that is said", async () => {
    const asked = unary("/recorder.Recorder/Record", ServerStatusResponseSchema);
    await expect(asked).rejects.toMatchObject({
      code: status.UNIMPLEMENTED,
      details: expect.stringContaining("not supported") as string,
    });
  });

  it("Notify: the peers, then changes", async () => {
    const seen: JsonObject[] = [];
    const stream = client.makeServerStreamRequest(
      "/peer.Peer/Notify",
      (b: Buffer) => b,
      readable(ChangeNotificationSchema),
      Buffer.alloc(0),
    );
    stream.on("data", (change: JsonObject) => seen.push(change));
    stream.on("error", () => undefined);
    await until(() => seen.length === 2, "two peers");
    expect(seen[0]).toEqual({
      name: "node1",
      address: "192.0.2.1:4244",
      type: "PEER_ADDED",
      tls: { server_name: "node1.default.hubble-grpc.cilium.io" },
    });
    changes.emit({ type: "PEER_DELETED", peer: peer("node2") });
    await until(() => seen.length === 3, "a change");
    expect(seen[2]).toMatchObject({ name: "node2", type: "PEER_DELETED" });
    stream.cancel();
    await until(() => changes.listenerCount === 0, "a released reader");
  });

  it("health, by the names that clients use", async () => {
    const ask = (service: string) =>
      bytes(toBinary(HealthCheckRequestSchema, fromJson(HealthCheckRequestSchema, { service })));
    for (const name of ["", "hubble.server.Observer", "observer.Observer"]) {
      const { body } = await unary("/grpc.health.v1.Health/Check", HealthCheckResponseSchema, ask(name));
      expect(body).toEqual({ status: "SERVING" });
    }
    const unknown = unary("/grpc.health.v1.Health/Check", HealthCheckResponseSchema, ask("nobody"));
    await expect(unknown).rejects.toMatchObject({ code: status.NOT_FOUND });
  });

  it.each(["v1", "v1alpha"])("reflection %s lists services and describes them", async (version) => {
    const stream = client.makeBidiStreamRequest(
      `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
      (json: JsonValue) =>
        bytes(toBinary(ServerReflectionRequestSchema, fromJson(ServerReflectionRequestSchema, json))),
      (buffer: Buffer) => fromBinary(ServerReflectionResponseSchema, buffer).messageResponse,
    );
    stream.write({ list_services: "" });
    stream.write({ file_containing_symbol: "flow.Flow" });
    stream.write({ file_by_filename: "observer/observer.proto" });
    stream.write({ file_containing_symbol: "nobody.Knows" });
    stream.end();
    const answers: unknown[] = [];
    for await (const answer of stream) answers.push(answer);
    expect(answers[0]).toMatchObject({
      case: "listServicesResponse",
      value: {
        service: [
          { name: "observer.Observer" },
          { name: "peer.Peer" },
          { name: "grpc.health.v1.Health" },
          { name: "grpc.reflection.v1.ServerReflection" },
          { name: "grpc.reflection.v1alpha.ServerReflection" },
        ],
      },
    });
    const files = (answers.slice(1, 3) as { value: { fileDescriptorProto: Uint8Array[] } }[]).map(
      ({ value }) =>
        value.fileDescriptorProto.map((file) => fromBinary(FileDescriptorProtoSchema, file).name),
    );
    expect(files[0]?.[0]).toBe("flow/flow.proto");
    expect(files[1]).toContain("google/protobuf/timestamp.proto");
    expect(files[1]).toContain("relay/relay.proto");
    expect(answers[3]).toMatchObject({ case: "errorResponse", value: { errorCode: status.NOT_FOUND } });
  });
});

describe("where it listens", () => {
  it("on a socket for its owner alone, that goes with it", async () => {
    const path = join(dir, "hubble.sock");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await server.stop();
    expect(() => statSync(path)).toThrow();
    server = await serveHubble(options());
    client.close();
    client = connect();
    expect(await ports()).toEqual([]);
  });

  it("on TCP for those who have a certificate", async () => {
    const pem = certificates(dir);
    const tls = new TlsHolder();
    const text = (name: string) => pem(name).toString();
    tls.offer({ cert: text("server.crt"), key: text("server.key"), ca: text("ca.crt") });
    const address = `localhost:${await server.listenTcp({ address: "127.0.0.1:0", tls })}`;
    const known = connect(
      address,
      credentials.createSsl(pem("ca.crt"), pem("server.key"), pem("server.crt")),
    );
    const stranger = connect(address, credentials.createSsl(pem("ca.crt")));
    try {
      const { body } = await unary(
        "/observer.Observer/ServerStatus",
        ServerStatusResponseSchema,
        Buffer.alloc(0),
        known,
      );
      expect(body).toMatchObject({ version: "1.2.3" });
      const refused = unary(
        "/observer.Observer/ServerStatus",
        ServerStatusResponseSchema,
        Buffer.alloc(0),
        stranger,
      );
      await expect(refused).rejects.toMatchObject({ code: status.UNAVAILABLE });
    } finally {
      known.close();
      stranger.close();
    }
  });

  it("says where it cannot", async () => {
    setLogVerbosity(logVerbosity.NONE);
    const nowhere = serveHubble({ ...options(), socketPath: join(dir, "no/such/dir/hubble.sock") });
    await expect(nowhere).rejects.toMatchObject({ code: "observe.hubble_listen" });
    setLogVerbosity(logVerbosity.ERROR);
  });
});

/** A CA and a certificate for localhost, made by openssl. */
function certificates(into: string): (name: string) => Buffer {
  const openssl = (...args: string[]): void => {
    const { status: code, stderr } = spawnSync("openssl", args, { cwd: into, encoding: "utf8" });
    if (code !== 0) throw new Error(stderr);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2");
  const names = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"];
  const signed = ["-CA", "ca.crt", "-CAkey", "ca.key"];
  openssl(
    ...["req", "-x509", ...key, "-keyout", "server.key", "-out", "server.crt", "-subj", "/CN=localhost"],
    ...names,
    ...signed,
    ...["-days", "2"],
  );
  return (name) => readFileSync(join(into, name));
}
