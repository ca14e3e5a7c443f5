import { createHash } from "node:crypto";
import { errorText, type Logger, silentLogger } from "@axoneme/base";
import type { Event } from "kubernetes-types/core/v1";
import type { KubeClient } from "./client.ts";
import { isAlreadyExists, isNotFound } from "./errors.ts";
import { builtinResources } from "./known.ts";

/** The object an event is about. */
export interface EventSubject {
  readonly apiVersion: string;
  readonly kind: string;
  /** Empty for cluster-scoped objects: their events are in `default`. */
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string | undefined;
}

export interface EventRecorderOptions {
  /** Who says it: `source.component`. */
  readonly component: string;
  /** On which node. Without one, what several processes say alike is one event. */
  readonly host?: string;
  /** Events about one object in a row (default 10); then one more every `refillMs` (default 60 s). */
  readonly burst?: number;
  readonly refillMs?: number;
  readonly now?: () => number;
  readonly log?: Logger;
}

interface Known {
  readonly event: Event;
  count: number;
}

interface Bucket {
  tokens: number;
  at: number;
}

/** Events remembered, to count a repetition instead of writing it anew. */
const maxKnown = 1024;
/** Events that wait to be written; more are dropped: they are for people. */
const maxWaiting = 256;

/**
 * Writes core/v1 Events: what is said again about an object raises the count of the event there is, and one object
 * gets no more than a few a minute. Never throws and never waits: an event that cannot be written is only logged.
 */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #options: EventRecorderOptions;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #known = new Map<string, Known>();
  readonly #buckets = new Map<string, Bucket>();
  readonly #waiting: (() => Promise<void>)[] = [];
  #running: Promise<void> | undefined;
  #stopped = false;
  /** Events not written because there were too many. */
  dropped = 0;

  constructor(client: KubeClient, options: EventRecorderOptions) {
    this.#client = client;
    this.#options = options;
    this.#log = options.log ?? silentLogger;
    this.#now = options.now ?? Date.now;
  }

  /** Says something about an object. `reason` is one CamelCase word, `message` a sentence. */
  record(subject: EventSubject, type: "Normal" | "Warning", reason: string, message: string): void {
    const object = `${subject.kind}/${subject.namespace}/${subject.name}/${subject.uid ?? ""}`;
    if (this.#stopped || !this.#take(object)) return;
    const key = `${object}/${type}/${reason}/${message}`;
    if (this.#waiting.length >= maxWaiting) {
      this.dropped++;
      return;
    }
    this.#waiting.push(() => this.#write(key, subject, type, reason, message.slice(0, 1024)));
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when everything said so far was written, or given up. */
  async flush(): Promise<void> {
    while (this.#running) await this.#running;
  }

  /** Nothing more is written. */
  stop(): void {
    this.#stopped = true;
    this.#waiting.length = 0;
  }

  #take(object: string): boolean {
    const { burst = 10, refillMs = 60_000 } = this.#options;
    const now = this.#now();
    const bucket = this.#buckets.get(object) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, bucket.tokens + (now - bucket.at) / refillMs);
    remember(this.#buckets, object, { tokens: tokens >= 1 ? tokens - 1 : tokens, at: now });
    if (tokens >= 1) return true;
    this.dropped++;
    return false;
  }

  async #run(): Promise<void> {
    for (let write = this.#waiting.shift(); write && !this.#stopped; write = this.#waiting.shift()) {
      try {
        await write();
      } catch (error) {
        this.#log.warn({ err: errorText(error) }, "an event was not written");
      }
    }
  }

  async #write(
    key: string,
    subject: EventSubject,
    type: string,
    reason: string,
    message: string,
  ): Promise<void> {
    const known = this.#known.get(key);
    if (known && (await this.#again(known))) return;
    const event = this.#eventOf(key, subject, type, reason, message);
    try {
      const written = await this.#client.resource(builtinResources.events).create(event);
      remember(this.#known, key, { event: written, count: 1 });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      // Another node has said it, or we did before a restart: it is known.
      remember(this.#known, key, { event, count: 1 });
    }
  }

  /** Raises the count; false when the server has forgotten the event (they expire). */
  async #again(known: Known): Promise<boolean> {
    const { name = "", namespace } = known.event.metadata;
    const patch = { count: known.count + 1, lastTimestamp: this.#time() };
    try {
      await this.#client.resource(builtinResources.events).patch(name, patch, { namespace });
      known.count++;
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  #eventOf(key: string, subject: EventSubject, type: string, reason: string, message: string): Event {
    const { apiVersion, kind, name, uid } = subject;
    const namespace = subject.namespace || "default";
    const { component, host } = this.#options;
    const time = this.#time();
    const unique = createHash("sha256")
      .update(`${host ?? ""} ${key}`)
      .digest("hex")
      .slice(0, 16);
    return {
      apiVersion: "v1",
      kind: "Event",
      metadata: { namespace, name: `${name}.${unique}` },
      involvedObject: {
        apiVersion,
        kind,
        name,
        ...(subject.namespace === "" ? {} : { namespace }),
        ...(uid === undefined ? {} : { uid }),
      },
      type,
      reason,
      message,
      source: { component, ...(host === undefined ? {} : { host }) },
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
      reportingComponent: component,
      reportingInstance: host ?? component,
    };
  }

  #time(): string {
    return new Date(this.#now()).toISOString();
  }
}

/** Sets a key of a bounded map; the one that was there longest goes. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > maxKnown && oldest !== undefined) map.delete(oldest);
}
