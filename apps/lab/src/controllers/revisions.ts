import type { ControllerRevision } from "kubernetes-types/apps/v1";
import type { PodTemplateSpec } from "kubernetes-types/core/v1";
import type { OwnerReference } from "kubernetes-types/meta/v1";
import { type Action, refOf } from "./action.ts";
import { hashJson, type KubeObject, meta, nameOf } from "./objects.ts";

/** The name of the ControllerRevision of a template; also the value of `controller-revision-hash`. */
export function revisionName(owner: KubeObject, template: PodTemplateSpec | undefined): string {
  return `${nameOf(owner)}-${hashJson(template)}`;
}

/** The template kept in a revision, in the form `kubectl rollout undo` expects. */
export function templateOf(revision: ControllerRevision | undefined): PodTemplateSpec | undefined {
  const data = revision?.data as { spec?: { template?: PodTemplateSpec } } | undefined;
  return data?.spec?.template;
}

const historyLimit = 10;

/** Records the template as the newest revision of its owner and drops what is beyond the history. */
export function nextRevision(
  owner: KubeObject,
  reference: OwnerReference,
  template: PodTemplateSpec | undefined,
  own: readonly ControllerRevision[],
): Action[] {
  const name = revisionName(owner, template);
  const highest = Math.max(0, ...own.map((revision) => revision.revision));
  const existing = own.find((revision) => nameOf(revision) === name);
  if (existing !== undefined && existing.revision === highest) return [];
  const ref = { apiVersion: "apps/v1", kind: "ControllerRevision" };
  if (existing !== undefined) {
    return [
      { verb: "patch", ref: refOf(existing, ref.apiVersion, ref.kind), patch: { revision: highest + 1 } },
    ];
  }
  const namespace = meta(owner).namespace;
  const revision: ControllerRevision = {
    apiVersion: "apps/v1",
    kind: "ControllerRevision",
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { ...template?.metadata?.labels },
      ownerReferences: [reference],
    },
    revision: highest + 1,
    data: { spec: { template: { ...template, $patch: "replace" } } },
  };
  const surplus = [...own]
    .sort((a, b) => a.revision - b.revision)
    .slice(0, Math.max(0, own.length - historyLimit));
  return [
    { verb: "create", object: revision },
    ...surplus.map((old): Action => ({ verb: "delete", ref: refOf(old, ref.apiVersion, ref.kind) })),
  ];
}
