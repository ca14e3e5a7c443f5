import { AxonError, errorText, type Logger } from "@axoneme/base";
import type { CidrMatch } from "@axoneme/policy";
import type { PolicyBook } from "../shared/policy-book.ts";
import { askAgent } from "./agent-http.ts";

/** How long an answer is good for: pages ask when a person clicks. */
const freshMs = 2000;

/** What of `/v1/policy` is used here. */
interface PolicyView {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly object: object;
}

/** What of `/v1/status` is used here. */
interface ModeView {
  readonly policyCIDRMatchMode?: CidrMatch;
}

/** Policies as the agents know them, over their UNIX sockets. Reads only. */
export class AgentPolicies {
  readonly #sockets: readonly string[];
  readonly #log: Logger;
  #asked = 0;
  #answer: Promise<PolicyBook> | undefined;

  constructor(sockets: readonly string[], log: Logger) {
    this.#sockets = sockets;
    this.#log = log;
  }

  /**
   * The objects, each once, and how agents read them.
   * @throws AxonError `ui.no_agents` without an agent to ask, `ui.agents` when none answers
   */
  book(): Promise<PolicyBook> {
    if (this.#sockets.length === 0)
      throw new AxonError(
        "ui.no_agents",
        "no agent is known to this page: it was started with flows only (--agent)",
      );
    const now = Date.now();
    if (this.#answer === undefined || now - this.#asked > freshMs) {
      this.#asked = now;
      this.#answer = this.#read();
    }
    return this.#answer;
  }

  async #read(): Promise<PolicyBook> {
    const answers = await Promise.allSettled(
      this.#sockets.map((socket) => askAgent<PolicyView[]>(socket, "/v1/policy")),
    );
    const failed = answers.flatMap((answer) =>
      answer.status === "rejected" ? [errorText(answer.reason)] : [],
    );
    if (failed.length === answers.length) throw new AxonError("ui.agents", `no agent answers: ${failed[0]}`);
    if (failed.length > 0) this.#log.warn({ failed }, "some agents do not tell their policies");
    const views = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    const byName = views.map(
      ({ kind, namespace, name, object }) => [`${kind}/${namespace}/${name}`, { kind, ...object }] as const,
    );
    return { objects: [...new Map(byName).values()], cidrMatch: await this.#cidrMatch() };
  }

  /** An option of all agents: of the first that tells it. */
  async #cidrMatch(): Promise<CidrMatch> {
    const asked = this.#sockets.map((socket) => askAgent<ModeView>(socket, "/v1/status"));
    const first = await Promise.any(asked).catch((): ModeView => ({}));
    return first.policyCIDRMatchMode ?? "address";
  }
}
