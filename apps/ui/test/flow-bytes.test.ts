import { AxonError } from "@axoneme/base";
import { type Flow, FlowSchema, FlowVerdict, GetFlowsResponseSchema } from "@axoneme/proto";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Ends } from "../src/server/ends.ts";
import { FlowBytes } from "../src/server/flow-bytes.ts";
import { Intake } from "../src/server/intake.ts";
import { MessageRows, rowOfMessage } from "../src/server/message-rows.ts";
import { ServiceMap } from "../src/server/service-map.ts";
import { everything, type Filter, matches } from "../src/shared/model.ts";

const word = fc.constantFrom("", "a", "shop", "cart", "ü", "web-1", "long".repeat(60));
const endpoint = fc.record({
  ID: fc.nat(70_000),
  identity: fc.nat(1 << 25),
  namespace: word,
  podName: word,
  labels: fc.array(
    fc.constantFrom("k8s:app=cart", "reserved:world", "reserved:host", "reserved:kube-apiserver", "k8s:x=y"),
    { maxLength: 4 },
  ),
  workloads: fc.array(fc.record({ name: word, kind: word }), { maxLength: 2 }),
  process: fc.option(fc.record({ binary: word, pid: fc.nat(1 << 22) }), { nil: undefined }),
});
const port = fc.nat(65_535);
const ports = fc.record({ sourcePort: port, destinationPort: port });
const protocol = fc.oneof(
  fc.record({ case: fc.constantFrom("TCP" as const), value: ports }),
  fc.record({ case: fc.constantFrom("UDP" as const), value: ports }),
  fc.record({ case: fc.constantFrom("SCTP" as const), value: ports }),
  fc.record({ case: fc.constantFrom("ICMPv4" as const), value: fc.record({ type: port, code: port }) }),
  fc.constant({ case: undefined }),
);
const flow: fc.Arbitrary<MessageInitShape<typeof FlowSchema>> = fc.record({
  time: fc.constant(timestampFromMs(1_700_000_000_123)),
  uuid: word,
  verdict: fc.constantFrom(FlowVerdict.FORWARDED, FlowVerdict.DROPPED, FlowVerdict.AUDIT, FlowVerdict.ERROR),
  socketCookie: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  source: fc.option(endpoint, { nil: undefined }),
  destination: fc.option(endpoint, { nil: undefined }),
  sourceNames: fc.array(word, { maxLength: 3 }),
  destinationNames: fc.array(word, { maxLength: 3 }),
  l4: fc.option(fc.record({ protocol }), { nil: undefined }),
  isReply: fc.constantFrom(undefined, true, false),
  egressAllowedBy: fc.array(fc.record({ name: word, namespace: word }), { maxLength: 2 }),
  Summary: word,
});

function messageOf(value: MessageInitShape<typeof FlowSchema>): Uint8Array {
  const response = { responseTypes: { case: "flow", value: create(FlowSchema, value) as Flow } } as const;
  return toBinary(
    GetFlowsResponseSchema,
    create(GetFlowsResponseSchema, { ...response, nodeName: "node1", time: timestampFromMs(1) }),
  );
}

test("what is read from the bytes is what the whole message says", () => {
  const bytes = new FlowBytes();
  const ends = new Ends();
  fc.assert(
    fc.property(flow, (value) => {
      const message = messageOf(value);
      const row = rowOfMessage(message);
      bytes.read(message);
      expect({
        isFlow: bytes.isFlow,
        id: bytes.text(bytes.uuid),
        isReply: bytes.isReply,
        protocol: bytes.protocol,
        ports: [bytes.sourcePort, bytes.destinationPort],
        source: ends.of(bytes, bytes.source, bytes.sourceName).node.id,
        destination: ends.of(bytes, bytes.destination, bytes.destinationName).node.id,
      }).toEqual({
        isFlow: true,
        id: row?.id,
        isReply: row?.isReply,
        protocol: row?.protocol,
        ports: [row?.source.port, row?.destination.port],
        source: row?.source.group,
        destination: row?.destination.group,
      });
    }),
    { numRuns: 500 },
  );
});

test("all programs of a pod are one end", () => {
  const bytes = new FlowBytes();
  const ends = new Ends();
  const end = (binary: string, pid: number) => {
    bytes.read(messageOf({ source: { namespace: "shop", podName: "web", process: { binary, pid } } }));
    return ends.of(bytes, bytes.source, bytes.sourceName);
  };
  expect(end("/bin/a", 1)).toBe(end("/usr/bin/long", 70_000));
  const row = rowOfMessage(
    messageOf({ source: { podName: "web", process: { binary: "/bin/a", pid: 7, uid: 3 } } }),
  );
  expect(row?.source.program).toMatchObject({ binary: "/bin/a", pid: 7, uid: 3, started: 0 });
});

test("flows add up from bytes as they do from rows", () => {
  fc.assert(
    fc.property(fc.array(flow, { maxLength: 30 }), (flows) => {
      const [fromBytes, fromRows] = [new ServiceMap(10), new ServiceMap(10)];
      const intake = new Intake(fromBytes);
      for (const message of flows.map(messageOf)) {
        intake.take(message);
        const row = rowOfMessage(message);
        if (row !== undefined) fromRows.add(row);
      }
      const told = (map: ServiceMap) => map.delta(everything, 0, new Set(), 100);
      expect(told(fromBytes)).toEqual(told(fromRows));
    }),
    { numRuns: 100 },
  );
});

test("no flow that a filter matches is passed over", () => {
  const reader = new MessageRows();
  const filters: fc.Arbitrary<Partial<Filter>> = fc.constantFrom(
    { namespace: "shop" },
    { verdict: "dropped" as const },
    { verdict: "error" as const },
    { protocol: "ICMPV4" },
    { port: "80" },
    { text: "ü" },
    { text: "app=cart" },
    { text: "longlong" },
    { group: "ns:shop" },
    { group: "w:shop/cart" },
    { group: "n:a" },
    { group: "r:world" },
  );
  fc.assert(
    fc.property(flow, filters, (value, part) => {
      const message = messageOf(value);
      const row = rowOfMessage(message);
      const filter = { ...everything, ...part };
      if (row !== undefined && matches(row, filter)) expect(reader.mayMatch(message, filter)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test("lost events are counted, and what is no flow is none", () => {
  const intake = new Intake(new ServiceMap(10));
  const lost = create(GetFlowsResponseSchema, {
    responseTypes: { case: "lostEvents", value: { numEventsLost: 4711n } },
  });
  expect(intake.take(toBinary(GetFlowsResponseSchema, lost))).toMatchObject({ isFlow: false, lost: 4711 });
});

test("whatever bytes come, the answer is a flow or a clear error", () => {
  const reads = (message: Uint8Array): void => {
    try {
      new FlowBytes().read(message);
    } catch (error) {
      expect(error).toBeInstanceOf(AxonError);
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), reads), { numRuns: 2000 });
  fc.assert(
    fc.property(flow, fc.nat(), fc.nat(255), (value, at, byte) => {
      const message = messageOf(value);
      message[at % message.length] = byte;
      reads(message);
      reads(message.subarray(0, at % message.length));
    }),
    { numRuns: 500 },
  );
});
