import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "@axoneme/base";
import { type CniRequest, decodeRequest, parseRequest, RequestReader } from "@axoneme/endpoint";

/** How often the directory is looked at: the plugin also keeps a DEL while the agent's queue is full. */
const lookEveryMs = 10_000;

/** DELs that found no agent: the plugin wrote them down (apps/cni/src/later.c), and its runtime went on. */
export class KeptDeletes {
  readonly #dir: string;
  readonly #del: (request: CniRequest) => Promise<void>;
  readonly #log: Logger;
  readonly #busy = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  /** @param dir made when absent: where it is not, the plugin takes it that there is nothing to delete. */
  constructor(dir: string, del: (request: CniRequest) => Promise<void>, log: Logger) {
    this.#dir = dir;
    this.#del = del;
    this.#log = log;
  }

  /** Begins. To be called once the socket listens: a plugin that keeps a DEL tries the socket once more after. */
  start(): void {
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    this.#look();
    this.#timer = setInterval(() => this.#look(), lookEveryMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Asks for all DELs before it returns, so that they are ahead of an ADD that comes. */
  #look(): void {
    for (const name of readdirSync(this.#dir)) {
      if (name.endsWith(".tmp") || this.#busy.has(name)) continue;
      this.#busy.add(name);
      void this.#take(name).finally(() => this.#busy.delete(name));
    }
  }

  async #take(name: string): Promise<void> {
    const path = join(this.#dir, name);
    let request: CniRequest;
    try {
      const body = new RequestReader().push(readFileSync(path)) ?? Buffer.alloc(0);
      const { env, stdin } = decodeRequest(body);
      request = parseRequest(env, stdin);
    } catch (err) {
      this.#log.error(
        { err, path },
        "a DEL that was kept cannot be read: dropped, GC will find what it was for",
      );
      rmSync(path, { force: true });
      return;
    }
    try {
      if (request.command === "DEL") await this.#del(request);
      rmSync(path, { force: true });
      this.#log.info({ container: request.containerId }, "DEL done that came while no agent ran");
    } catch (err) {
      this.#log.warn({ err, path }, "a DEL that was kept failed: tried again");
    }
  }
}
