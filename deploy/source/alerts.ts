/** A failure that hurts, and what to do about it. */
export interface Alert {
  readonly alert: string;
  readonly expr: string;
  /** How long it has to last. */
  readonly for: string;
  readonly severity: "critical" | "warning";
  readonly summary: string;
  /** What it means and what to do, with Prometheus' templates. */
  readonly description: string;
}

/** Rules for the failures that hurt. Thresholds are for clusters of any size: they are about nodes and shares. */
export const alerts: readonly Alert[] = [
  {
    alert: "AxonemeAgentDown",
    expr: 'up{job="axoneme-agent"} == 0',
    for: "2m",
    severity: "critical",
    summary: "The agent of {{ $labels.instance }} does not answer",
    description:
      "Traffic goes on under the last state, but no pod can be added there and no policy or Service changes. Look at the agent's log.",
  },
  {
    alert: "AxonemeModuleFailing",
    expr: 'axoneme_module_state{state=~"failed|degraded"} == 1',
    for: "5m",
    severity: "warning",
    summary: "{{ $labels.module }} of the agent on {{ $labels.instance }} is {{ $labels.state }}",
    description: "`axon status` on the node says what is lost and why.",
  },
  {
    alert: "AxonemeMapPressure",
    expr: "cilium_bpf_map_pressure > 0.9",
    for: "1m",
    severity: "critical",
    summary: "{{ $labels.map_name }} on {{ $labels.instance }} is {{ $value | humanizePercentage }} full",
    description:
      "A full map refuses new connections, policies or Services. `axon status` names the option that makes it larger.",
  },
  {
    alert: "AxonemeUnexpectedDrops",
    expr: 'sum by (instance, reason) (rate(cilium_drop_count_total{reason!~"Policy denied.*"}[5m])) > 10',
    for: "5m",
    severity: "warning",
    summary: "{{ $labels.instance }} drops packets: {{ $labels.reason }}",
    description:
      "These are no policy's drops. `axon hubble observe --verdict DROPPED --node-name <node>` shows which flows they are.",
  },
  {
    alert: "AxonemePolicyDrops",
    expr: 'sum by (instance, direction) (rate(cilium_drop_count_total{reason=~"Policy denied.*"}[5m])) > 100',
    for: "10m",
    severity: "warning",
    summary: "Policy on {{ $labels.instance }} denies many packets ({{ $labels.direction }})",
    description:
      "An attack, or a policy that forgot somebody. `axon hubble observe --verdict DROPPED` names the policy.",
  },
  {
    alert: "AxonemeEventsLost",
    expr: "sum by (instance) (rate(cilium_bpf_events_lost_total[5m])) > 0",
    for: "10m",
    severity: "warning",
    summary: "Records of flows are lost on {{ $labels.instance }}",
    description:
      "Traffic is not affected, but what is observed has holes. Raise monitorAggregation, or give the agent more CPU.",
  },
  {
    alert: "AxonemePolicyNotEnforced",
    expr: 'cilium_policy_import_errors_total > 0 or increase(cilium_policy_change_total{outcome="failure"}[10m]) > 0',
    for: "1m",
    severity: "critical",
    summary: "The agent on {{ $labels.instance }} could not bring a policy into the kernel",
    description:
      "What was enforced before still is; new pods are refused. `axon policy list` and the agent's log name the policy.",
  },
  {
    alert: "AxonemeServicesNotProgrammed",
    expr: "axoneme_service_ports_refused > 0",
    for: "5m",
    severity: "critical",
    summary: "{{ $value }} Service ports are not in the kernel of {{ $labels.instance }}",
    description: "`axon service list` names them and the cause.",
  },
  {
    alert: "AxonemeAddressesExhausted",
    expr: "cilium_ip_addresses / on (instance, family) group_left () sum by (instance, family) (cilium_ipam_capacity) > 0.95",
    for: "5m",
    severity: "warning",
    summary: "{{ $labels.instance }} runs out of {{ $labels.family }} pod addresses",
    description: "New pods will wait for addresses there. Give the node another pod CIDR.",
  },
  {
    alert: "AxonemeApiServerErrors",
    expr: 'sum by (instance) (rate(cilium_k8s_client_api_calls_total{return_code=~"5..|<error>"}[5m])) > 0.1',
    for: "10m",
    severity: "warning",
    summary: "The agent on {{ $labels.instance }} has trouble with the API server",
    description:
      "Traffic goes on under the last state; changes come late. Look at the API server's load and network.",
  },
];
