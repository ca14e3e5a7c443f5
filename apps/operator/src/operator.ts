import { backoff, errorText, type Logger } from "@axoneme/base";
import { type Election, elect, type KubeClient } from "@axoneme/kube";
import type { OperatorConfig } from "./options.ts";
import { makeTerm, type Term } from "./term.ts";

/** Stands for election and runs a term whenever elected. */
export class Operator {
  readonly #client: KubeClient;
  readonly #config: OperatorConfig;
  readonly #log: Logger;
  #election: Election | undefined;
  #term: Term | undefined;
  /** Terms never overlap: each starts when the one before has stopped. */
  #turn: Promise<void> = Promise.resolve();

  constructor(client: KubeClient, config: OperatorConfig, log: Logger) {
    this.#client = client;
    this.#config = config;
    this.#log = log;
  }

  /** The running term, while we lead. */
  get term(): Term | undefined {
    return this.#term;
  }

  get leading(): boolean {
    return this.#election?.leading ?? false;
  }

  start(): void {
    const { leaseName, leaseNamespace, leaseDurationS } = this.#config;
    const leaseDurationMs = leaseDurationS * 1000;
    const times = {
      leaseDurationMs,
      renewDeadlineMs: (leaseDurationMs * 2) / 3,
      retryMs: leaseDurationMs / 7.5,
    };
    this.#election = elect(
      this.#client,
      { name: leaseName, namespace: leaseNamespace, ...times, log: this.#log },
      {
        onElected: (signal) => {
          this.#turn = this.#turn.then(() => this.#serve(signal));
        },
        // The lease is given up when the last write has ended.
        onLost: () => this.#turn,
        onLeader: (leader) => this.#log.info({ leader }, "another operator leads"),
      },
    );
  }

  async stop(): Promise<void> {
    await this.#election?.stop();
    await this.#turn;
  }

  /** One term: until the lead is lost. A start that fails is tried again as long as we lead. */
  async #serve(signal: AbortSignal): Promise<void> {
    const waits = backoff({ baseMs: 500, maxMs: 30_000 });
    while (!signal.aborted) {
      const term = makeTerm(this.#client, this.#config, this.#log, signal);
      this.#term = term;
      try {
        await startUnlessAborted(term, signal);
        await aborted(signal);
      } catch (error) {
        if (signal.aborted) break;
        this.#log.error({ err: errorText(error) }, "the operator's modules did not start; trying again");
        await Promise.race([aborted(signal), new Promise((resolve) => setTimeout(resolve, waits.next()))]);
      } finally {
        await term.lifecycle.stop();
      }
    }
    this.#term = undefined;
  }
}

/** A start that waits for a server out of reach must not hold up the end of the term. */
async function startUnlessAborted(term: Term, signal: AbortSignal): Promise<void> {
  const started = term.lifecycle.start();
  await Promise.race([started, aborted(signal).then(() => term.lifecycle.stop())]);
  if (signal.aborted) await started.catch(() => undefined);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
