import { isObject, type Raw, type Reader } from "./reader.ts";

/** On a policy or a Namespace: `"true"` = its policies are on trial: they decide nothing and report what they would. */
export const auditAnnotation = "policy.axoneme.io/audit";

/**
 * Whether a policy is on trial: by its own annotation, else by its Namespace's. A value that is neither true nor false
 * is named, and the policy is enforced.
 */
export function audited(
  reader: Reader,
  metadata: Raw,
  namespace: string | undefined,
  context: { isAudited?: (namespace: string) => boolean },
): { audited?: true } {
  const annotations = isObject(metadata["annotations"]) ? metadata["annotations"] : {};
  const value = annotations[auditAnnotation];
  if (value === "true") return { audited: true };
  if (value !== undefined) {
    const at = `metadata.annotations["${auditAnnotation}"]`;
    if (value !== "false") reader.warn(at, "is neither true nor false: the policy is enforced");
    return {};
  }
  return namespace !== undefined && context.isAudited?.(namespace) ? { audited: true } : {};
}
