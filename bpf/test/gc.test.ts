import {
  decodeGcCtx,
  encodeGcCtx,
  encodeNat,
  encodeNatKey,
  type GcCtx,
  gcCtxSize,
  natKeySize,
  natSize,
} from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Datapath, decoded, encoded } from "./datapath.ts";
import { mapped } from "./dissect.ts";
import { Proto } from "./packet.ts";

let dp: Datapath;

beforeAll(() => {
  dp = new Datapath("gc");
});
afterAll(() => dp.close());
beforeEach(() => dp.reset());

const POD = "10.0.0.1";
const WORLD = "192.0.2.1";
const NODE = "172.30.0.11";
const side = {
  ifindex: 0,
  identity: 0,
  ruleId: 0,
  lastReportS: 0,
  nexthop: new Uint8Array(16),
  epId: 0,
  path: 0,
  tcpFlags: 0,
  nexthopPort: 0,
  proxyRules: 0,
  process: 0,
};

function run(ctx: Partial<GcCtx> = {}): GcCtx {
  const input = {
    flush: new Uint8Array(16),
    nowS: 1000,
    ctSeen: 0,
    ctDeleted: 0,
    natSeen: 0,
    natDeleted: 0,
    flowSeen: 0,
    flowDeleted: 0,
    ...ctx,
  };
  return decoded(
    decodeGcCtx,
    dp.object.program("ct_gc").testRun({ ctx: encoded(gcCtxSize, encodeGcCtx, input) }).ctxOut,
  );
}

function connection(aport: number, expiresS: number, a = POD, proto: number = Proto.TCP, bport = 443): void {
  const common = { proto, epoch: 1, flags: 0, frontend: new Uint8Array(16), frontendPort: 0, createdS: 0 };
  dp.putConnection({ ...common, a: mapped(a), b: mapped(WORLD), aport, bport, expiresS, side: [side, side] });
}

/** Both rows of a mapping of `pod`:port to the node's nodePort. */
function mapping(
  pod: string,
  port: number,
  nodePort: number,
  expiresS = 2000,
  proto: number = Proto.TCP,
): void {
  const icmp = proto === Proto.ICMP;
  const put = (key: Parameters<typeof encodeNatKey>[0], addr: string, to: number) =>
    dp.map("ax_nat").put(
      encoded(natKeySize, encodeNatKey, key),
      encoded(natSize, encodeNat, {
        addr: mapped(addr),
        frontend: new Uint8Array(16),
        frontendPort: 0,
        port: to,
        expiresS,
        way: 0n,
      }),
    );
  const dport = icmp ? port : 443;
  put({ saddr: mapped(pod), daddr: mapped(WORLD), sport: port, dport, proto, reverse: 0 }, NODE, nodePort);
  const back = { saddr: mapped(WORLD), daddr: mapped(NODE), proto, reverse: 1 };
  put({ ...back, sport: icmp ? nodePort : 443, dport: nodePort }, pod, port);
}

test("expired connections go, others stay", () => {
  connection(1, 999);
  connection(2, 1000);
  connection(3, 9000);
  expect(run()).toMatchObject({ ctSeen: 3, ctDeleted: 1, natSeen: 0 });
  expect(
    dp
      .connections()
      .map((c) => c.aport)
      .sort(),
  ).toEqual([2, 3]);
});

test("the program knows the time itself when it is not told", () => {
  connection(1, 1);
  connection(2, Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n)) + 60);
  expect(run({ nowS: 0 })).toMatchObject({ ctDeleted: 1 });
});

test("a mapping lives as long as its connection", () => {
  connection(1, 9000);
  connection(7, 9000, POD, Proto.ICMP, 7);
  mapping(POD, 1, 40001, 10);
  mapping(POD, 2, 40002, 9000);
  mapping(POD, 7, 40007, 10, Proto.ICMP);
  expect(run()).toMatchObject({ natSeen: 6, natDeleted: 2 });
  connection(1, 999);
  expect(run()).toMatchObject({ ctDeleted: 1, natDeleted: 2 });
});

test("a mapping of the host's own traffic lives by its expiry", () => {
  mapping(NODE, 1, 40001, 999);
  mapping(NODE, 2, 40002, 1001);
  expect(run()).toMatchObject({ natDeleted: 2 });
});

test("flush deletes what touches an address", () => {
  connection(1, 9000);
  connection(1, 9000, "10.0.0.9");
  mapping(POD, 1, 40001);
  mapping("10.0.0.9", 1, 40002);
  expect(run({ flush: mapped(POD) })).toMatchObject({ ctSeen: 2, ctDeleted: 1, natSeen: 4, natDeleted: 2 });
});
