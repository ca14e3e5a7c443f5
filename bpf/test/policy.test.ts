import { EventType, PolicyVerdict } from "@axoneme/abi";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Datapath, type PolicyRowSpec, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { Proto, Tcp, tcp, udp } from "./packet.ts";
import { ID, peopled, v4 } from "./scene.ts";

/**
 * The look-up in C against the rule in words: highest precedence, then the longer L4 prefix, then who is named by identity and
 * prefix, by identity, by prefix, and everybody.
 */
let dp: Datapath;
let dev: Devices;

beforeAll(async () => {
  dev = await makeDevices();
  dp = new Datapath("pod");
});
afterAll(async () => {
  dp.close();
  await dev.remove();
});
beforeEach(() => dp.reset());

const POLICY = 9;
const DEFAULT_RULE = 1000;
/** Numbers of the longest prefix that holds a's address, and of one around it. */
const [PREFIX_OF_A, PREFIX_AROUND] = [0x0100_0002, 0x0100_0001];

interface Packet {
  proto: number;
  dport: number;
}

function shapeOf(row: PolicyRowSpec): number {
  if (row.proto === undefined) return 0;
  return row.port === undefined ? 8 : 8 + (row.bits ?? 16);
}

function matches(row: PolicyRowSpec, { proto, dport }: Packet): boolean {
  if (row.peer !== undefined && row.peer !== ID.A) return false;
  if (row.cidr !== undefined && row.cidr !== PREFIX_OF_A) return false;
  if (row.proto === undefined) return true;
  if (row.proto !== proto) return false;
  return row.port === undefined || row.port >> (16 - (row.bits ?? 16)) === dport >> (16 - (row.bits ?? 16));
}

function oracle(rows: readonly PolicyRowSpec[], packet: Packet): PolicyRowSpec | undefined {
  const kind = (r: PolicyRowSpec) => (r.peer === undefined ? 0 : 2) + (r.cidr === undefined ? 0 : 1);
  const rank = (r: PolicyRowSpec) => [r.precedence ?? 0, shapeOf(r), kind(r)];
  const better = (a: number[], b: number[]) => {
    const at = a.findIndex((v, i) => v !== b[i]);
    return at >= 0 && (a[at] ?? 0) > (b[at] ?? 0);
  };
  return rows
    .filter((row) => matches(row, packet))
    .reduce<PolicyRowSpec | undefined>(
      (best, row) => (best && !better(rank(row), rank(best)) ? best : row),
      undefined,
    );
}

function keyOf(row: PolicyRowSpec): string {
  const shape = shapeOf(row);
  return `${row.peer ?? 0}/${row.cidr ?? 0}/${shape}/${row.proto ?? 0}/${shape > 8 ? (row.port ?? 0) >> (24 - shape) : 0}`;
}

const protos = [Proto.TCP, Proto.UDP];
const ports = [0, 1, 79, 80, 81, 0x7fff, 0x8000, 0xffff];
const verdicts = [PolicyVerdict.ALLOW, PolicyVerdict.DENY];

const anyRow = fc
  .record({
    peer: fc.constantFrom(undefined, ID.A, ID.C),
    cidr: fc.constantFrom(undefined, PREFIX_OF_A, PREFIX_AROUND),
    proto: fc.constantFrom(undefined, ...protos),
    port: fc.constantFrom(undefined, ...ports),
    bits: fc.integer({ min: 1, max: 16 }),
    precedence: fc.integer({ min: 1, max: 3 }),
    verdict: fc.constantFrom(...verdicts),
  })
  .map(({ peer, cidr, proto, port, ...rest }) => ({
    ...rest,
    policy: POLICY,
    dir: "ingress" as const,
    rule: 0,
    ...(peer === undefined ? {} : { peer }),
    ...(cidr === undefined ? {} : { cidr }),
    ...(proto === undefined ? {} : { proto }),
    ...(proto === undefined || port === undefined ? {} : { port }),
  }));

function prefixes(): void {
  dp.cidr("10.0.0.0/8", PREFIX_AROUND);
  dp.cidr(`${v4.a}/32`, PREFIX_OF_A);
}

function send({ proto, dport }: Packet, sport: number): number {
  const flow = { src: v4.a, dst: v4.b, sport, dport };
  const packet = proto === Proto.TCP ? tcp({ ...flow, flags: Tcp.SYN }) : udp(flow);
  return dp.run("pod_from", packet, { ifindex: dev.a }).verdict;
}

test("verdict and rule are the oracle's, whatever the rows", () => {
  const rowSets = fc.uniqueArray(anyRow, { maxLength: 12, selector: keyOf });
  fc.assert(
    fc.property(rowSets, (drawn) => {
      dp.reset();
      peopled(dp, dev);
      prefixes();
      dp.endpoint(v4.b, { ifindex: dev.b, identity: ID.B, id: 2, policyId: POLICY });
      const rows = drawn.map((row, i) => ({ ...row, rule: i + 1 }));
      dp.policyHead(POLICY, "ingress", DEFAULT_RULE);
      dp.policyHead(POLICY, "egress", 0, PolicyVerdict.ALLOW);
      for (const row of rows) dp.policyRow(row);
      let sport = 1;
      for (const proto of protos)
        for (const dport of ports) {
          const wanted = oracle(rows, { proto, dport });
          const verdict = send({ proto, dport }, sport++);
          expect(verdict).toBe(wanted?.verdict === PolicyVerdict.ALLOW ? Verdict.REDIRECT : Verdict.DROP);
          const [event] = dp.events();
          expect(event?.ruleIngress).toBe(wanted?.rule ?? DEFAULT_RULE);
          expect(event?.type).toBe(verdict === Verdict.DROP ? EventType.DROP : EventType.POLICY_VERDICT);
        }
    }),
    { numRuns: 150 },
  );
});

test("a direction that is not enforced allows without a verdict record", () => {
  peopled(dp, dev);
  dp.endpoint(v4.b, { ifindex: dev.b, identity: ID.B, id: 2, policyId: POLICY });
  dp.policyHead(POLICY, "ingress", 0, PolicyVerdict.ALLOW);
  expect(send({ proto: Proto.TCP, dport: 80 }, 1)).toBe(Verdict.REDIRECT);
  expect(dp.events()[0]).toMatchObject({ type: EventType.TRACE, flags: 0 });
});

test("a deny row in a direction that allows by default", () => {
  peopled(dp, dev);
  dp.endpoint(v4.b, { ifindex: dev.b, identity: ID.B, id: 2, policyId: POLICY });
  dp.policyHead(POLICY, "ingress", 0, PolicyVerdict.ALLOW);
  dp.policyRow({ policy: POLICY, dir: "ingress", peer: ID.A, rule: 5, verdict: PolicyVerdict.DENY });
  expect(send({ proto: Proto.TCP, dport: 80 }, 1)).toBe(Verdict.DROP);
});

test("final answers: who is named by identity and by prefix but not by both is not known yet, and a denial counts", () => {
  const { ALLOW, DENY } = PolicyVerdict;
  for (const [exact, cidr, both, verdict] of [
    [ALLOW, DENY, undefined, Verdict.DROP],
    [DENY, ALLOW, undefined, Verdict.DROP],
    [ALLOW, ALLOW, undefined, Verdict.REDIRECT],
    [ALLOW, DENY, ALLOW, Verdict.REDIRECT],
    [ALLOW, ALLOW, DENY, Verdict.DROP],
  ] as const) {
    dp.reset();
    peopled(dp, dev);
    prefixes();
    dp.endpoint(v4.b, { ifindex: dev.b, identity: ID.B, id: 2, policyId: POLICY });
    const row = { policy: POLICY, dir: "ingress" as const };
    dp.policyRow({ ...row, peer: ID.A, proto: Proto.TCP, port: 80, rule: 1, verdict: exact });
    dp.policyRow({ ...row, cidr: PREFIX_OF_A, rule: 2, verdict: cidr });
    if (both !== undefined)
      dp.policyRow({
        ...row,
        peer: ID.A,
        cidr: PREFIX_OF_A,
        proto: Proto.TCP,
        port: 80,
        rule: 3,
        verdict: both,
      });
    dp.layered(POLICY, "ingress");
    expect([exact, cidr, both, send({ proto: Proto.TCP, dport: 80 }, 1)]).toEqual([
      exact,
      cidr,
      both,
      verdict,
    ]);
  }
});
