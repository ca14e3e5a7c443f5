import type { Access } from "@axoneme/lab/apiserver";
import type { KubernetesObject } from "../../deploy/source/kubernetes/index.ts";

/** `verb resource[.group]`, and ` in namespace` where it is given there only. */
export type Right = string;

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

const text = (verb: string, resource: string, group: string): Right =>
  `${verb} ${resource}${group === "" ? "" : `.${group}`}`;

/** Kinds that only roles of one namespace are about. */
const local = new Set(["secrets", "leases", "configmaps", "ciliumnodeconfigs"]);

/** What was asked for, in the same words. */
export function rightOf({ verb, resource, group, namespace }: Access): Right {
  return text(verb, resource, group) + (local.has(resource) ? ` in ${namespace}` : "");
}

/** Everything that the roles of an account allow. */
export function granted(all: readonly KubernetesObject[], account: string): Right[] {
  const bindings = all.filter(
    ({ kind, ...rest }) =>
      kind.endsWith("RoleBinding") &&
      (rest["subjects"] as { name: string }[]).some((subject) => subject.name === account),
  );
  return bindings.flatMap(({ metadata, ...binding }) => {
    const ref = binding["roleRef"] as { kind: string; name: string };
    const role = all.find(
      (each) =>
        each.kind === ref.kind &&
        each.metadata.name === ref.name &&
        each.metadata.namespace === metadata.namespace,
    );
    const where = metadata.namespace === undefined ? "" : ` in ${metadata.namespace}`;
    return ((role?.["rules"] ?? []) as Rule[]).flatMap((rule) =>
      rightsOf(rule).map((right) => right + where),
    );
  });
}

function rightsOf({ apiGroups, resources, verbs }: Rule): Right[] {
  return apiGroups.flatMap((group) =>
    resources.flatMap((resource) => verbs.map((verb) => text(verb, resource, group))),
  );
}
