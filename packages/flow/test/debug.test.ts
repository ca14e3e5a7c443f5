import { describe, expect, it } from "vitest";
import {
  type DebugEvent,
  debugCount,
  emptyResolver,
  eventFlag,
  eventType,
  type FlowResolver,
  toDebugEvents,
} from "../src/index.ts";
import { recordRef, type TestRecord } from "./record.ts";

const resolver: FlowResolver = {
  ...emptyResolver("node1"),
  endpointById: (id) => ({ namespace: "shop", podName: `pod-${id}` }),
};
const tcp: TestRecord = {
  ...{ proto: 6, sport: 40000, dport: 80, cpu: 3 },
  ...{ srcIdentity: 1000, dstIdentity: 1001, srcEp: 7, dstEp: 8 },
};
const { drop, trace, policyVerdict, l7, lost, traceSock } = eventType;

const eventsOf = (record: TestRecord): DebugEvent[] =>
  toDebugEvents(recordRef({ ...tcp, ...record }), resolver);

/** `TYPE args source: message`. */
const lines = (record: TestRecord): string[] =>
  eventsOf(record).map(
    ({ type, arg1, arg2, arg3, source, message }) =>
      `${type} ${arg1 ?? "-"},${arg2 ?? "-"},${arg3 ?? "-"} ${source?.pod_name ?? "-"}: ${message}`,
  );

const named = "10.0.0.1:40000 -> 10.0.0.2:80 TCP";

describe("debug events of a record", () => {
  it("a new connection under policy, within the node", () => {
    const flags = eventFlag.egress | eventFlag.ingress;
    expect(lines({ type: policyVerdict, flags, ruleEgress: 5, ruleIngress: 6 })).toEqual([
      `DBG_CT_VERDICT 0,-,- pod-7: conntrack: new, ${named}`,
      "DBG_L4_POLICY 0,0,- pod-7: egress policy allows identity 1000 -> 1001 port 80 TCP (rule 5)",
      "DBG_L4_POLICY 0,1,- pod-8: ingress policy allows identity 1000 -> 1001 port 80 TCP (rule 6)",
      `DBG_CT_CREATED4 -,1000,- pod-7: conntrack entry created: ${named}, identity 1000 -> 1001`,
      `DBG_LOCAL_DELIVERY 8,1000,- pod-7: delivered to local endpoint 8, from identity 1000: ${named}`,
    ]);
  });

  it("one that goes to the proxy: its port is not told, which is not the same as none", () => {
    expect(lines({ type: policyVerdict, flags: eventFlag.egress, subtype: 1, dstEp: 0 })[1]).toBe(
      "DBG_L4_POLICY -,0,- pod-7: egress policy allows identity 1000 -> 1001 port 80 TCP, through the proxy",
    );
  });

  it("through a Service, in the byte order of the field", () => {
    const orig = { flags: eventFlag.translated, origDaddr: "10.96.0.1", origDport: 443 };
    const found = lines({ ...orig, type: trace, subtype: 4, srcEp: 0, dstEp: 0 });
    // 10.96.0.1 is 0a 60 00 01, 443 is 01 bb: read from the low end.
    expect(found).toEqual([
      `DBG_LB4_LOOKUP_FRONTEND ${0x0100600a},${0xbb01},- -: service look-up of 10.96.0.1:443 TCP`,
      `DBG_LB4_LOOKUP_BACKEND_SLOT_SUCCESS ${0x0200000a},${0x5000},- -: the service's backend is 10.0.0.2:80`,
      `DBG_CT_VERDICT 0,-,- -: conntrack: new, ${named}`,
      `DBG_CT_CREATED4 -,1000,${0x0100600a} -: conntrack entry created: ${named}, identity 1000 -> 1001`,
      `DBG_ENCAP -,1000,- -: into the tunnel, from identity 1000: ${named}`,
    ]);
  });

  it("IPv6", () => {
    const flags = eventFlag.translated | eventFlag.ipv6;
    const addresses = { saddr: "fd00::1", daddr: "fd00::2", origDaddr: "fd00:96::1:2", origDport: 80 };
    expect(lines({ ...addresses, flags, type: trace, subtype: 11 })).toEqual([
      `DBG_LB6_LOOKUP_FRONTEND ${0x02000100},${0x5000},- pod-7: service look-up of [fd00:96::1:2]:80 TCP`,
      `DBG_LB6_LOOKUP_BACKEND_SLOT_SUCCESS ${0x02000000},${0x5000},- pod-7: the service's backend is [fd00::2]:80`,
      "DBG_CT_VERDICT 0,-,- pod-7: conntrack: new, [fd00::1]:40000 -> [fd00::2]:80 TCP",
      "DBG_CT_CREATED6 -,1000,- pod-7: conntrack entry created: [fd00::1]:40000 -> [fd00::2]:80 TCP, identity 1000 -> 1001",
    ]);
  });

  it.each<[string, TestRecord, string[]]>([
    [
      "established",
      { reason: 1, subtype: 11 },
      [`DBG_CT_VERDICT 1,-,- pod-7: conntrack: established, ${named}`],
    ],
    [
      "a reply to the host",
      { reason: 2, subtype: 2 },
      [
        `DBG_CT_VERDICT 2,-,- pod-7: conntrack: reply, ${named}`,
        `DBG_TO_HOST -,-,- pod-7: to the host: ${named}`,
      ],
    ],
    [
      "nothing said of conntrack, encrypted",
      { reason: 0x85, subtype: 3 },
      [`DBG_TO_STACK -,-,- pod-7: to the node's stack: ${named}`],
    ],
  ])("a packet: %s", (_, record, expected) => {
    expect(lines({ ...record, type: trace })).toEqual(expected);
  });

  it("drops", () => {
    expect(
      lines({ type: drop, subtype: 133, reason: 5, flags: eventFlag.egress | eventFlag.deniedIngress }),
    ).toEqual([
      "DBG_L4_POLICY 0,0,- pod-7: egress policy allows identity 1000 -> 1001 port 80 TCP",
      "DBG_POLICY_DENIED 1000,1001,- pod-8: ingress policy refuses identity 1000 -> 1001 port 80 TCP",
    ]);
    const dialled = { flags: eventFlag.translated, origDaddr: "10.0.0.2", origDport: 80 };
    expect(lines({ ...dialled, type: drop, subtype: 158, reason: 5 })).toEqual([
      `DBG_LB4_LOOKUP_FRONTEND ${0x0200000a},${0x5000},- pod-7: service look-up of 10.0.0.2:80 TCP`,
      `DBG_LB4_LOOKUP_BACKEND_FAIL -,-,- pod-7: no backend for ${named}`,
    ]);
    expect(lines({ type: drop, subtype: 132, reason: 5 })).toEqual([
      `DBG_ERROR_RET -,132,- pod-7: dropped, Invalid source ip (132): ${named}`,
    ]);
  });

  it("an audited decision would have refused, and goes on", () => {
    const [, policy, created] = lines({
      type: policyVerdict,
      flags: eventFlag.ingress | eventFlag.auditIngress,
    });
    expect(policy).toBe(
      "DBG_POLICY_DENIED 1000,1001,- pod-8: ingress policy would refuse (audit) identity 1000 -> 1001 port 80 TCP",
    );
    expect(created).toContain("DBG_CT_CREATED4");
  });

  it("both directions of a connection have one hash, others another; the CPU is the record's", () => {
    const there = eventsOf({ type: trace, reason: 1 });
    const back = eventsOf({
      ...{ type: trace, reason: 2, saddr: "10.0.0.2", daddr: "10.0.0.1", sport: 80, dport: 40000 },
    });
    const other = eventsOf({ type: trace, reason: 1, dport: 81 });
    expect(new Set([...there, ...back].map(({ hash }) => hash)).size).toBe(1);
    expect(other[0]?.hash).not.toBe(there[0]?.hash);
    expect(there[0]?.cpu).toBe(3);
  });

  it("is counted without being made, whatever the record says", () => {
    const types = [drop, trace, policyVerdict, l7, lost, traceSock, 0, 77];
    for (const type of types) {
      for (let flags = 0; flags < 256; flags++) {
        for (const subtype of [0, 1, 4, 132, 133, 158]) {
          const reason = flags % 7;
          const record = { ...tcp, type, flags, subtype, reason };
          expect(debugCount(recordRef(record))).toBe(eventsOf(record).length);
        }
      }
    }
    expect([l7, lost, traceSock].flatMap((type) => eventsOf({ type }))).toEqual([]);
  });
});
