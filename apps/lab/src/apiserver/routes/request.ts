/** What a path and query ask for, as Kubernetes lays out its URLs. */
export interface RequestInfo {
  group: string;
  version: string;
  /** Empty for cluster-scoped requests and for requests over all namespaces. */
  namespace: string;
  resource: string;
  name: string;
  subresource: string;
  /** What follows the subresource: kubelets' proxies use it. */
  rest: string;
  watch: boolean;
}

/** Reads `/api/v1/...` and `/apis/<group>/<version>/...`; undefined for a path that names no resource. */
export function parsePath(path: string, query: URLSearchParams): RequestInfo | undefined {
  const parts = path
    .split("/")
    .filter((part) => part !== "")
    .map(decodeURIComponent);
  const prefix = parts.shift();
  let group = "";
  if (prefix === "apis") group = parts.shift() ?? "";
  else if (prefix !== "api") return undefined;
  const version = parts.shift();
  if (version === undefined) return undefined;
  let watch = ["true", "1"].includes(query.get("watch") ?? "");
  if (parts[0] === "watch") {
    watch = true;
    parts.shift();
  }
  let namespace = "";
  const namespaced = parts[0] === "namespaces" && parts.length > 2;
  // /namespaces/<name>/status and /finalize are subresources of the namespace itself.
  if (
    namespaced &&
    !(parts.length === 3 && group === "" && ["status", "finalize"].includes(parts[2] ?? ""))
  ) {
    namespace = parts[1] ?? "";
    parts.splice(0, 2);
  }
  const [resource, name = "", subresource = "", ...rest] = parts;
  if (resource === undefined) return undefined;
  return { group, version, namespace, resource, name, subresource, rest: rest.join("/"), watch };
}
