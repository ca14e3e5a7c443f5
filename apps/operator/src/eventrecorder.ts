import { errorText, type Logger } from "@axoneme/base";
import { apiVersionOf, type KubeClient, type KubeObject, type Resource, resources } from "@axoneme/kube";

/** Tells users of the API what happened to an object (`kubectl describe`, `kubectl events`). */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #log: Logger;

  constructor(client: KubeClient, log: Logger) {
    this.#client = client;
    this.#log = log;
  }

  /** Writes one event. A failure is logged only: an event is a courtesy. */
  async warn<T extends KubeObject>(
    resource: Resource<T>,
    about: T,
    reason: string,
    message: string,
  ): Promise<void> {
    const { name = "", namespace, uid = "" } = about.metadata ?? {};
    const now = new Date().toISOString();
    const seconds = now.replace(/\.\d+Z$/, "Z");
    const involvedObject = { apiVersion: apiVersionOf(resource), kind: resource.kind, name, uid };
    const event = {
      metadata: { name: `${name}.${Date.now().toString(16)}`, namespace: namespace ?? "default" },
      involvedObject: namespace === undefined ? involvedObject : { ...involvedObject, namespace },
      ...{ type: "Warning", reason, message, count: 1, firstTimestamp: seconds, lastTimestamp: seconds },
      source: { component: "axoneme-operator" },
    };
    try {
      await this.#client.resource(resources.events).create(event);
    } catch (error) {
      this.#log.warn({ err: errorText(error), reason, object: name }, "could not write an event");
    }
  }
}
