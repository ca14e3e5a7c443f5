import type { ObjectMeta } from "kubernetes-types/meta/v1";

/** What every object has. All fields optional, as in kubernetes-types; the server fills them. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
}

/** Where objects of type T live in the API. */
export interface Resource<T extends KubeObject> {
  /** API group, "" for the core. */
  readonly group: string;
  readonly version: string;
  /** Lower-case plural, as in the URL. */
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Carries the type only; never set. */
  readonly type?: T;
}

/** Names a resource and its type; for kinds not in `resources`. */
export function defineResource<T extends KubeObject>(
  apiVersion: string,
  plural: string,
  kind: string,
  scope: "Namespaced" | "Cluster",
): Resource<T> {
  const [first = "", second] = apiVersion.split("/");
  const group = second === undefined ? "" : first;
  return { group, version: second ?? first, plural, kind, namespaced: scope === "Namespaced" };
}

/** "v1", "apps/v1". */
export function apiVersionOf(resource: Pick<Resource<KubeObject>, "group" | "version">): string {
  return resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
}

/** "pods", "ciliumnodes.cilium.io": what messages and RBAC call it. */
export function resourceName(resource: Pick<Resource<KubeObject>, "group" | "plural">): string {
  return resource.group === "" ? resource.plural : `${resource.plural}.${resource.group}`;
}

/** URL path of a collection, of an object in it, or of an object's subresource. */
export function resourcePath(
  resource: Resource<KubeObject>,
  namespace: string | undefined,
  name?: string,
  subresource?: string,
): string {
  const parts = resource.group === "" ? ["/api"] : ["/apis", resource.group];
  parts.push(resource.version);
  if (namespace !== undefined) parts.push("namespaces", encodeURIComponent(namespace));
  parts.push(resource.plural);
  if (name !== undefined) parts.push(encodeURIComponent(name));
  if (subresource !== undefined) parts.push(subresource);
  return parts.join("/");
}
