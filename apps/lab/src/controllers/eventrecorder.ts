import { createHash } from "node:crypto";
import { errorText, type Logger } from "@axoneme/base";
import { type KubeClient, resources } from "@axoneme/kube";
import type { Event } from "kubernetes-types/core/v1";
import { type KubeObject, meta, nameOf, timestamp, uidOf } from "./objects.ts";

interface Known {
  name: string;
  count: number;
  first: string;
}

/**
 * Writes the events that `kubectl describe` shows. The same thing said again raises the count of the first
 * event. Events are best effort: a failed write is logged and forgotten, and no more than `maxQueue` wait.
 */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #component: string;
  readonly #host: string | undefined;
  readonly #log: Logger;
  readonly #known = new Map<string, Known>();
  #waiting = 0;
  #tail: Promise<void> = Promise.resolve();

  constructor(client: KubeClient, component: string, log: Logger, host?: string) {
    this.#client = client;
    this.#component = component;
    this.#host = host;
    this.#log = log;
  }

  record(about: KubeObject, type: "Normal" | "Warning", reason: string, message: string): void {
    if (this.#waiting >= maxQueue) return;
    this.#waiting++;
    this.#tail = this.#tail
      .then(() => this.#write(about, type, reason, message))
      .catch((error: unknown) => this.#log.debug({ err: errorText(error) }, "an event could not be written"))
      .finally(() => {
        this.#waiting--;
      });
  }

  async #write(about: KubeObject, type: string, reason: string, message: string): Promise<void> {
    const namespace = meta(about).namespace ?? "default";
    const key = `${uidOf(about)}/${reason}/${message}`;
    const now = timestamp(Date.now());
    const known = this.#known.get(key);
    const eventsApi = this.#client.resource(resources.events);
    if (known !== undefined) {
      known.count++;
      await eventsApi.patch(known.name, { count: known.count, lastTimestamp: now }, { namespace });
      return;
    }
    const suffix = createHash("sha256").update(`${key}/${this.#component}/${now}`).digest("hex").slice(0, 16);
    const event: Event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: `${nameOf(about)}.${suffix}`, namespace },
      involvedObject: {
        apiVersion: about.apiVersion ?? "v1",
        kind: about.kind ?? "Pod",
        name: nameOf(about),
        ...(meta(about).namespace === undefined ? {} : { namespace }),
        uid: uidOf(about),
      },
      type,
      reason,
      message: message.slice(0, 1024),
      count: 1,
      firstTimestamp: now,
      lastTimestamp: now,
      source: { component: this.#component, ...(this.#host === undefined ? {} : { host: this.#host }) },
      reportingComponent: this.#component,
      reportingInstance: this.#host ?? "",
    };
    if (this.#known.size > 2000) this.#known.clear();
    this.#known.set(key, { name: event.metadata.name ?? "", count: 1, first: now });
    await eventsApi.create(event);
  }
}

const maxQueue = 1000;
