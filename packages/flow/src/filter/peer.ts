/** Clauses on one side of a flow. */
import type { Flow, FlowFilter, FlowWorkload } from "../flow.ts";
import { at } from "../record.ts";
import { anyOf, type Clause } from "./clause.ts";
import { addressClause, portClause } from "./packet.ts";
import { compileBinary, compileFqdn, compileNamespacedName, invalid } from "./pattern.ts";
import { compileSelector } from "./selector.ts";

type Side = "source" | "destination";

function identityClause(values: readonly number[], side: Side): Clause {
  const wanted = new Set(values);
  const offset = side === "source" ? at.srcIdentity : at.dstIdentity;
  return {
    match: (flow) => wanted.has(flow[side]?.identity ?? 0),
    // Without an identity in the record, the resolver may know one.
    raw: (view, _, o) => {
      const identity = view.getUint32(o + offset, true);
      return identity === 0 || wanted.has(identity);
    },
  };
}

/** Few records have a process: the others need not be looked at further. */
function processClause(field: string, values: readonly string[], side: Side): Clause {
  const offset = side === "source" ? at.srcProcess : at.dstProcess;
  const clause = anyOf(values, (value) => {
    const test = compileBinary(field, value);
    return (flow) => {
      const binary = flow[side]?.process?.binary;
      return binary !== undefined && test(binary);
    };
  });
  return { ...clause, raw: (view, _, o) => view.getUint32(o + offset, true) !== 0 };
}

function workloadTest(field: string, wanted: FlowWorkload, side: Side): (flow: Flow) => boolean {
  if ((wanted.name ?? "") === "" && (wanted.kind ?? "") === "")
    throw invalid(field, "", "needs a name or a kind");
  const same = (value: string | undefined, want: string | undefined): boolean =>
    want === undefined || want === "" || value === want;
  return (flow) =>
    (flow[side]?.workloads ?? []).some(
      (workload) => same(workload.name, wanted.name) && same(workload.kind, wanted.kind),
    );
}

/** All clauses of the `source_*` or `destination_*` fields that are set. */
export function peerClauses(filter: FlowFilter, side: Side): Clause[] {
  const clauses: Clause[] = [];
  const add = <K extends Exclude<keyof FlowFilter, "experimental">>(
    field: K,
    make: (values: NonNullable<FlowFilter[K]>) => Clause,
  ): void => {
    const values = filter[field];
    if (values !== undefined && values.length > 0) clauses.push(make(values));
  };
  add(`${side}_ip`, (values) =>
    addressClause(`${side}_ip`, values, (flow) => flow.IP?.[side], side === "source" ? at.saddr : at.daddr),
  );
  add(`${side}_port`, (values) => portClause(`${side}_port`, values, side === "source"));
  add(`${side}_identity`, (values) => identityClause(values, side));
  add(`${side}_pod`, (values) =>
    anyOf(values, (value) => {
      const test = compileNamespacedName(`${side}_pod`, value);
      return (flow) => test(flow[side]?.namespace ?? "", flow[side]?.pod_name ?? "");
    }),
  );
  add(`${side}_service`, (values) =>
    anyOf(values, (value) => {
      const test = compileNamespacedName(`${side}_service`, value);
      return (flow) => test(flow[`${side}_service`]?.namespace ?? "", flow[`${side}_service`]?.name ?? "");
    }),
  );
  add(`${side}_fqdn`, (values) =>
    anyOf(values, (value) => {
      const test = compileFqdn(`${side}_fqdn`, value);
      return (flow) => (flow[`${side}_names`] ?? []).some((name) => test(name.toLowerCase()));
    }),
  );
  add(`${side}_label`, (values) =>
    anyOf(values, (value) => {
      const test = compileSelector(value);
      return (flow) => test(flow[side]?.labels ?? []);
    }),
  );
  add(`${side}_workload`, (values) =>
    anyOf(values, (value) => workloadTest(`${side}_workload`, value, side)),
  );
  add(`${side}_process`, (values) => processClause(`${side}_process`, values, side));
  add(`${side}_cluster_name`, (values) => {
    const wanted = new Set(values);
    return { match: (flow) => wanted.has(flow[side]?.cluster_name ?? "") };
  });
  return clauses;
}
