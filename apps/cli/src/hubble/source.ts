import type { GetFlowsRequest, GetFlowsResponse } from "@axoneme/flow";
import { apiPath, queryOf } from "@axoneme/observe";
import { findAgents } from "../agents.ts";
import { AgentClient, type AgentRef } from "../client.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode, formatError } from "../errors.ts";
import { mergeByTime } from "../observe/merge.ts";
import { asCliError, connect, findServer, type ServerOptions } from "./server.ts";

const what = "cannot read the flows";
/** How long a flow waits for earlier ones of other nodes. */
const mergeWaitMs = 300;

/** Where flows come from. */
export interface FlowSource {
  /** Whether flows of several nodes may come. */
  readonly isSeveral: boolean;
  /** Ends when the server does, or the signal aborts. */
  flows(
    request: GetFlowsRequest,
    fieldMask: readonly string[],
    signal: AbortSignal,
  ): AsyncIterable<GetFlowsResponse>;
  /** Throws if nothing could be read. */
  check(): void;
}

/** A server that is named, the relay of the lab, or, without one, all agents, merged here. */
export function flowSource(context: Context, options: ServerOptions): FlowSource {
  const server = findServer(context, options);
  return server === undefined
    ? new AgentsSource(context, findAgents(context, options))
    : serverSource(context, server, options);
}

function serverSource(context: Context, server: string, options: ServerOptions): FlowSource {
  return {
    isSeveral: true,
    check: () => undefined,
    async *flows(request, fieldMask, signal) {
      const client = await connect(context, server, options, what);
      try {
        yield* client.flows(request, signal, fieldMask);
      } catch (error) {
        if (!signal.aborted) throw asCliError(error, what, server);
      } finally {
        client.close();
      }
    },
  };
}

/** The streams of all agents; a node that fails is told and ends, the others go on. */
class AgentsSource implements FlowSource {
  readonly #context: Context;
  readonly #agents: readonly AgentRef[];
  readonly #failures: unknown[] = [];

  constructor(context: Context, agents: readonly AgentRef[]) {
    this.#context = context;
    this.#agents = agents;
  }

  get isSeveral(): boolean {
    return this.#agents.length > 1;
  }

  flows(
    request: GetFlowsRequest,
    _fieldMask: readonly string[],
    signal: AbortSignal,
  ): AsyncIterable<GetFlowsResponse> {
    const path = apiPath.flows + queryOf(request);
    return mergeByTime(
      this.#agents.map((agent) => this.#one(agent, path, signal)),
      mergeWaitMs,
    );
  }

  check(): void {
    if (this.#failures.length > 0 && this.#failures.length === this.#agents.length) throw this.#failures[0];
  }

  async *#one(agent: AgentRef, path: string, signal: AbortSignal): AsyncGenerator<GetFlowsResponse, void> {
    const client = new AgentClient(agent);
    try {
      yield* client.lines<GetFlowsResponse>(path, what, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#failures.push(error);
      if (this.#failures.length === this.#agents.length) throw error;
      await this.#context.stderr.write(`${formatError(error)}\n`);
      this.#context.setExitCode(error instanceof CliError ? error.exit : exitCode.failed);
    } finally {
      client.close();
    }
  }
}
