import { crdFinalizer } from "./admission/crd.ts";
import type { Cluster } from "./cluster.ts";
import { arrayOf, at, clone, type KubeObject, objectOf, stringOf, timestamp } from "./object.ts";
import type { Resource } from "./operations/prepare.ts";
import { remove } from "./operations/remove.ts";
import { isFinished, overwrite, removeNow } from "./operations/write.ts";
import { bucketName, type ResourceType } from "./resources/resource.ts";

const everyMs = 50;
const mostMs = 1000;

/** Empties what is being deleted: namespaces of their objects, definitions of their custom resources. */
export class Cleaner {
  readonly #cluster: Cluster;
  readonly #unlisten: (() => void)[];
  #timer: NodeJS.Timeout | undefined;
  #wait = everyMs;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#unlisten = ["/namespaces", "apiextensions.k8s.io/customresourcedefinitions"].map((name) =>
      cluster.store.bucket(name).listen((change) => {
        if (change.type !== "DELETED" && change.entry.object.metadata.deletionTimestamp !== undefined)
          this.#soon(true);
      }),
    );
    this.#soon(true);
  }

  #soon(reset: boolean): void {
    if (reset) {
      this.#wait = everyMs;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    this.#timer ??= setTimeout(() => this.#run(), reset ? 0 : this.#wait);
    this.#timer.unref();
  }

  #run(): void {
    this.#timer = undefined;
    let pending = 0;
    try {
      pending += this.#namespaces();
      pending += this.#definitions();
    } catch (error) {
      pending++;
      this.#cluster.logger.error({ error }, "emptying what is being deleted failed; it is tried again");
    }
    if (pending === 0 || this.#timer !== undefined) return;
    this.#wait = Math.min(this.#wait * 2, mostMs);
    this.#soon(false);
  }

  #namespaces(): number {
    const type = this.#cluster.registry.get("", "namespaces");
    if (type === undefined) return 0;
    let pending = 0;
    for (const { object } of [...this.#cluster.store.bucket("/namespaces").entries()]) {
      if (object.metadata.deletionTimestamp === undefined) continue;
      const left = this.#empty(object.metadata.name);
      if (left.length > 0) {
        pending++;
        this.#report(type, object, left);
      } else if (arrayOf(at(object, "spec", "finalizers")).length > 0) this.#release(type, object);
    }
    return pending;
  }

  /** Deletes everything in the namespace; returns what is still there, as `pods (2)`. */
  #empty(namespace: string): string[] {
    const left: string[] = [];
    for (const type of [...this.#cluster.registry.all()]) {
      if (!type.namespaced) continue;
      const count = this.#deleteAll(type, `${namespace}/`);
      if (count > 0) left.push(`${bucketName(type)} (${count})`);
    }
    return left;
  }

  #deleteAll(type: ResourceType, prefix: string): number {
    const bucket = this.#cluster.store.bucket(bucketName(type));
    const version = type.versions.get(type.storageVersion);
    if (version === undefined) return 0;
    const resource: Resource = { type, version };
    for (const { object } of [...bucket.entries(prefix)]) {
      if (object.metadata.deletionTimestamp === undefined)
        remove(this.#cluster, resource, object, { dryRun: false });
    }
    return [...bucket.entries(prefix)].length;
  }

  #report(type: ResourceType, namespace: KubeObject, left: string[]): void {
    const version = type.versions.get("v1");
    const message = `Some resources are remaining: ${left.join(", ")}`;
    const current = arrayOf(at(namespace, "status", "conditions"));
    if (version === undefined || current.some((each) => at(each, "message") === message)) return;
    const next = clone(namespace);
    const lastTransitionTime = timestamp(this.#cluster.now());
    const condition = {
      type: "NamespaceContentRemaining",
      status: "True",
      reason: "SomeResourcesRemain",
      message,
      lastTransitionTime,
    };
    next["status"] = { ...objectOf(next["status"]), conditions: [condition] };
    overwrite(this.#cluster, { type, version }, next);
  }

  #release(type: ResourceType, namespace: KubeObject): void {
    const version = type.versions.get("v1");
    if (version === undefined) return;
    const next = clone(namespace);
    const finalizers = arrayOf(at(next, "spec", "finalizers")).filter((each) => each !== "kubernetes");
    next["spec"] = { ...objectOf(next["spec"]), finalizers };
    if (isFinished(next)) removeNow(this.#cluster, { type, version }, next);
    else overwrite(this.#cluster, { type, version }, next);
  }

  #definitions(): number {
    const own = this.#cluster.registry.get("apiextensions.k8s.io", "customresourcedefinitions");
    const version = own?.versions.get("v1");
    if (own === undefined || version === undefined) return 0;
    let pending = 0;
    for (const { object } of [...this.#cluster.store.bucket(bucketName(own)).entries()]) {
      if (object.metadata.deletionTimestamp === undefined) continue;
      const type = this.#cluster.registry.get(
        stringOf(at(object, "spec", "group")),
        stringOf(at(object, "spec", "names", "plural")),
      );
      if (type !== undefined && !type.builtin && this.#deleteAll(type, "") > 0) {
        pending++;
        continue;
      }
      const next = clone(object);
      next.metadata.finalizers = (next.metadata.finalizers ?? []).filter((each) => each !== crdFinalizer);
      if (isFinished(next)) removeNow(this.#cluster, { type: own, version }, next);
      else if ((object.metadata.finalizers ?? []).includes(crdFinalizer))
        overwrite(this.#cluster, { type: own, version }, next);
    }
    return pending;
  }

  stop(): void {
    clearTimeout(this.#timer);
    for (const unlisten of this.#unlisten) unlisten();
  }
}
