import type { HealthReporter, Module } from "@axoneme/app";
import { AxonError, errorText, type Logger, parsePrefix, prefixKey } from "@axoneme/base";
import {
  type CiliumCIDRGroup,
  type CiliumClusterwideNetworkPolicy,
  type CiliumL2AnnouncementPolicy,
  type CiliumNetworkPolicy,
  type EdgeDenyList,
  type KubeClient,
  type KubeObject,
  type Resource,
  resources,
  tierPolicyResources,
} from "@axoneme/kube";
import { compileL2Policy } from "@axoneme/loadbalancer";
import { type Problem, parseCidrGroup, parseCiliumPolicy, parseTierPolicy } from "@axoneme/policy";
import { PolicyEvents } from "./policyevents.ts";
import { StatusWriter, type WantedCondition, type WantedStatus } from "./statuswriter.ts";

interface Around {
  client: KubeClient;
  log: Logger;
  signal: AbortSignal;
}

type CiliumPolicy = CiliumNetworkPolicy | CiliumClusterwideNetworkPolicy;

/**
 * Writes into the status of our kinds what the schema cannot refuse (fields that exclude each other, selectors and
 * expressions that make no sense), so that `kubectl get` and `kubectl describe` tell it, with the field; of policies it
 * is also an event. It reads objects with the agents' own readers, so the two agree.
 */
export class Validity implements Module {
  readonly name = "policy-validity";
  readonly #around: Around;
  readonly #writers: { start(): void; stop(): Promise<void> }[];
  #health: HealthReporter | undefined;

  constructor(around: Around) {
    this.#around = around;
    const writer = <T extends KubeObject>(resource: Resource<T>, wanted: (object: T) => WantedStatus) =>
      new StatusWriter(around, resource, wanted, (name, error) => this.#failed(name, error));
    const events = new PolicyEvents(around);
    const told = <T extends KubeObject>(
      resource: Resource<T>,
      parse: (object: T) => { problems: readonly Problem[] },
    ) =>
      writer(resource, (object) => {
        const read = parse({ ...object, kind: resource.kind });
        events.tell(resource, object, read.problems);
        return problemStatus(read);
      });
    const policies = (resource: Resource<CiliumPolicy>) =>
      told(resource, (policy) => parseCiliumPolicy(policy));
    this.#writers = [
      events,
      policies(resources.ciliumnetworkpolicies),
      policies(resources.ciliumclusterwidenetworkpolicies),
      ...tierPolicyResources.map((resource) => told(resource, (policy) => parseTierPolicy(policy))),
      writer(resources.ciliumcidrgroups, groupStatus),
      writer(resources.ciliuml2announcementpolicies, l2Status),
      writer(resources.edgedenylists, denyListStatus),
    ];
  }

  /** Does not wait for the definitions: where a kind is not served, there is nothing to tell. */
  start(health: HealthReporter): void {
    this.#health = health;
    for (const writer of this.#writers) writer.start();
    health.ok();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#writers.map((writer) => writer.stop()));
  }

  #failed(object: string, error: unknown): void {
    this.#around.log.warn({ object, err: errorText(error) }, "could not write whether an object is valid");
    this.#health?.degraded(`validity of ${object}: ${errorText(error)}`);
  }
}

function problemStatus({ problems }: { problems: readonly Problem[] }): WantedStatus {
  const invalid = problems.some(({ severity }) => severity === "invalid");
  const text = (each: Problem): string => `${each.path}: ${each.message}`;
  // Of a valid policy: what of it has no effect here.
  const message = problems.map(text).join("; ");
  return { conditions: [validity(!invalid, invalid ? "InvalidPolicy" : "PolicyUnderstood", message)] };
}

function groupStatus(object: CiliumCIDRGroup): WantedStatus {
  const { problems } = parseCidrGroup(object);
  const named = problems.slice(0, namedPrefixes).map(({ path, message }) => `${path}: ${message}`);
  const more = problems.length > namedPrefixes ? [`and ${problems.length - namedPrefixes} more`] : [];
  const valid = problems.length === 0;
  return {
    conditions: [
      validity(valid, valid ? "GroupUnderstood" : "InvalidPrefix", [...named, ...more].join("; ")),
    ],
  };
}

/** A condition for each thing that is wrong; none for a policy that is right, as in the field. */
function l2Status(policy: CiliumL2AnnouncementPolicy): WantedStatus {
  const { problems } = compileL2Policy(policy);
  return { conditions: problems.map((problem) => ({ ...problem, status: "True", reason: "error" })) };
}

/** Most of the prefixes that are wrong, by name: the rest is a number. */
const namedPrefixes = 5;

function denyListStatus({ spec }: EdgeDenyList): WantedStatus {
  const distinct = new Set<string>();
  const wrong: string[] = [];
  for (const [i, text] of spec.cidrs.entries()) {
    try {
      distinct.add(prefixKey(parsePrefix(text)));
    } catch (error) {
      if (!(error instanceof AxonError)) throw error;
      wrong.push(`spec.cidrs[${i}]: ${error.message}`);
    }
  }
  const more = wrong.length > namedPrefixes ? [`and ${wrong.length - namedPrefixes} more`] : [];
  const message = [...wrong.slice(0, namedPrefixes), ...more].join("; ");
  const valid = wrong.length === 0;
  return {
    fields: { prefixes: distinct.size },
    conditions: [validity(valid, valid ? "ListUnderstood" : "InvalidPrefix", message)],
  };
}

function validity(valid: boolean, reason: string, message: string): WantedCondition {
  return { type: "Valid", status: valid ? "True" : "False", reason, message };
}
