import type { IncomingMessage } from "node:http";
import type { Cluster } from "../cluster.ts";
import { forbidden } from "../errors.ts";
import { arrayOf, at, type JsonObject, type KubeObject, stringOf } from "../object.ts";
import type { RequestInfo } from "../routes/request.ts";
import type { User } from "./users.ts";

/** What somebody asks for, in RBAC's words. */
export interface Access {
  readonly user: string;
  readonly verb: string;
  readonly group: string;
  /** With its subresource, as `services/status`. */
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
}

const rbacGroup = "rbac.authorization.k8s.io";
const all = "*";

/** Role-based access control, over the roles and bindings that are stored; members of system:masters may do everything. */
export class Rbac {
  readonly #cluster: Cluster;
  readonly #asked: ((access: Access) => void) | undefined;

  constructor(cluster: Cluster, asked?: (access: Access) => void) {
    this.#cluster = cluster;
    this.#asked = asked;
  }

  /** @throws ApiError 403 in the words of Kubernetes */
  check(user: User, request: IncomingMessage, info: RequestInfo, query: URLSearchParams): void {
    if (user.groups.includes("system:masters")) return;
    for (const verb of this.#verbs(request, info)) {
      const access = accessOf(user, verb, info, query);
      this.#asked?.(access);
      if (!this.#allows(user, access)) throw refusal(access);
    }
  }

  /** An apply that makes the object needs leave to create it too. */
  #verbs(request: IncomingMessage, info: RequestInfo): string[] {
    const verb = verbOf(request.method ?? "GET", info);
    const isApply = (request.headers["content-type"] ?? "").startsWith("application/apply-patch");
    if (verb !== "patch" || !isApply || info.subresource !== "") return [verb];
    const key = info.namespace === "" ? info.name : `${info.namespace}/${info.name}`;
    const known = this.#cluster.store.bucket(`${info.group}/${info.resource}`).get(key);
    return known === undefined ? ["patch", "create"] : ["patch"];
  }

  #allows(user: User, access: Access): boolean {
    if (this.#bound("clusterrolebindings", "", user).some((rule) => grants(rule, access))) return true;
    if (access.namespace === "") return false;
    return this.#bound("rolebindings", access.namespace, user).some((rule) => grants(rule, access));
  }

  /** Rules that bindings of a namespace, or of the cluster, give to the user. */
  #bound(plural: string, namespace: string, user: User): JsonObject[] {
    return this.#objects(plural)
      .filter((binding) => stringOf(binding.metadata.namespace) === namespace)
      .filter((binding) => arrayOf(at(binding, "subjects")).some((subject) => isSubject(subject, user)))
      .flatMap((binding) => this.#rulesOf(binding, namespace));
  }

  #rulesOf(binding: KubeObject, namespace: string): JsonObject[] {
    const kind = stringOf(at(binding, "roleRef", "kind"));
    const name = stringOf(at(binding, "roleRef", "name"));
    const key = kind === "ClusterRole" ? name : `${namespace}/${name}`;
    const plural = kind === "ClusterRole" ? "clusterroles" : "roles";
    const role = this.#cluster.store.bucket(`${rbacGroup}/${plural}`).get(key)?.object;
    return arrayOf(at(role, "rules")) as JsonObject[];
  }

  #objects(plural: string): KubeObject[] {
    return [...this.#cluster.store.bucket(`${rbacGroup}/${plural}`).entries()].map(({ object }) => object);
  }
}

function verbOf(method: string, { name, watch }: RequestInfo): string {
  switch (method) {
    case "POST":
      return "create";
    case "PUT":
      return "update";
    case "PATCH":
      return "patch";
    case "DELETE":
      return name === "" ? "deletecollection" : "delete";
    default:
      return watch ? "watch" : name === "" ? "list" : "get";
  }
}

function accessOf(user: User, verb: string, info: RequestInfo, query: URLSearchParams): Access {
  // A list or watch of one object by its name is about that name.
  const selected = /^metadata\.name=([^,]+)$/.exec(query.get("fieldSelector") ?? "")?.[1];
  return {
    user: user.name,
    verb,
    group: info.group,
    resource: info.subresource === "" ? info.resource : `${info.resource}/${info.subresource}`,
    namespace: info.namespace,
    name: info.name || selected || "",
  };
}

function isSubject(subject: unknown, user: User): boolean {
  const [kind, name, namespace] = ["kind", "name", "namespace"].map((field) => stringOf(at(subject, field)));
  if (kind === "ServiceAccount") return user.name === `system:serviceaccount:${namespace}:${name}`;
  return kind === "Group" ? user.groups.includes(name ?? "") : user.name === name;
}

function grants(rule: JsonObject, { verb, group, resource, name }: Access): boolean {
  const has = (field: string, wanted: string): boolean => {
    const listed = arrayOf(rule[field]);
    return listed.includes(wanted) || listed.includes(all);
  };
  const names = arrayOf(rule["resourceNames"]);
  return (
    has("verbs", verb) &&
    has("apiGroups", group) &&
    has("resources", resource) &&
    (names.length === 0 || names.includes(name))
  );
}

function refusal({ user, verb, group, resource, namespace, name }: Access) {
  const where = namespace === "" ? "at the cluster scope" : `in the namespace "${namespace}"`;
  const why = `User "${user}" cannot ${verb} resource "${resource}" in API group "${group}" ${where}`;
  return forbidden(group, resource, name, why);
}
