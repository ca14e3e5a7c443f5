import { formatIp, parseIp } from "@axoneme/base";
import { type Answer, decode, encode, type Packet } from "dns-packet";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  answerWithout,
  MAX_MESSAGE,
  RCODE,
  readAddresses,
  readAnswerHead,
  readQuery,
  typeName,
} from "../src/index.ts";

const query = (name: string, type: "A" | "AAAA" = "A", more: Partial<Packet> = {}): Uint8Array =>
  encode({ type: "query", id: 0x1234, flags: 0x100, questions: [{ type, name }], ...more });

const answer = (name: string, answers: Answer[], more: Partial<Packet> = {}): Uint8Array =>
  encode({ type: "response", id: 7, questions: [{ type: "A", name }], answers, ...more });

const learn = (bytes: Uint8Array) => {
  const { question } = readAnswerHead(bytes);
  if (question === undefined) throw new Error("no question");
  return readAddresses(bytes, question);
};

describe("queries", () => {
  it("are read", () => {
    const bytes = query("Example.COM", "AAAA", {
      additionals: [
        {
          type: "OPT",
          name: ".",
          udpPayloadSize: 1232,
          flags: 0,
          extendedRcode: 0,
          ednsVersion: 0,
          flag_do: false,
          options: [],
        },
      ],
    });
    expect(readQuery(bytes)).toEqual({
      id: 0x1234,
      opcode: 0,
      name: "example.com.",
      type: 28,
      class: 1,
      end: 29,
    });
  });

  it("have names with any bytes, escaped", () => {
    const bytes = query("aaa.b");
    bytes.set([0x2e, 0x00, 0x41], 13);
    expect(readQuery(bytes).name).toBe("\\.\\000a.b.");
  });

  it("are refused in their own words", () => {
    const bytes = query("example.com", "A", { flags: 0x110 });
    const { end } = readQuery(bytes);
    const refusal = decode(Buffer.from(answerWithout(bytes, end, RCODE.refused)));
    expect(refusal).toMatchObject({
      id: 0x1234,
      type: "response",
      rcode: "REFUSED",
      flag_rd: true,
      flag_ra: true,
    });
    expect(refusal.questions).toEqual([{ name: "example.com", type: "A", class: "IN" }]);
    expect(refusal.answers).toEqual([]);
  });

  it.each<[string, (bytes: Uint8Array) => Uint8Array | undefined]>([
    ["cut in the header", (b) => b.subarray(0, 11)],
    ["cut in the name", (b) => b.subarray(0, 15)],
    ["cut behind the name", (b) => b.subarray(0, b.length - 2)],
    ["too long", () => new Uint8Array(MAX_MESSAGE + 1)],
    ["with no question", (b) => b.fill(0, 4, 6)],
    ["with many questions", (b) => b.fill(0xff, 4, 6)],
    ["that are answers", (b) => b.fill(0x81, 2, 3)],
    ["with a pointer to itself", (b) => b.fill(0xc0, 12, 13).fill(12, 13, 14)],
    ["with a pointer ahead", (b) => b.fill(0xc0, 12, 13).fill(14, 13, 14)],
    ["with an unknown label", (b) => b.fill(0x41, 12, 13)],
  ])("%s are malformed", (_, break_) => {
    const bytes = query("example.com");
    expect(() => readQuery(break_(bytes) ?? bytes)).toThrow(expect.objectContaining({ code: "dns.message" }));
  });
});

describe("answers", () => {
  it("give addresses along aliases in any order, with the least TTL", () => {
    const bytes = answer("www.example.com", [
      { type: "A", name: "edge.cdn.net", ttl: 300, data: "192.0.2.1" },
      { type: "CNAME", name: "b.cdn.net", ttl: 20, data: "edge.cdn.net" },
      { type: "CNAME", name: "WWW.example.com", ttl: 60, data: "b.cdn.net" },
      { type: "A", name: "edge.cdn.net", ttl: 10, data: "192.0.2.2" },
      { type: "A", name: "edge.cdn.net", ttl: 30, data: "192.0.2.1" },
    ]);
    expect(learn(bytes)).toEqual({
      cnames: ["b.cdn.net.", "edge.cdn.net."],
      addresses: [
        { ip: "192.0.2.1", ttl: 20 },
        { ip: "192.0.2.2", ttl: 10 },
      ],
    });
  });

  it("say nothing about the addresses of other names", () => {
    const bytes = answer("good.example", [
      { type: "A", name: "evil.example", ttl: 300, data: "192.0.2.66" },
      { type: "CNAME", name: "evil.example", ttl: 300, data: "good.example" },
      { type: "A", name: "good.example", ttl: 300, data: "192.0.2.1" },
    ]);
    expect(learn(bytes)).toEqual({ cnames: [], addresses: [{ ip: "192.0.2.1", ttl: 300 }] });
  });

  it("end with aliases that go round in circles", () => {
    const bytes = answer("a.x", [
      { type: "CNAME", name: "a.x", ttl: 1, data: "b.x" },
      { type: "CNAME", name: "b.x", ttl: 1, data: "a.x" },
      { type: "A", name: "b.x", ttl: 9, data: "192.0.2.1" },
    ]);
    expect(learn(bytes)).toEqual({ cnames: ["b.x."], addresses: [{ ip: "192.0.2.1", ttl: 1 }] });
  });

  it("have IPv6 addresses, and records of no interest", () => {
    const bytes = answer("a.x", [
      { type: "TXT", name: "a.x", ttl: 1, data: ["hello"] },
      { type: "AAAA", name: "a.x", ttl: 9, data: "2001:db8::53" },
      { type: "MX", name: "a.x", ttl: 1, data: { preference: 1, exchange: "mail.a.x" } },
    ]);
    const [first] = learn(bytes).addresses;
    expect(formatIp(parseIp(first?.ip ?? ""))).toBe("2001:db8::53");
  });

  it("may have no question when they complain", () => {
    expect(readAnswerHead(encode({ type: "response", id: 9, flags: RCODE.formErr }))).toEqual({
      id: 9,
      rcode: 1,
      truncated: false,
    });
    expect(() => readAnswerHead(encode({ type: "response", id: 9 }))).toThrow(/0 questions/);
  });

  it("are bounded in what they cost: a chain of pointers in each of thousands of records", () => {
    const labels = 120;
    const bytes = new Uint8Array(MAX_MESSAGE).fill(0);
    bytes.set([0, 1, 0x80, 0, 0, 1, 0x14, 0], 0);
    let at = 12;
    for (let i = 0; i < labels; i++, at += 2) bytes.set([1, 97], at);
    at += 1 + 4;
    for (; at + 12 < MAX_MESSAGE; at += 12) bytes.set([0xc0, 12, 0, 1, 0, 1], at);
    const before = process.cpuUsage();
    expect(() => learn(bytes)).toThrow(/too many names|address of/);
    expect(process.cpuUsage(before).user).toBeLessThan(200_000);
  });

  it("of unknown types have a name too", () => {
    expect([typeName(1), typeName(65), typeName(1234)]).toEqual(["A", "HTTPS", "TYPE1234"]);
  });
});

const only = (read: () => unknown): boolean => {
  try {
    read();
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: "dns.message" });
    return false;
  }
};

describe("whatever comes from the network", { timeout: 60_000 }, () => {
  const label = fc.stringMatching(/^[a-z0-9-]{1,12}$/);
  const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join("."));
  const ip = fc.ipV4();
  const records = fc.array(
    fc.oneof(
      fc.record({ type: fc.constant("A" as const), name, ttl: fc.nat(9999), data: ip }),
      fc.record({ type: fc.constant("CNAME" as const), name, ttl: fc.nat(9999), data: name }),
    ),
    { maxLength: 8 },
  );

  it("ends in a message or in the one error", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (bytes, response) => {
        if (bytes.length > 5) bytes.set([response ? 0x80 : 0, 0, 0, 1], 2);
        only(() => readQuery(bytes));
        only(() => learn(bytes));
      }),
      { numRuns: 5000 },
    );
  });

  it("also with some bytes of a good message changed, or cut", () => {
    fc.assert(
      fc.property(
        name,
        records,
        fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }),
        fc.nat(300),
        (asked, answers, changes, cut) => {
          const bytes = answer(asked, answers);
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
          only(() => learn(bytes.subarray(0, cut)));
          only(() => learn(bytes));
          only(() => readQuery(bytes));
        },
      ),
      { numRuns: 5000 },
    );
  });

  it("is read as dns-packet reads it", () => {
    fc.assert(
      fc.property(name, records, (asked, answers) => {
        const bytes = answer(asked, answers);
        const { question } = readAnswerHead(bytes);
        expect(question?.name).toBe(`${decode(Buffer.from(bytes)).questions?.[0]?.name.toLowerCase()}.`);
        const owners = new Set([`${asked}.`, ...learn(bytes).cnames]);
        const expected = answers.flatMap((r) => (r.type === "A" && owners.has(`${r.name}.`) ? [r.data] : []));
        expect(
          learn(bytes)
            .addresses.map((a) => a.ip)
            .sort(),
        ).toEqual([...new Set(expected)].sort());
      }),
      { numRuns: 1000 },
    );
  });
});
