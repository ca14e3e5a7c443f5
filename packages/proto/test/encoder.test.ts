import { fromBinary, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { FlowSchema, fieldTree, GetFlowsResponseSchema, JsonEncoder } from "../src/index.ts";

const flow = {
  time: "2026-11-20T12:00:00.123456789Z",
  uuid: "8c5f3d5e-0000-4000-8000-000000000001",
  emitter: { name: "Hubble", version: "1" },
  verdict: "DROPPED",
  drop_reason: 133,
  drop_reason_desc: "POLICY_DENIED",
  ethernet: { source: "02:00:00:00:00:01", destination: "02:00:00:00:00:02" },
  IP: { source: "10.0.0.1", destination: "10.0.0.2", ipVersion: "IPv4", encrypted: true },
  l4: { TCP: { source_port: 40_000, destination_port: 443, flags: { SYN: true, ACK: true } } },
  source: {
    ID: 7,
    identity: 4_294_967_295,
    labels: ["k8s:app=a", "k8s:né=ü", `k8s:long=${"x".repeat(300)}`],
    pod_name: "a",
    workloads: [{ name: "a", kind: "Deployment" }],
  },
  destination: { identity: 2, labels: [], pod_name: "x".repeat(20_000) },
  Type: "L3_L4",
  node_name: "node1",
  event_type: { type: 1, sub_type: 133 },
  is_reply: false,
  interface: { index: 3, name: "lxc1" },
  socket_cookie: "18446744073709551615",
  cgroup_id: "9007199254740993",
  egress_denied_by: [{ name: "p", namespace: "n", labels: ["a", "b"], revision: "12" }],
  Summary: "TCP Flags: SYN, ACK",
};

const response = { flow, node_name: "node1", time: flow.time };

/** The library's own way there, as an oracle. */
const expected = (json: JsonValue): JsonValue =>
  toJson(GetFlowsResponseSchema, fromJson(GetFlowsResponseSchema, json), { useProtoFieldName: true });

function roundTrip(json: object, encoder = new JsonEncoder(GetFlowsResponseSchema)): JsonValue {
  return toJson(GetFlowsResponseSchema, fromBinary(GetFlowsResponseSchema, encoder.encode(json)), {
    useProtoFieldName: true,
  });
}

describe("protojson to protobuf", () => {
  it("says the same as the library", () => {
    expect(roundTrip(response)).toEqual(expected(response as unknown as JsonValue));
  });

  it("says nothing of zeros, but of an empty member of a oneof", () => {
    const json = { flow: { l4: { UDP: {} }, proxy_port: 0, node_name: "", reply: false, cgroup_id: "0" } };
    expect(roundTrip(json)).toEqual({ flow: { l4: { UDP: {} } } });
    expect(new JsonEncoder(FlowSchema).encode({ proxy_port: 0, node_name: "", reply: false })).toHaveLength(
      0,
    );
  });

  it("tells a false is_reply from none", () => {
    expect(roundTrip({ flow: { is_reply: false } })).toEqual({ flow: { is_reply: false } });
    expect(roundTrip({ flow: {} })).toEqual({ flow: {} });
  });

  it("keeps times: before 1970, without and with fractions", () => {
    for (const time of ["1969-12-31T23:59:58Z", "1970-01-01T00:00:00Z", "2026-11-20T12:00:00.120Z"]) {
      expect(roundTrip({ flow: { time } })).toEqual({ flow: { time } });
    }
  });

  it("does the same with lists that are shared", () => {
    const encoder = new JsonEncoder(GetFlowsResponseSchema, { shared: ["labels"] });
    for (let i = 0; i < 3; i++) {
      expect(roundTrip(response, encoder)).toEqual(expected(response as unknown as JsonValue));
    }
  });

  it("writes the fields of a mask only", () => {
    const fields = fieldTree(FlowSchema, ["IP", "source.labels", "l4.TCP.destination_port", "source"]);
    const bytes = new JsonEncoder(FlowSchema, { fields }).encode(flow);
    expect(toJson(FlowSchema, fromBinary(FlowSchema, bytes), { useProtoFieldName: true })).toEqual({
      IP: flow.IP,
      l4: { TCP: { destination_port: 443 } },
      source: flow.source,
    });
  });

  it("refuses a mask of fields that are not", () => {
    for (const path of ["", "nope", "source.nope", "uuid.more", "source_names.x"]) {
      expect(() => fieldTree(FlowSchema, [path])).toThrow(/has no field/);
    }
  });

  it("refuses what the schema has no number for", () => {
    const encoder = new JsonEncoder(FlowSchema);
    expect(() => encoder.encode({ verdict: "MAYBE" })).toThrow(/"MAYBE" is not a name of flow.Verdict/);
    expect(() => encoder.encode({ cgroup_id: "x" })).toThrow(/is not a whole number/);
    expect(() => encoder.encode({ time: "today" })).toThrow(/not RFC 3339/);
  });
});
