import type { HealthReporter, Module } from "@axoneme/app";
import type { Logger } from "@axoneme/base";
import type { MapFill } from "../metrics/maps.ts";

/** Shares of a map's room: worth a word from here on, and no more below. */
const [warnAt, restAt] = [0.8, 0.75];
const everyMs = 1000;

/** What is looked at. */
export interface PressureSources {
  readonly fills: () => readonly MapFill[];
  /** Endpoints that accept nothing new since the rows of their policy found no room. */
  readonly closed: () => number;
  /** Policies that were refused. */
  readonly refused: () => number;
  /** Called at every look: those that were refused may fit by now. */
  readonly reconsider: () => void;
}

/** Tells before it hurts that a map is nearly full: in the log once, and in the status as long as it is. */
export class MapPressure implements Module {
  readonly name = "map-pressure";
  readonly #sources: PressureSources;
  readonly #log: Logger;
  readonly #pressed = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(sources: PressureSources, log: Logger) {
    this.#sources = sources;
    this.#log = log;
  }

  start(health: HealthReporter): void {
    this.check(health);
    this.#timer = setInterval(() => this.check(health), everyMs);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
  }

  /** Looks at all maps now. */
  check(health: HealthReporter): void {
    this.#sources.reconsider();
    const fills = this.#sources.fills();
    for (const fill of fills) this.#look(fill);
    const texts = fills.filter(({ name }) => this.#pressed.has(name)).map(fillText);
    const [closed, refused] = [this.#sources.closed(), this.#sources.refused()];
    if (refused > 0)
      texts.push(`policies that are not enforced since there is no room for their rows: ${refused}`);
    if (closed > 0)
      texts.push(`endpoints that accept nothing new since there is no room for their policy: ${closed}`);
    if (texts.length > 0) health.degraded(texts.join("; "));
    else health.ok();
  }

  #look({ name, entries, capacity }: MapFill): void {
    const share = entries / capacity;
    if (share < restAt) this.#pressed.delete(name);
    if (share < warnAt || this.#pressed.has(name)) return;
    this.#pressed.add(name);
    this.#log.warn(
      { map: name, entries, capacity },
      "a map is nearly full: policies that ask for more than its room will be refused",
    );
  }
}

function fillText({ name, entries, capacity }: MapFill): string {
  return `${name} is ${Math.floor((entries / capacity) * 100)} % full (${entries} of ${capacity})`;
}
