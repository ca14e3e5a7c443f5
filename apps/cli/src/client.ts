import { type ApiError, apiPath } from "@axoneme/observe";
import { Agent, type Dispatcher, errors, request } from "undici";
import { CliError, exitCode } from "./errors.ts";

/** Where an agent listens. */
export interface AgentRef {
  /** Node name; empty when only the socket is known. */
  readonly node: string;
  readonly socket: string;
}

/** What the client says of an API error; server messages already name object and cause. */
async function failure(agent: AgentRef, what: string, response: Dispatcher.ResponseData): Promise<CliError> {
  const text = await response.body.text();
  let body: Partial<ApiError> = {};
  try {
    body = JSON.parse(text) as Partial<ApiError>;
  } catch {
    body = { message: text.trim() };
  }
  const exit =
    response.statusCode === 404
      ? exitCode.notFound
      : response.statusCode === 400
        ? exitCode.usage
        : exitCode.failed;
  const cause =
    body.message === undefined || body.message === "" ? `HTTP ${response.statusCode}` : body.message;
  return new CliError(exit, {
    what,
    object: agentText(agent),
    cause,
    ...(body.fix === undefined ? {} : { fix: body.fix }),
  });
}

function agentText(agent: AgentRef): string {
  return agent.node === "" ? agent.socket : `node ${agent.node}`;
}

function unreachable(agent: AgentRef, what: string, error: unknown): CliError {
  const code = (error as { code?: string }).code;
  const cause =
    code === "ENOENT"
      ? "there is no socket: the agent is not running"
      : code === "ECONNREFUSED"
        ? "nobody listens: the agent has ended"
        : code === "EACCES"
          ? "permission denied"
          : (error as Error).message;
  return new CliError(exitCode.unreachable, {
    what,
    object: agent.node === "" ? agent.socket : `node ${agent.node}, ${agent.socket}`,
    cause,
    fix: code === "EACCES" ? "run as root (sudo axon ...)" : "see `axon lab status` and the agent's log",
  });
}

function isNetworkError(error: unknown): boolean {
  const code = (error as { code?: string }).code ?? "";
  return error instanceof errors.UndiciError || /^E[A-Z]+$/.test(code);
}

/** One agent's HTTP API over its UNIX socket. */
export class AgentClient {
  readonly agent: AgentRef;
  readonly #dispatcher: Agent;

  constructor(agent: AgentRef) {
    this.agent = agent;
    this.#dispatcher = new Agent({ connect: { socketPath: agent.socket, timeout: 2000 }, bodyTimeout: 0 });
  }

  /**
   * The JSON body of a path. `what` begins the error: "cannot read the endpoints".
   * @throws CliError unreachable, not found, or failed
   */
  async get<T>(path: string, what: string, signal: AbortSignal): Promise<T> {
    const response = await this.#request(path, what, signal, 10_000);
    return (await response.body.json()) as T;
  }

  /** The lines of an NDJSON path, parsed, as they come. Ends when the server ends or the signal aborts. */
  async *lines<T>(path: string, what: string, signal: AbortSignal): AsyncGenerator<T, void> {
    const response = await this.#request(path, what, signal, 10_000);
    let rest = "";
    try {
      response.body.setEncoding("utf8");
      for await (const chunk of response.body as AsyncIterable<string>) {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) if (line !== "") yield JSON.parse(line) as T;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw isNetworkError(error) ? unreachable(this.agent, `${what}: the stream broke off`, error) : error;
    }
  }

  async #request(
    path: string,
    what: string,
    signal: AbortSignal,
    headersTimeout: number,
  ): Promise<Dispatcher.ResponseData> {
    let response: Dispatcher.ResponseData;
    try {
      const url = `http://agent${path}`;
      response = await request(url, { dispatcher: this.#dispatcher, signal, headersTimeout });
    } catch (error) {
      if (signal.aborted || !isNetworkError(error)) throw error;
      throw unreachable(this.agent, what, error);
    }
    if (response.statusCode >= 200 && response.statusCode < 300) return response;
    throw await failure(this.agent, what, response);
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }
}

export { apiPath };
