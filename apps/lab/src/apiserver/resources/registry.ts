import { bucketName, type Kinds, type ResourceType, type ResourceVersion } from "./resource.ts";

/** Which kinds exist now: the built-in ones, and those that CustomResourceDefinitions add and take away. */
export class Registry implements Kinds {
  readonly #types = new Map<string, ResourceType>();
  #generation = 1;

  constructor(types: Iterable<ResourceType>) {
    for (const type of types) this.#types.set(bucketName(type), type);
  }

  /** Changes whenever a kind is added, changed or removed; caches of discovery and OpenAPI hang on it. */
  get generation(): number {
    return this.#generation;
  }

  set(type: ResourceType): void {
    this.#types.set(bucketName(type), type);
    this.#generation++;
  }

  delete(group: string, plural: string): void {
    if (this.#types.delete(bucketName({ group, plural }))) this.#generation++;
  }

  get(group: string, plural: string): ResourceType | undefined {
    return this.#types.get(bucketName({ group, plural }));
  }

  /** A served version of a resource. */
  find(
    group: string,
    version: string,
    plural: string,
  ): { type: ResourceType; version: ResourceVersion } | undefined {
    const type = this.get(group, plural);
    const found = type?.versions.get(version);
    return type === undefined || found === undefined || !found.served ? undefined : { type, version: found };
  }

  all(): Iterable<ResourceType> {
    return this.#types.values();
  }

  /** group -> its served versions, the preferred one first. */
  groups(): Map<string, string[]> {
    const groups = new Map<string, Set<string>>();
    for (const type of this.#types.values()) {
      const versions = groups.get(type.group) ?? new Set();
      for (const version of type.versions.values()) if (version.served) versions.add(version.name);
      groups.set(type.group, versions);
    }
    const ordered = new Map<string, string[]>();
    for (const [group, versions] of groups) {
      if (versions.size > 0) ordered.set(group, [...versions].sort(compareVersions));
    }
    return ordered;
  }
}

/** Kubernetes' version priority: v2 before v1 before v1beta2 before v1alpha1 before anything else. */
function compareVersions(a: string, b: string): number {
  const rank = (name: string): [number, number, number] => {
    const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(name);
    if (match === null) return [0, 0, 0];
    const stage = match[2] === undefined ? 3 : match[2] === "beta" ? 2 : 1;
    return [stage, Number(match[1]), Number(match[3] ?? 0)];
  };
  const [left, right] = [rank(a), rank(b)];
  for (let i = 0; i < 3; i++) {
    const difference = (right[i] ?? 0) - (left[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}
