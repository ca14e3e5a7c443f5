import { AxonError } from "@axoneme/base";
import type { APIGroupList, APIResource, APIResourceList, APIVersions } from "kubernetes-types/meta/v1";
import type { Caller } from "./call.ts";
import type { KubeObject, Resource } from "./resources.ts";

/** What the server serves: for kinds that are not in `resources`. Answers are kept until `forget`. */
export class Discovery {
  readonly #client: Pick<Caller, "call" | "server">;
  readonly #lists = new Map<string, Promise<APIResourceList>>();

  constructor(client: Pick<Caller, "call" | "server">) {
    this.#client = client;
  }

  /** "v1", "apps/v1", ...: every group version, the group's preferred one first. */
  async groupVersions(): Promise<string[]> {
    const [core, groups] = await Promise.all([
      this.#client.call<APIVersions>({ path: "/api", verb: "discover", object: "/api" }),
      this.#client.call<APIGroupList>({ path: "/apis", verb: "discover", object: "/apis" }),
    ]);
    const named = groups.groups.flatMap((group) => {
      const all = group.versions.map((version) => version.groupVersion);
      const preferred = group.preferredVersion?.groupVersion;
      return preferred === undefined ? all : [preferred, ...all.filter((version) => version !== preferred)];
    });
    return [...core.versions, ...named];
  }

  /** Resources of one group version, subresources left out. Throws KubeError. */
  async resources(apiVersion: string): Promise<APIResource[]> {
    let list = this.#lists.get(apiVersion);
    if (list === undefined) {
      const path = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
      list = this.#client.call<APIResourceList>({ path, verb: "discover", object: apiVersion });
      this.#lists.set(apiVersion, list);
      list.catch(() => this.#lists.delete(apiVersion));
    }
    return (await list).resources.filter((resource) => !resource.name.includes("/"));
  }

  /** The resource of a kind. Throws `kube.unknownKind`. */
  async kind<T extends KubeObject = KubeObject>(apiVersion: string, kind: string): Promise<Resource<T>> {
    const found = (await this.resources(apiVersion)).find((resource) => resource.kind === kind);
    if (found === undefined) throw this.#unknown(`kind ${kind} in ${apiVersion}`);
    return toResource<T>(apiVersion, found);
  }

  /** The resource that a user names: plural, singular, short name or kind, perhaps with ".group". */
  async named(name: string): Promise<Resource<KubeObject>> {
    const [word = "", ...rest] = name.toLowerCase().split(".");
    const group = rest.join(".");
    for (const apiVersion of await this.groupVersions()) {
      if (group !== "" && !apiVersion.startsWith(`${group}/`)) continue;
      const found = (await this.resources(apiVersion)).find((resource) => answersTo(resource, word));
      if (found !== undefined) return toResource(apiVersion, found);
    }
    throw this.#unknown(`resource "${name}"`);
  }

  /** Forgets what was learnt; after CRDs changed. */
  forget(): void {
    this.#lists.clear();
  }

  #unknown(what: string): AxonError {
    return new AxonError(
      "kube.unknownKind",
      `${this.#client.server} serves no ${what}; is its CRD installed?`,
    );
  }
}

function answersTo(resource: APIResource, word: string): boolean {
  const names = [
    resource.name,
    resource.singularName,
    resource.kind.toLowerCase(),
    ...(resource.shortNames ?? []),
  ];
  return names.includes(word);
}

function toResource<T extends KubeObject>(apiVersion: string, found: APIResource): Resource<T> {
  const [first = "", second] = apiVersion.split("/");
  return {
    group: second === undefined ? "" : first,
    version: second ?? first,
    plural: found.name,
    kind: found.kind,
    namespaced: found.namespaced,
  };
}
