import { FlowEndpointSchema } from "@axoneme/proto";
import { fromBinary } from "@bufbuild/protobuf";
import type { MapNode } from "../shared/model.ts";
import { asBuffer, type FlowBytes, type Piece } from "./flow-bytes.ts";
import { groupOf, mapNode } from "./rows.ts";

/** Endpoints that are remembered: beyond, all are looked at anew. */
const mostKnown = 65_536;

/** One side of flows: which node of the map it belongs to. */
export interface KnownEnd {
  /** Unlike that of any other end that is known. */
  readonly number: number;
  readonly node: MapNode;
  readonly namespace: string;
  /** Belongs elsewhere when DNS has a name for it. */
  readonly isNameless: boolean;
}

/** Decodes each Endpoint message once: the same pod's is the same bytes in every flow. */
export class Ends {
  readonly #known = new Map<string, KnownEnd>();
  #count = 0;

  /** @throws Error when the bytes are no Endpoint */
  of(flow: FlowBytes, endpoint: Piece, name: Piece): KnownEnd {
    const bytes = asBuffer(flow.bytes);
    const key = bytes.toString("latin1", endpoint.start, endpoint.end);
    const end = this.#known.get(key) ?? this.#learn(key, bytes, endpoint, []);
    if (!end.isNameless || name.end === 0) return end;
    // A length of its own keeps endpoint and name apart.
    const named = `${endpoint.end - endpoint.start} ${key}${bytes.toString("latin1", name.start, name.end)}`;
    return this.#known.get(named) ?? this.#learn(named, bytes, endpoint, [flow.text(name)]);
  }

  #learn(key: string, bytes: Uint8Array, { start, end }: Piece, names: readonly string[]): KnownEnd {
    if (this.#known.size >= mostKnown) this.#known.clear();
    const endpoint = start === 0 ? undefined : fromBinary(FlowEndpointSchema, bytes.subarray(start, end));
    const known = {
      number: this.#count++,
      node: mapNode(groupOf(endpoint, names)),
      namespace: endpoint?.namespace ?? "",
      isNameless: names.length === 0 && (endpoint === undefined || endpoint.podName === ""),
    };
    this.#known.set(key, known);
    return known;
  }
}
