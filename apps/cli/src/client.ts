import { Agent, type IncomingMessage, request } from "node:http";
import type { ApiError } from "@axoneme/observe";
import { CliError, exitCode } from "./errors.ts";

/** Where an agent listens. */
export interface AgentRef {
  /** Node name; empty when only the socket is known. */
  readonly node: string;
  readonly socket: string;
}

/** What the client says of an API error; server messages already name object and cause. */
async function failure(agent: AgentRef, what: string, response: IncomingMessage): Promise<CliError> {
  const text = await textOf(response);
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
  return /^(E[A-Z]+|HPE_[A-Z_]+)$/.test((error as { code?: string }).code ?? "");
}

async function textOf(response: IncomingMessage): Promise<string> {
  response.setEncoding("utf8");
  let text = "";
  for await (const chunk of response as AsyncIterable<string>) text += chunk;
  return text;
}

type Method = "GET" | "POST";

/** How long an agent may take to begin its answer. */
const answerTimeoutMs = 10_000;

/** One agent's HTTP API over its UNIX socket. node:http, since it is loaded in no time: every command pays for it. */
export class AgentClient {
  readonly agent: AgentRef;
  // A connection per request: one that goes back to a pool has nobody to hear of an abort at that moment.
  readonly #pool = new Agent({ keepAlive: false });

  constructor(agent: AgentRef) {
    this.agent = agent;
  }

  /**
   * The JSON body of a path. `what` begins the error: "cannot read the endpoints".
   * @throws CliError unreachable, not found, or failed
   */
  get<T>(path: string, what: string, signal: AbortSignal): Promise<T> {
    return this.#call<T>("GET", path, what, signal);
  }

  /** The body of a path as text. Errors as {@link get}. */
  async text(path: string, what: string, signal: AbortSignal): Promise<string> {
    const response = await this.#request(path, what, signal);
    try {
      return await textOf(response);
    } catch (error) {
      throw this.#broken(what, error, signal);
    }
  }

  /** Has something done; the JSON body says what. Errors as {@link get}. */
  post<T>(path: string, what: string, signal: AbortSignal): Promise<T> {
    return this.#call<T>("POST", path, what, signal);
  }

  async #call<T>(method: Method, path: string, what: string, signal: AbortSignal): Promise<T> {
    const response = await this.#request(path, what, signal, method);
    try {
      return JSON.parse(await textOf(response)) as T;
    } catch (error) {
      throw this.#broken(what, error, signal);
    }
  }

  /** The lines of an NDJSON path, parsed, as they come. Ends when the server ends or the signal aborts. */
  async *lines<T>(path: string, what: string, signal: AbortSignal): AsyncGenerator<T, void> {
    const response = await this.#request(path, what, signal);
    response.setEncoding("utf8");
    let rest = "";
    try {
      for await (const chunk of response as AsyncIterable<string>) {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) if (line !== "") yield JSON.parse(line) as T;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw this.#broken(what, error, signal);
    }
  }

  #broken(what: string, error: unknown, signal: AbortSignal): unknown {
    if (signal.aborted || !isNetworkError(error)) return error;
    return unreachable(this.agent, `${what}: the answer broke off`, error);
  }

  async #request(
    path: string,
    what: string,
    signal: AbortSignal,
    method: Method = "GET",
  ): Promise<IncomingMessage> {
    let response: IncomingMessage;
    try {
      response = await this.#open(method, path, signal);
    } catch (error) {
      if (signal.aborted || !isNetworkError(error)) throw error;
      throw unreachable(this.agent, what, error);
    }
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw await failure(this.agent, what, response);
  }

  #open(method: Method, path: string, signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const sent = request({ method, socketPath: this.agent.socket, path, agent: this.#pool, signal });
      sent.setTimeout(answerTimeoutMs, () => {
        const error = new Error(`no answer within ${answerTimeoutMs / 1000} s`);
        sent.destroy(Object.assign(error, { code: "ETIMEDOUT" }));
      });
      sent.on("response", (response) => {
        sent.setTimeout(0);
        // Who reads gets the error as well; one that comes when nobody reads any more is of no interest.
        response.on("error", () => undefined);
        resolve(response);
      });
      sent.on("error", reject);
      sent.end();
    });
  }

  close(): void {
    this.#pool.destroy();
  }
}
