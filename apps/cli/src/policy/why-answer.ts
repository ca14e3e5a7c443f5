import type { Flow } from "@axoneme/flow";
import type { WhySideView } from "@axoneme/observe";
import { type SandboxQuery, type SuggestedPolicy, suggestPolicies } from "@axoneme/policy";

/** What is decided at one side: of an agent with numbers and the kernel's word, of the API server without. */
export interface ShownSide extends Omit<WhySideView, "endpoint" | "peer" | "kernel"> {
  readonly endpoint: Pick<WhySideView["endpoint"], "namespace" | "pod" | "labels">;
  readonly peer: Pick<WhySideView["peer"], "address" | "labels"> & { readonly identity?: number };
  readonly kernel?: WhySideView["kernel"];
}

/** What `axon why` answers. */
export interface WhyAnswer {
  readonly source: string;
  readonly destination: string;
  readonly protocol: string;
  readonly port: number;
  /** The Service whose backend was asked about. */
  readonly service?: string;
  readonly verdict: "allowed" | "denied";
  readonly sides: readonly ShownSide[];
  /** Policies that would allow it, if nothing but default deny stands in the way. */
  readonly missing: readonly SuggestedPolicy[];
  /** The flow that was asked about. */
  readonly seen?: Flow;
  /** Facts that only the agents know, when it was answered without them. */
  readonly unknown?: readonly string[];
}

/** What would allow it, for each side whose default deny refuses it. */
export function missingPolicies(
  sides: readonly Pick<ShownSide, "direction" | "verdict">[],
  query: SandboxQuery,
): SuggestedPolicy[] {
  return sides
    .filter(({ verdict }) => verdict === "default-deny")
    .flatMap(({ direction }) => {
      const subject = direction === "egress" ? query.source : query.destination;
      return suggestPolicies([query], (one) => one === subject).map((policy) => only(policy, direction));
    });
}

/** An addition, and no isolation of its own. */
function only(policy: SuggestedPolicy, direction: "ingress" | "egress"): SuggestedPolicy {
  const { endpointSelector, [direction]: rules } = policy.spec;
  const name = policy.metadata.name.replace(/-suggested$/, `-allow-${direction}`);
  return {
    ...policy,
    metadata: { ...policy.metadata, name },
    spec: { endpointSelector, enableDefaultDeny: { ingress: false, egress: false }, [direction]: rules },
  };
}
