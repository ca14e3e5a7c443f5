import { type Connection, GrpcError, grpcCode } from "@axoneme/grpc";
import { GetNodesResponseSchema, NodeState, Observer } from "@axoneme/proto";
import { fromBinary } from "@bufbuild/protobuf";
import type { NodeHealth } from "../shared/model.ts";

const path = `/${Observer.typeName}/GetNodes`;
const callMs = 5000;

/** What a relay tells of its nodes. Agents have no answer to that: they know their own only. */
export class RelayNodes {
  #nodes: readonly NodeHealth[] = [];
  /** Flows seen by a node, and when: of two of them comes a rate. */
  #seen = new Map<string, { readonly flows: number; readonly at: number }>();
  #isAgent = false;

  get nodes(): readonly NodeHealth[] {
    return this.#nodes;
  }

  /** @throws GrpcError */
  async ask(connection: Connection, signal: AbortSignal): Promise<void> {
    if (this.#isAgent) return;
    try {
      const { message } = await connection.unary(path, new Uint8Array(), { timeoutMs: callMs, signal });
      this.#read(message, performance.now());
    } catch (error) {
      if (!(error instanceof GrpcError) || error.status !== grpcCode.unimplemented) throw error;
      this.#isAgent = true;
    }
  }

  /** The connection is gone: nothing is known any more, also not what is at the other end of the next. */
  forget(): void {
    this.#nodes = [];
    this.#isAgent = false;
  }

  #read(message: Uint8Array, now: number): void {
    const seen = new Map<string, { flows: number; at: number }>();
    this.#nodes = fromBinary(GetNodesResponseSchema, message).nodes.map((node): NodeHealth => {
      const { name, version } = node;
      if (node.state !== NodeState.NODE_CONNECTED)
        return { name, state: "silent", problems: ["the relay does not reach it"], toldBy: "relay" };
      const flows = Number(node.seenFlows);
      const before = this.#seen.get(name);
      seen.set(name, { flows, at: now });
      return {
        name,
        state: "ok",
        problems: [],
        toldBy: "relay",
        version,
        uptimeSeconds: Number(node.uptimeNs / 1_000_000_000n),
        ...(before === undefined || flows < before.flows
          ? {}
          : { flowsPerSecond: Math.round(((flows - before.flows) * 10_000) / (now - before.at)) / 10 }),
      };
    });
    this.#seen = seen;
  }
}
