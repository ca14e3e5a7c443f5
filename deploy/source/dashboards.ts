import type { Dashboard, Panel } from "./panels.ts";

/** Per second, by a label. */
const rate = (metric: string, by: string, where = ""): string =>
  `sum by (${by}) (rate(${metric}{instance=~"$instance"${where}}[$__rate_interval]))`;
const now = (metric: string, by: string): string => `sum by (${by}) (${metric}{instance=~"$instance"})`;
const quantile = (share: number, metric: string, by: string): string =>
  `histogram_quantile(${share}, sum by (le${by === "" ? "" : `, ${by}`}) (rate(${metric}_bucket{instance=~"$instance"}[$__rate_interval])))`;

const lines = (title: string, unit: string, expr: string, legend: string, help: string): Panel => ({
  title,
  help,
  kind: "timeseries",
  unit,
  queries: [{ expr, legend }],
});
const number = (title: string, unit: string, expr: string, help: string): Panel => ({
  title,
  help,
  kind: "stat",
  unit,
  queries: [{ expr, legend: title }],
});
const instance = { name: "instance", query: "label_values(cilium_version, instance)" };

const agents: Dashboard = {
  uid: "axoneme-agents",
  title: "Axoneme / Agents",
  description: "What the nodes' agents and programs do, node by node",
  variables: [instance],
  rows: [
    {
      title: "Health",
      panels: [
        number(
          "Agents",
          "short",
          `count(cilium_version{instance=~"$instance"})`,
          "Agents that answer a scrape.",
        ),
        number(
          "Modules in trouble",
          "short",
          `sum(cilium_controllers_failing{instance=~"$instance"})`,
          "Modules that fail or work with a loss; `axon status` names them and the cause.",
        ),
        lines(
          "Modules by state",
          "short",
          `sum by (instance, state) (axoneme_module_state{instance=~"$instance"})`,
          "{{instance}} {{state}}",
          "All should be ok. starting for more than a minute: the API server or the operator is not there.",
        ),
        lines(
          "Warnings and errors logged",
          "short",
          rate("cilium_errors_warnings_total", "level, subsystem"),
          "{{level}} {{subsystem}}",
          "Lines a second; the log says what it is about.",
        ),
        lines(
          "CPU of the agent",
          "percentunit",
          rate("cilium_process_cpu_seconds_total", "instance"),
          "{{instance}}",
          "Cores in use.",
        ),
        lines(
          "Memory of the agent",
          "bytes",
          now("cilium_process_resident_memory_bytes", "instance"),
          "{{instance}}",
          "Resident memory.",
        ),
      ],
    },
    {
      title: "Packets",
      panels: [
        lines(
          "Forwarded",
          "pps",
          rate("cilium_forward_count_total", "instance, direction"),
          "{{instance}} {{direction}}",
          "Packets a second that the programs let through.",
        ),
        lines(
          "Forwarded bytes",
          "Bps",
          rate("cilium_forward_bytes_total", "direction"),
          "{{direction}}",
          "Bytes a second.",
        ),
        lines(
          "Dropped by reason",
          "pps",
          rate("cilium_drop_count_total", "reason, direction"),
          "{{reason}} {{direction}}",
          "Policy denied is what policies are for; anything else wants a look: axon hubble observe --verdict DROPPED.",
        ),
        lines(
          "Connections tracked",
          "short",
          `sum by (instance) (cilium_datapath_conntrack_gc_entries{instance=~"$instance",status="alive"})`,
          "{{instance}}",
          "Entries after the last sweep.",
        ),
        lines(
          "Map pressure",
          "percentunit",
          `max by (map_name) (cilium_bpf_map_pressure{instance=~"$instance"})`,
          "{{map_name}}",
          "Share of a map in use. A full map refuses what is new.",
        ),
        lines(
          "Kernel memory of maps",
          "bytes",
          now("cilium_bpf_maps_virtual_memory_max_bytes", "instance"),
          "{{instance}}",
          "As the kernel accounts for it.",
        ),
        lines(
          "Time of a sweep",
          "s",
          quantile(0.99, "cilium_datapath_conntrack_gc_duration_seconds", "instance"),
          "{{instance}} p99",
          "Removing expired connections, inside the kernel.",
        ),
        lines(
          "Events lost",
          "short",
          `sum by (instance) (rate(cilium_bpf_events_lost_total{instance=~"$instance"}[$__rate_interval]))`,
          "{{instance}}",
          "Records of flows that the ring buffer had no room for. Traffic is not affected.",
        ),
      ],
    },
    {
      title: "Endpoints, identities, policy",
      panels: [
        lines(
          "Endpoints",
          "short",
          now("cilium_endpoint_state", "endpoint_state"),
          "{{endpoint_state}}",
          "Pods by state.",
        ),
        lines(
          "Addresses in use",
          "short",
          now("cilium_ip_addresses", "instance, family"),
          "{{instance}} {{family}}",
          "Of the node's pool of pod addresses.",
        ),
        lines(
          "Addresses given out",
          "short",
          rate("cilium_ipam_events_total", "action, family"),
          "{{action}} {{family}}",
          "Pods that come and go.",
        ),
        lines(
          "Identities",
          "short",
          `max by (type) (cilium_identity{instance=~"$instance"})`,
          "{{type}}",
          "Distinct sets of labels that policy tells apart, and prefixes that policies name.",
        ),
        lines(
          "Enforcement",
          "short",
          now("cilium_policy_endpoint_enforcement_status", "enforcement"),
          "{{enforcement}}",
          "Endpoints by the directions in which policy is enforced.",
        ),
        lines(
          "Policies",
          "short",
          `max by (instance) (cilium_policy{instance=~"$instance"})`,
          "{{instance}}",
          "Policies in force. All agents should agree.",
        ),
        lines(
          "Policy changes",
          "short",
          rate("cilium_policy_change_total", "source, operation, outcome"),
          "{{source}} {{operation}} {{outcome}}",
          "Policies added, changed and removed.",
        ),
        lines(
          "Until a policy is enforced",
          "s",
          quantile(0.99, "cilium_policy_implementation_delay", "source"),
          "{{source}} p99",
          "From the event until its rows are in the kernel.",
        ),
      ],
    },
    {
      title: "Services",
      panels: [
        lines(
          "Services",
          "short",
          `max by (instance) (axoneme_services{instance=~"$instance"})`,
          "{{instance}}",
          "Services that are balanced.",
        ),
        lines(
          "Backends",
          "short",
          `max by (instance) (axoneme_service_backends{instance=~"$instance"})`,
          "{{instance}}",
          "Backends of all Services.",
        ),
        lines(
          "Changes",
          "short",
          rate("cilium_services_events_total", "action"),
          "{{action}}",
          "Services added, updated and deleted.",
        ),
        lines(
          "Rows written",
          "short",
          rate("axoneme_service_rows_written_total", "instance"),
          "{{instance}}",
          "What changes cost: in proportion to the change, not to the number of Services.",
        ),
        lines(
          "Not programmed",
          "short",
          now("axoneme_service_problems", "instance"),
          "{{instance}}",
          "Objects that are not programmed as they ask; `axon service list` says why.",
        ),
      ],
    },
    {
      title: "API server",
      panels: [
        lines(
          "Calls",
          "reqps",
          rate("cilium_k8s_client_api_calls_total", "method, return_code"),
          "{{method}} {{return_code}}",
          "Calls of the agents; it should not grow with the cluster.",
        ),
        lines(
          "Latency of calls",
          "s",
          quantile(0.99, "cilium_k8s_client_api_latency_time_seconds", "method"),
          "{{method}} p99",
          "Watches excepted.",
        ),
        lines(
          "Events",
          "short",
          rate("cilium_kubernetes_events_total", "scope, action"),
          "{{scope}} {{action}}",
          "Changes of objects that the agents took in.",
        ),
        lines(
          "Own API",
          "s",
          quantile(0.99, "cilium_agent_api_process_time_seconds", "path"),
          "{{path}} p99",
          "How long the agent's API takes to answer.",
        ),
      ],
    },
  ],
};

const network: Dashboard = {
  uid: "axoneme-network",
  title: "Axoneme / Network overview",
  description: "Flows as Hubble sees them: verdicts, drops, policy, protocols",
  variables: [instance],
  rows: [
    {
      title: "Flows",
      panels: [
        lines(
          "Flows by verdict",
          "short",
          rate("hubble_flows_processed_total", "verdict"),
          "{{verdict}}",
          "Flow records a second.",
        ),
        lines(
          "Flows by type",
          "short",
          rate("hubble_flows_processed_total", "type, subtype"),
          "{{type}} {{subtype}}",
          "Where in the datapath they were seen.",
        ),
        lines(
          "Flows by protocol",
          "short",
          rate("hubble_flows_processed_total", "protocol"),
          "{{protocol}}",
          "Flow records a second.",
        ),
        lines(
          "Connections by port",
          "short",
          `topk(10, ${rate("hubble_port_distribution_total", "protocol, port")})`,
          "{{protocol}}/{{port}}",
          "The ten busiest destination ports.",
        ),
      ],
    },
    {
      title: "Drops and policy",
      panels: [
        lines(
          "Drops by reason",
          "short",
          rate("hubble_drop_total", "reason, protocol"),
          "{{reason}} {{protocol}}",
          "A drop that is no policy's is a fault.",
        ),
        lines(
          "Policy verdicts",
          "short",
          rate("hubble_policy_verdicts_total", "direction, match, action"),
          "{{direction}} {{match}} {{action}}",
          "match none: no rule allowed it; default deny decided.",
        ),
        lines(
          "Denied",
          "short",
          rate("hubble_policy_verdicts_total", "direction", ',action="dropped"'),
          "{{direction}}",
          "New connections that policy refused; axon why tells which rule.",
        ),
      ],
    },
    {
      title: "Protocols",
      panels: [
        lines(
          "TCP flags",
          "short",
          rate("hubble_tcp_flags_total", "flag, family"),
          "{{flag}} {{family}}",
          "SYN without SYN-ACK: servers that do not answer. RST: connections cut.",
        ),
        lines(
          "ICMP",
          "short",
          rate("hubble_icmp_total", "family, type"),
          "{{family}} {{type}}",
          "DestinationUnreachable and PacketTooBig deserve a look.",
        ),
        lines(
          "Records lost",
          "short",
          rate("hubble_lost_events_total", "source"),
          "{{source}}",
          "Flow records that could not be kept. Traffic is not affected.",
        ),
      ],
    },
  ],
};

/** The dashboards that are delivered. */
export const dashboards: readonly Dashboard[] = [agents, network];
