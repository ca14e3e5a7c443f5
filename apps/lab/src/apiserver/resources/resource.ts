import type { Logger } from "@axoneme/base";
import type { Allocations } from "../admission/allocations.ts";
import type { Cause } from "../errors.ts";
import type { KubeObject } from "../object.ts";
import type { Schema } from "../schema/schema.ts";
import type { Store } from "../storage/store.ts";

/** A printer column of a CRD version. */
export interface PrinterColumn {
  name: string;
  type: string;
  format?: string;
  description?: string;
  priority?: number;
  jsonPath: string;
}

/** Where the scale subresource finds its numbers (dotted paths). */
export interface ScalePaths {
  specReplicasPath: string;
  statusReplicasPath: string;
  labelSelectorPath?: string;
}

/** One served version of a resource. */
export interface ResourceVersion {
  name: string;
  served: boolean;
  schema: Schema;
  columns: PrinterColumn[];
  status: boolean;
  scale?: ScalePaths;
}

/** What is particular to a kind, called around every write. */
export interface Strategy {
  /** The status given at creation is kept, as with nodes that register themselves. */
  keepsStatus?: boolean;
  /** Fills absent fields, in place; must be idempotent. */
  defaults?(object: KubeObject): void;
  /** Sets what the server decides on creation: allocations, phases. Throws ApiError to refuse. */
  prepareCreate?(object: KubeObject, cluster: Cluster): void;
  /** Carries over or allocates what an update may not change by itself. */
  prepareUpdate?(object: KubeObject, old: KubeObject, cluster: Cluster): void;
  /** Every rule the object breaks. */
  validate?(object: KubeObject, old: KubeObject | undefined): Cause[];
  /** Called after the object was stored. */
  stored?(object: KubeObject, cluster: Cluster): void;
  /** Called after an update was stored, or refused: then with both sides exchanged. Releases what is no longer held. */
  replaced?(before: KubeObject, after: KubeObject, cluster: Cluster): void;
  /** Called when the object was marked for deletion and stays until something is done. */
  terminating?(object: KubeObject, cluster: Cluster): void;
  /** Called after the object is gone (or was refused or only tried). */
  removed?(object: KubeObject, cluster: Cluster): void;
}

/** A kind of object the server stores. */
export interface ResourceType {
  group: string;
  plural: string;
  singular: string;
  kind: string;
  listKind: string;
  namespaced: boolean;
  shortNames: readonly string[];
  categories: readonly string[];
  versions: Map<string, ResourceVersion>;
  storageVersion: string;
  /** Built-in kinds take strategic merge patches and drop unknown fields without a CRD's say. */
  builtin: boolean;
  /** Whether metadata.generation counts changes of the spec. */
  counted: boolean;
  /** Subresources besides status and scale, for discovery: name and kind. */
  extras: readonly {
    name: string;
    kind: string;
    verbs: readonly string[];
    group?: string;
    version?: string;
  }[];
  strategy: Strategy;
}

/** The name of the resource's bucket in the store. */
export function bucketName(type: { group: string; plural: string }): string {
  return `${type.group}/${type.plural}`;
}

export function groupVersion(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

/** The key of an object in its bucket. */
export function objectKey(type: ResourceType, namespace: string, name: string): string {
  return type.namespaced ? `${namespace}/${name}` : name;
}

export const allVerbs = [
  "create",
  "delete",
  "deletecollection",
  "get",
  "list",
  "patch",
  "update",
  "watch",
] as const;

/** The kinds that exist now. */
export interface Kinds {
  /** Changes whenever a kind is added, changed or removed; caches of discovery and OpenAPI hang on it. */
  readonly generation: number;
  set(type: ResourceType): void;
  delete(group: string, plural: string): void;
  get(group: string, plural: string): ResourceType | undefined;
  /** A served version of a resource. */
  find(
    group: string,
    version: string,
    plural: string,
  ): { type: ResourceType; version: ResourceVersion } | undefined;
  all(): Iterable<ResourceType>;
  /** group -> its served versions, the preferred one first. */
  groups(): Map<string, string[]>;
}

/** What every part of the server works on. */
export interface Cluster {
  readonly store: Store;
  readonly registry: Kinds;
  readonly allocations: Allocations;
  readonly logger: Logger;
  /** Wall clock, milliseconds. */
  now(): number;
}
