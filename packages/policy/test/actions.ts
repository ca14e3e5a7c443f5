/** Changes of a world, as random as its policies. */
import fc from "fast-check";
import { groupArb, podArb, policyArb, type RawPolicy, serviceArb, tierPolicyArb } from "./generate.ts";
import type { World } from "./world.ts";

/** Changes of the world, in the order they happen. */
export const action = fc.oneof(
  { weight: 3, arbitrary: policyArb.map((raw) => ({ kind: "policy" as const, raw: raw as RawPolicy })) },
  { weight: 1, arbitrary: policyArb.map((raw) => ({ kind: "unpolicy" as const, raw: raw as RawPolicy })) },
  { weight: 2, arbitrary: podArb.map((pod) => ({ kind: "pod" as const, pod })) },
  { weight: 1, arbitrary: podArb.map((pod) => ({ kind: "unpod" as const, pod })) },
  { weight: 2, arbitrary: groupArb.map((group) => ({ kind: "group" as const, group })) },
  { weight: 1, arbitrary: groupArb.map((group) => ({ kind: "ungroup" as const, group })) },
  { weight: 2, arbitrary: serviceArb.map((service) => ({ kind: "service" as const, service })) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom("red", "blue"), fc.boolean())
      .map(([namespace, on]) => ({ kind: "audit" as const, namespace, on })),
  },
  { weight: 1, arbitrary: serviceArb.map((service) => ({ kind: "unservice" as const, service })) },
);
export type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

/** Changes of policies of other tiers. */
export const tierAction: fc.Arbitrary<Action> = tierPolicyArb.map((raw) => ({
  kind: "policy",
  raw: raw as RawPolicy,
}));

export function act(world: World, step: Action, commit = true): void {
  if (step.kind === "policy") world.setPolicy(step.raw, commit);
  else if (step.kind === "unpolicy") world.deletePolicy(step.raw, commit);
  else if (step.kind === "pod") world.setPod(step.pod, commit);
  else if (step.kind === "unpod") world.deletePod(step.pod.name, commit);
  else if (step.kind === "group") world.setGroup(step.group, commit);
  else if (step.kind === "ungroup") world.deleteGroup(step.group.name, commit);
  else if (step.kind === "audit") world.auditNamespace(step.namespace, step.on, commit);
  else if (step.kind === "service") world.setService(step.service, commit);
  else world.deleteService(step.service, commit);
}
