import { AxonError } from "@axoneme/base";
import { compileLabelSelector, type LabelPredicate, type LabelSelectorObject } from "../labelselector.ts";

/** The parts of a CiliumL2AnnouncementPolicy that matter here. */
export interface L2PolicyObject {
  readonly metadata?: { readonly name?: string };
  readonly spec?: {
    readonly nodeSelector?: LabelSelectorObject;
    readonly serviceSelector?: LabelSelectorObject;
    readonly loadBalancerIPs?: boolean;
    readonly externalIPs?: boolean;
    readonly interfaces?: readonly string[];
  };
}

/** What of a policy makes no sense: the type of a condition, and why. */
export interface L2PolicyProblem {
  readonly type:
    | "io.cilium/bad-node-selector"
    | "io.cilium/bad-service-selector"
    | "io.cilium/bad-interface-regex";
  readonly message: string;
}

/** A policy, compiled. One with problems announces nothing. */
export interface L2Policy {
  readonly name: string;
  readonly problems: readonly L2PolicyProblem[];
  readonly selectsNode: LabelPredicate;
  readonly selectsService: LabelPredicate;
  /** By the device's name. */
  readonly selectsDevice: (name: string) => boolean;
  readonly loadBalancerIPs: boolean;
  readonly externalIPs: boolean;
}

export function compileL2Policy({ metadata, spec = {} }: L2PolicyObject): L2Policy {
  const problems: L2PolicyProblem[] = [];
  const attempt = <T>(type: L2PolicyProblem["type"], compile: () => T, otherwise: T): T => {
    try {
      return compile();
    } catch (error) {
      if (!(error instanceof AxonError)) throw error;
      problems.push({ type, message: error.message });
      return otherwise;
    }
  };
  const never = (): boolean => false;
  return {
    name: metadata?.name ?? "",
    problems,
    selectsNode: attempt("io.cilium/bad-node-selector", () => compileLabelSelector(spec.nodeSelector), never),
    selectsService: attempt(
      "io.cilium/bad-service-selector",
      () => compileLabelSelector(spec.serviceSelector),
      never,
    ),
    selectsDevice: attempt(
      "io.cilium/bad-interface-regex",
      () => deviceMatcher(spec.interfaces ?? []),
      never,
    ),
    loadBalancerIPs: spec.loadBalancerIPs === true,
    externalIPs: spec.externalIPs === true,
  };
}

/** A name of a device has at most 15 characters, so that no expression can take long. */
function deviceMatcher(expressions: readonly string[]): (name: string) => boolean {
  const compiled = expressions.map((text) => {
    try {
      return new RegExp(text);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new AxonError("l2.interface", `interfaces: "${text}" is no regular expression: ${why}`, {
        cause,
      });
    }
  });
  if (compiled.length === 0) return () => true;
  return (name) => compiled.some((expression) => expression.test(name));
}
