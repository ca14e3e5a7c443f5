import { type KeyedQueue, type Logger, withDeadline } from "@axoneme/base";
import type { EndpointStore } from "@axoneme/endpoint";
import { identityKey, type Labels, reserved } from "@axoneme/identity";
import type { IdentityAllocator } from "../state/identities.ts";
import type { PodIdentities } from "../state/pod-identities.ts";
import type { PodBandwidth } from "./bandwidth.ts";
import { keyOf, type LiveEndpoint, type LiveEndpoints } from "./live.ts";
import { type PodDirectory, type PodFacts, sameFacts } from "./pods.ts";

/** Pause before an endpoint that could not follow its Pod tries again. */
const refreshRetryMs = 1000;
/** Endpoints that get a coarser identity in one look: nobody waits for it, and each costs the API server writes. */
const mergesPerLook = 16;

/** What following Pods takes. */
export interface FollowerDeps {
  readonly store: EndpointStore;
  readonly pods: PodDirectory;
  readonly identities: Pick<IdentityAllocator, "idFor">;
  readonly podIdentities: Pick<PodIdentities, "wanted" | "labelsOf">;
  readonly bandwidth: Pick<PodBandwidth, "apply" | "isAsWanted">;
  readonly log: Logger;
  /** Milliseconds the API may take to make an identity. */
  readonly timeoutMs: number;
}

/** Keeps endpoints like their Pods, and their identities like the classes that policies make. */
export class PodFollower {
  readonly #deps: FollowerDeps;
  readonly #live: LiveEndpoints;
  readonly #queue: KeyedQueue<string>;
  /** Endpoints that are not yet what their Pod asks for, since the API did not give them an identity. */
  readonly #behind = new Set<string>();
  #behindTimer: NodeJS.Timeout | undefined;

  /** @param queue in which everything about one endpoint happens one after the other. */
  constructor(deps: FollowerDeps, live: LiveEndpoints, queue: KeyedQueue<string>) {
    this.#deps = deps;
    this.#live = live;
    this.#queue = queue;
    live.onCoarse = (key) => this.follow(key);
  }

  /** Brings one endpoint up to date, behind what is being done with it now. */
  follow(key: string): void {
    this.#queue
      .run(key, () => this.#refresh(key))
      .catch((err: unknown) => {
        const pod = this.#live.byKey(key)?.record.pod;
        this.#deps.log.error(
          { err, pod: pod && `${pod.namespace}/${pod.name}` },
          "the endpoint could not follow its pod yet",
        );
        this.followLater(key);
      });
  }

  /** The same if its Pod is not what it was made for. */
  followChanges({ record, facts }: LiveEndpoint): void {
    const now = record.pod && this.#deps.pods.known(record.pod);
    if (now && !sameFacts(now, facts)) this.follow(keyOf(record));
  }

  /** The same after a pause. */
  followLater(key: string): void {
    this.#behind.add(key);
    this.#behindTimer ??= setTimeout(() => {
      this.#behindTimer = undefined;
      for (const late of this.#behind) {
        if (this.#live.byKey(late)?.record.pod) this.follow(late);
        else this.#behind.delete(late);
      }
    }, refreshRetryMs).unref();
  }

  /** Some of the endpoints whose identity is not the one they should have are given that: classes were merged. */
  mergeSome(): void {
    const others = this.#live.all().filter((live) => {
      const facts = live.record.pod && this.#deps.pods.known(live.record.pod);
      return facts !== undefined && !this.#isAsWanted(live, facts);
    });
    for (const { record } of others.slice(0, mergesPerLook)) this.follow(keyOf(record));
  }

  /** The identity a pod should have; a new one is made. */
  async identityOf(facts: PodFacts): Promise<number> {
    if (isInit(facts.labels)) return reserved.init;
    const { identities, timeoutMs } = this.#deps;
    return withDeadline(
      identities.idFor(this.#wanted(facts)),
      timeoutMs,
      "finding the identity of the pod's labels",
    );
  }

  #wanted({ labels, namedPorts }: PodFacts): Labels {
    return this.#deps.podIdentities.wanted(labels, namedPorts);
  }

  #isAsWanted({ record }: LiveEndpoint, facts: PodFacts): boolean {
    if (isInit(facts.labels)) return record.identity === reserved.init;
    const labels = this.#deps.podIdentities.labelsOf(record.identity);
    return labels !== undefined && identityKey(labels) === identityKey(this.#wanted(facts));
  }

  async #refresh(key: string): Promise<void> {
    const live = this.#live.byKey(key);
    const facts = live?.record.pod && this.#deps.pods.known(live.record.pod);
    if (!live || !facts) return;
    const { bandwidth } = this.#deps;
    if (
      sameFacts(facts, live.facts) &&
      this.#isAsWanted(live, facts) &&
      bandwidth.isAsWanted(live.record, facts)
    ) {
      this.#behind.delete(key);
      return;
    }
    const identity = await this.identityOf(facts);
    this.#behind.delete(key);
    const record = { ...(await bandwidth.apply(live.record, facts)), identity };
    this.#deps.store.write(record);
    this.#live.publish(this.#live.install(record, facts));
  }
}

function isInit(labels: Labels): boolean {
  return "reserved:init" in labels;
}
