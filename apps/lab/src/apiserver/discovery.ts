import type { JsonObject } from "./object.ts";
import {
  allVerbs,
  groupVersion,
  type Kinds,
  type ResourceType,
  type ResourceVersion,
} from "./resources/resource.ts";

interface Sub {
  name: string;
  kind: string;
  verbs: readonly string[];
  group?: string;
  version?: string;
}

function subresources(type: ResourceType, version: ResourceVersion): Sub[] {
  const list: Sub[] = [...type.extras];
  if (version.status) list.push({ name: "status", kind: type.kind, verbs: ["get", "patch", "update"] });
  if (version.scale !== undefined) {
    list.push({
      name: "scale",
      kind: "Scale",
      verbs: ["get", "patch", "update"],
      group: "autoscaling",
      version: "v1",
    });
  }
  return list;
}

/** Kinds that are only answered, not stored. */
export const reviews: Readonly<
  Record<string, readonly { plural: string; kind: string; namespaced: boolean }[]>
> = {
  "authentication.k8s.io/v1": [
    { plural: "selfsubjectreviews", kind: "SelfSubjectReview", namespaced: false },
    { plural: "tokenreviews", kind: "TokenReview", namespaced: false },
  ],
  "authorization.k8s.io/v1": [
    { plural: "localsubjectaccessreviews", kind: "LocalSubjectAccessReview", namespaced: true },
    { plural: "selfsubjectaccessreviews", kind: "SelfSubjectAccessReview", namespaced: false },
    { plural: "selfsubjectrulesreviews", kind: "SelfSubjectRulesReview", namespaced: false },
    { plural: "subjectaccessreviews", kind: "SubjectAccessReview", namespaced: false },
  ],
};

/** The API's description of itself, old style (a document per version) and aggregated. */
export class Discovery {
  readonly #registry: Kinds;

  constructor(registry: Kinds) {
    this.#registry = registry;
  }

  #groups(): Map<string, string[]> {
    const groups = this.#registry.groups();
    for (const gv of Object.keys(reviews)) {
      const [group = "", version = ""] = gv.split("/");
      groups.set(group, [version]);
    }
    return groups;
  }

  #types(group: string, version: string): { type: ResourceType; version: ResourceVersion }[] {
    const found: { type: ResourceType; version: ResourceVersion }[] = [];
    for (const type of this.#registry.all()) {
      const each = type.versions.get(version);
      if (type.group === group && each?.served === true) found.push({ type, version: each });
    }
    return found.sort((a, b) => (a.type.plural < b.type.plural ? -1 : 1));
  }

  /** /api */
  coreVersions(): JsonObject {
    return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
  }

  /** /apis */
  groupList(): JsonObject {
    const groups = [...this.#groups().keys()].filter((group) => group !== "").sort();
    return { kind: "APIGroupList", apiVersion: "v1", groups: groups.map((group) => this.#group(group)) };
  }

  #group(group: string): JsonObject {
    const versions = (this.#groups().get(group) ?? []).map((version) => ({
      groupVersion: groupVersion(group, version),
      version,
    }));
    return { name: group, versions, preferredVersion: versions[0] };
  }

  /** /apis/<group>; undefined when there is no such group. */
  group(group: string): JsonObject | undefined {
    return group !== "" && this.#groups().has(group)
      ? { kind: "APIGroup", apiVersion: "v1", ...this.#group(group) }
      : undefined;
  }

  /** /api/v1 and /apis/<group>/<version>; undefined when there is no such version. */
  resources(group: string, version: string): JsonObject | undefined {
    const gv = groupVersion(group, version);
    const resources: JsonObject[] = this.#types(group, version).flatMap(({ type, version: v }) => [
      {
        name: type.plural,
        singularName: type.singular,
        namespaced: type.namespaced,
        kind: type.kind,
        verbs: allVerbs,
        ...(type.shortNames.length > 0 ? { shortNames: type.shortNames } : {}),
        ...(type.categories.length > 0 ? { categories: type.categories } : {}),
        storageVersionHash: Buffer.from(gv + type.kind)
          .toString("base64url")
          .slice(0, 12),
      },
      ...subresources(type, v).map((sub) => ({
        name: `${type.plural}/${sub.name}`,
        singularName: "",
        namespaced: type.namespaced,
        kind: sub.kind,
        verbs: sub.verbs,
        ...(sub.group === undefined ? {} : { group: sub.group, version: sub.version }),
      })),
    ]);
    for (const each of reviews[gv] ?? []) {
      resources.push({
        name: each.plural,
        singularName: each.kind.toLowerCase(),
        namespaced: each.namespaced,
        kind: each.kind,
        verbs: ["create"],
      });
    }
    if (resources.length === 0) return undefined;
    return { kind: "APIResourceList", apiVersion: "v1", groupVersion: gv, resources };
  }

  /** apidiscovery.k8s.io APIGroupDiscoveryList of the core group or of all others. */
  aggregated(core: boolean, version: string): JsonObject {
    const items = [...this.#groups()]
      .filter(([group]) => (group === "") === core)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([group, versions]) => ({
        metadata: { name: group, creationTimestamp: null },
        versions: versions.map((each) => ({
          version: each,
          freshness: "Current",
          resources: this.#aggregatedResources(group, each),
        })),
      }));
    return {
      kind: "APIGroupDiscoveryList",
      apiVersion: `apidiscovery.k8s.io/${version}`,
      metadata: {},
      items,
    };
  }

  #aggregatedResources(group: string, version: string): JsonObject[] {
    const kindOf = (kind: string, sub?: Sub) => ({
      group: sub?.group ?? group,
      version: sub?.version ?? version,
      kind,
    });
    const resources: JsonObject[] = this.#types(group, version).map(({ type, version: v }) => {
      const subs = subresources(type, v);
      return {
        resource: type.plural,
        responseKind: kindOf(type.kind),
        scope: type.namespaced ? "Namespaced" : "Cluster",
        singularResource: type.singular,
        verbs: allVerbs,
        ...(type.shortNames.length > 0 ? { shortNames: type.shortNames } : {}),
        ...(type.categories.length > 0 ? { categories: type.categories } : {}),
        ...(subs.length === 0
          ? {}
          : {
              subresources: subs.map((sub) => ({
                subresource: sub.name,
                responseKind: kindOf(sub.kind, sub),
                verbs: sub.verbs,
              })),
            }),
      };
    });
    for (const each of reviews[groupVersion(group, version)] ?? []) {
      resources.push({
        resource: each.plural,
        responseKind: kindOf(each.kind),
        scope: each.namespaced ? "Namespaced" : "Cluster",
        singularResource: each.kind.toLowerCase(),
        verbs: ["create"],
      });
    }
    return resources;
  }
}
