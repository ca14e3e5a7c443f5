import { array, doc, type Infer, int64, object, oneWordOf, string } from "./schema.ts";

const condition = object(
  {
    type: string({
      maxLength: 316,
      pattern:
        "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
    }),
    status: oneWordOf(["True", "False", "Unknown"]),
    reason: string({ maxLength: 1024, minLength: 1, pattern: "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$" }),
    message: string({ maxLength: 32_768 }),
    lastTransitionTime: string({ format: "date-time" }),
    observedGeneration: int64({ minimum: 0 }),
  },
  ["type", "status", "reason", "message", "lastTransitionTime"],
);

/** meta/v1 Condition as an object carries it in its status. */
export interface StatusCondition extends Infer<typeof condition> {}

/** `status.conditions`: one condition of each type. */
export const conditions = doc(
  "What is known of this object, one entry a type.",
  array(condition, { "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] }),
);
