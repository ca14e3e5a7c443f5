import type { End, FlowRow } from "../src/shared/model.ts";

const end = (namespace: string, name: string, port: number): End => ({
  group: namespace === "" ? `r:${name}` : `w:${namespace}/${name}`,
  namespace,
  pod: namespace === "" ? "" : `${name}-1`,
  workload: namespace === "" ? "" : name,
  ip: "10.0.0.1",
  port,
  identity: 1000,
  labels: [`k8s:app=${name}`],
  names: [],
});

let number = 0;

/** A flow of tests: `from` and `to` as `namespace/workload`, or the name of an entity. */
export function flow(from: string, to: string, change: Partial<FlowRow> = {}): FlowRow {
  const side = (text: string, port: number): End => {
    const [namespace = "", name = ""] = text.includes("/") ? text.split("/") : ["", text];
    return end(namespace, name, port);
  };
  return {
    id: `flow-${++number}`,
    time: 1000 + number,
    node: "node1",
    verdict: "forwarded",
    dropReason: "",
    direction: "egress",
    isReply: false,
    protocol: "TCP",
    source: side(from, 40000),
    destination: side(to, 80),
    policies: [],
    summary: "",
    ...change,
  };
}

/** Messages that stand for rows, and the reader that knows them. */
export function rowsAsMessages() {
  const rows = new Map<Uint8Array, FlowRow>();
  return {
    of: (row: FlowRow): Uint8Array => {
      const message = new Uint8Array();
      rows.set(message, row);
      return message;
    },
    row: (message: Uint8Array) => rows.get(message),
    mayMatch: () => true,
  };
}
