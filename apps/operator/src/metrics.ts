import { Gauge, Registry } from "prom-client";
import type { Operator } from "./operator.ts";

type AddGauge = (
  name: string,
  help: string,
  read: () => [Record<string, string>, number][],
  labels: string[],
) => void;

/** The operator's numbers, by the field's names, read when asked for. */
export function makeMetrics(operator: Operator): Registry {
  const registry = new Registry();
  const gauge: AddGauge = (name, help, read, labels) => {
    new Gauge({
      name,
      help,
      labelNames: labels,
      registers: [registry],
      collect() {
        this.reset();
        for (const [values, value] of read()) this.set(values, value);
      },
    });
  };
  const ipType = (cidr: string): string => (cidr.includes(":") ? "ipv6" : "ipv4");
  gauge(
    "cilium_operator_ipam_nodes",
    "Nodes by how their pod CIDRs stand",
    () => [[{ category: "at-capacity" }, operator.term?.nodeCidrs?.starving ?? 0]],
    ["category"],
  );
  gauge(
    "axoneme_operator_ipam_node_cidrs",
    "Node CIDRs of the cluster pool",
    () =>
      (operator.term?.nodeCidrs?.usage() ?? []).flatMap(({ cidr, pieces, free }) => [
        [{ cidr, family: ipType(cidr), state: "free" }, Number(free)],
        [{ cidr, family: ipType(cidr), state: "used" }, Number(pieces - free)],
      ]),
    ["cidr", "family", "state"],
  );
  const identities = (): { alive: number; removed: number; runs: number; failures: number } =>
    operator.term?.identityGc.counts ?? { alive: 0, removed: 0, runs: 0, failures: 0 };
  gauge(
    "cilium_operator_identity_gc_entries",
    "Identities alive and removed at the last sweep",
    () => [
      [{ status: "alive", identity_type: "crd" }, identities().alive],
      [{ status: "deleted", identity_type: "crd" }, identities().removed],
    ],
    ["status", "identity_type"],
  );
  gauge(
    "cilium_operator_identity_gc_runs",
    "Sweeps for unused identities",
    () => [
      [{ outcome: "success", identity_type: "crd" }, identities().runs - identities().failures],
      [{ outcome: "fail", identity_type: "crd" }, identities().failures],
    ],
    ["outcome", "identity_type"],
  );
  sliceGauges(gauge, operator);
  loadBalancerGauges(gauge, operator);
  gauge(
    "axoneme_operator_leading",
    "1 while this operator leads",
    () => [[{}, operator.leading ? 1 : 0]],
    [],
  );
  return registry;
}

function sliceGauges(gauge: AddGauge, operator: Operator): void {
  const slices = () => operator.term?.endpointSlices;
  gauge(
    "cilium_operator_ces_sync_total",
    "CiliumEndpointSlices written or removed since this operator leads, and failures",
    () => {
      const { written = 0, removed = 0, failures = 0 } = slices()?.counts ?? {};
      return [
        [{ outcome: "success" }, written + removed],
        [{ outcome: "fail" }, failures],
      ];
    },
    ["outcome"],
  );
  gauge(
    "axoneme_operator_ces",
    "CiliumEndpointSlices, the endpoints in them, and slices that wait to be written",
    () => {
      const { endpoints = 0, slices: count = 0, waiting = 0 } = slices()?.figures ?? {};
      return [
        [{ what: "endpoints" }, endpoints],
        [{ what: "slices" }, count],
        [{ what: "waiting" }, waiting],
      ];
    },
    ["what"],
  );
}

function loadBalancerGauges(gauge: AddGauge, operator: Operator): void {
  const usage = () => operator.term?.loadBalancerPools?.usage() ?? { services: 0, unsatisfied: 0, pools: [] };
  gauge(
    "cilium_operator_lbipam_conflicting_pools",
    "Pools that overlap an older one, or cannot be read",
    () => [[{}, usage().pools.filter(({ conflict }) => conflict !== undefined).length]],
    [],
  );
  for (const [state, read] of [
    ["available", "Free"],
    ["used", "Given"],
  ] as const) {
    gauge(
      `cilium_operator_lbipam_ips_${state}`,
      `${read} addresses of a pool`,
      () => usage().pools.map((pool) => [{ pool: pool.name }, Number(pool[state])]),
      ["pool"],
    );
  }
  gauge(
    "cilium_operator_lbipam_services_matching",
    "Services of type LoadBalancer whose addresses come from pools",
    () => [[{}, usage().services]],
    [],
  );
  gauge(
    "cilium_operator_lbipam_services_unsatisfied",
    "Of those, the ones that lack an address",
    () => [[{}, usage().unsatisfied]],
    [],
  );
}
