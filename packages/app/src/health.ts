/** How a module is: `ok` works fully, `degraded` works with a loss that `message` names, `failed` does not work. */
export type HealthState = "starting" | "ok" | "degraded" | "failed" | "stopped";

/** One module's health, as `axon status` and /healthz show it. */
export interface ModuleHealth {
  readonly name: string;
  readonly state: HealthState;
  readonly message: string;
  /** Wall time of the last change of state, milliseconds since the epoch. */
  readonly since: number;
}

/** What a module uses to tell how it is. Telling the same again changes nothing. */
export interface HealthReporter {
  ok(message?: string): void;
  degraded(message: string): void;
  failed(message: string): void;
}

/** The health of all modules of one program. */
export class Health {
  readonly #modules = new Map<string, ModuleHealth>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** Registers a module as starting and returns what it reports through. */
  reporter(name: string): HealthReporter {
    this.#set(name, "starting", "");
    return {
      ok: (message = "") => this.#set(name, "ok", message),
      degraded: (message) => this.#set(name, "degraded", message),
      failed: (message) => this.#set(name, "failed", message),
    };
  }

  /** Marks a module as stopped. */
  stopped(name: string): void {
    this.#set(name, "stopped", "");
  }

  /** All modules in the order they registered. */
  modules(): ModuleHealth[] {
    return [...this.#modules.values()];
  }

  /** True while no module has failed or is still starting. */
  get healthy(): boolean {
    return this.modules().every((m) => m.state === "ok" || m.state === "degraded");
  }

  #set(name: string, state: HealthState, message: string): void {
    const before = this.#modules.get(name);
    if (before?.state === state && before.message === message) return;
    const since = before?.state === state ? before.since : this.#now();
    this.#modules.set(name, { name, state, message, since });
  }
}
