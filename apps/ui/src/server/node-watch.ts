import { basename, dirname } from "node:path";
import { delay, errorText, type Logger } from "@axoneme/base";
import type { NodeHealth } from "../shared/model.ts";
import { askAgent, readAgent } from "./agent-http.ts";
import { type AgentEndpoint, type AgentStatus, healthOfAgent, silentNode } from "./node-health.ts";

const everyMs = 5000;

/** Asks agents how they are, over their UNIX sockets, again and again. */
export class NodeWatch {
  readonly #sockets: readonly string[];
  readonly #log: Logger;
  readonly #known = new Map<string, NodeHealth>();
  readonly #stop = new AbortController();

  constructor(sockets: readonly string[], log: Logger) {
    this.#sockets = sockets;
    this.#log = log;
  }

  /** As of the last answers. */
  get nodes(): readonly NodeHealth[] {
    return [...this.#known.values()];
  }

  start(): void {
    for (const socket of this.#sockets) void this.#watch(socket);
  }

  stop(): void {
    this.#stop.abort();
  }

  async #watch(socket: string): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#known.set(socket, await this.#ask(socket));
      await delay(everyMs);
    }
  }

  async #ask(socket: string): Promise<NodeHealth> {
    const before = this.#known.get(socket);
    try {
      const [status, endpoints, metrics] = await Promise.all([
        askAgent<AgentStatus>(socket, "/v1/status"),
        askAgent<AgentEndpoint[]>(socket, "/v1/endpoints"),
        readAgent(socket, "/metrics"),
      ]);
      return healthOfAgent(status, endpoints, metrics, Date.now());
    } catch (error) {
      if (before?.state !== "silent") this.#log.warn({ socket, err: errorText(error) }, "an agent is silent");
      // One that has never answered is called by the folder of its socket, which is the node's name in a lab.
      const name = before?.name ?? basename(dirname(socket));
      return silentNode(name, `its agent does not answer: ${errorText(error)}`);
    }
  }
}
