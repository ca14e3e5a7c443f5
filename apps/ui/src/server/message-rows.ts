import { GetFlowsResponseSchema } from "@axoneme/proto";
import { fromBinary } from "@bufbuild/protobuf";
import type { Filter, FlowRow } from "../shared/model.ts";
import { Ends, type KnownEnd } from "./ends.ts";
import { asBuffer, FlowBytes } from "./flow-bytes.ts";
import type { RowReader } from "./recent.ts";
import { rowOf, verdictOf } from "./rows.ts";

/** The flow of a GetFlowsResponse; undefined when it is of something else. @throws Error when it is none */
export function rowOfMessage(message: Uint8Array): FlowRow | undefined {
  const { responseTypes } = fromBinary(GetFlowsResponseSchema, message);
  return responseTypes.case === "flow" ? rowOf(responseTypes.value) : undefined;
}

/** Rows of messages. Flows that a filter cannot match are passed over without making rows of them. */
export class MessageRows implements RowReader {
  readonly #flow = new FlowBytes();
  readonly #ends = new Ends();

  row(message: Uint8Array): FlowRow | undefined {
    return rowOfMessage(message);
  }

  mayMatch(message: Uint8Array, filter: Filter): boolean {
    if (filter.text !== "" && !asBuffer(message).includes(filter.text)) return false;
    const flow = this.#flow;
    flow.read(message);
    if (filter.verdict !== "" && verdictOf(flow.verdict) !== filter.verdict) return false;
    if (filter.protocol !== "" && flow.protocol.toUpperCase() !== filter.protocol) return false;
    if (
      filter.port !== "" &&
      String(flow.destinationPort) !== filter.port &&
      String(flow.sourcePort) !== filter.port
    )
      return false;
    if (filter.namespace === "" && filter.group === "") return true;
    const ends = [
      this.#ends.of(flow, flow.source, flow.sourceName),
      this.#ends.of(flow, flow.destination, flow.destinationName),
    ];
    return (
      (filter.namespace === "" || ends.some(({ namespace }) => namespace === filter.namespace)) &&
      (filter.group === "" || ends.some((end) => isWithin(end, filter.group)))
    );
  }
}

function isWithin({ node, namespace }: KnownEnd, group: string): boolean {
  return node.id === group || (group.startsWith("ns:") && namespace === group.slice(3));
}
