import { formatIp, formatPrefix } from "@axoneme/base";
import type { Ipcache, IpcacheChange } from "@axoneme/identity";
import type { KubeObject, ListWatchHandlers } from "@axoneme/kube";
import { type AgentEvent, AgentEvents, flowNodeName } from "@axoneme/observe";
import type { LiveEndpoint } from "./endpoint/live.ts";

interface Pod {
  readonly namespace: string;
  readonly name: string;
}

/** What is told of a pod when it gets or loses its endpoint. */
interface EndpointPods {
  endpointUp(pod: Pod, ips: readonly string[]): void;
  endpointDown(pod: Pod): void;
}

/** What is needed of a Service. */
interface ServiceLike {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec?: {
    readonly type?: string;
    readonly clusterIP?: string;
    readonly ports?: readonly { readonly port: number }[];
    readonly externalTrafficPolicy?: string;
    readonly internalTrafficPolicy?: string;
  };
}

/** Turns what the parts of the agent tell into events of GetAgentEvents. */
export class EventSources {
  readonly events: AgentEvents;
  #revision = 0;

  constructor(clusterName: string, nodeName: string) {
    this.events = new AgentEvents(flowNodeName(clusterName, nodeName));
  }

  started(): void {
    this.events.add({ type: "AGENT_STARTED", agent_start: { time: new Date().toISOString() } });
  }

  followIpcache(ipcache: Pick<Ipcache, "changes">): void {
    ipcache.changes.on((change) => this.events.add(ipcacheEvent(change)));
  }

  /** For a ListWatch of policies of a kind, beside what puts them in force. */
  policies(kind: string): ListWatchHandlers<KubeObject> {
    const told = (type: "POLICY_UPDATED" | "POLICY_DELETED") => (object: KubeObject) =>
      this.#policy(type, kind, object);
    const updated = told("POLICY_UPDATED");
    return { onAdd: updated, onUpdate: updated, onDelete: told("POLICY_DELETED") };
  }

  /** For a ListWatch of Services. */
  services<T extends ServiceLike>(): ListWatchHandlers<T> {
    const told = (service: T): void => this.#service(service);
    return {
      onAdd: told,
      onUpdate: told,
      onDelete: () => this.events.add({ type: "SERVICE_DELETED", service_delete: {} }),
    };
  }

  /** An endpoint has other rules now. */
  regenerated(id: number, endpoint: LiveEndpoint | undefined): void {
    this.events.add({
      type: "ENDPOINT_REGENERATE_SUCCESS",
      endpoint_regenerate: { id: `${id}`, labels: endpoint?.labels ?? [] },
    });
  }

  /** The same pods, and an event for each that comes or goes. */
  endpoints<T extends EndpointPods>(pods: T): EndpointPods {
    const told = (type: "ENDPOINT_CREATED" | "ENDPOINT_DELETED", { namespace, name }: Pod): void =>
      this.events.add({ type, endpoint_update: { namespace, pod_name: name } });
    return {
      endpointUp: (pod, ips) => {
        pods.endpointUp(pod, ips);
        told("ENDPOINT_CREATED", pod);
      },
      endpointDown: (pod) => {
        pods.endpointDown(pod);
        told("ENDPOINT_DELETED", pod);
      },
    };
  }

  #policy(type: "POLICY_UPDATED" | "POLICY_DELETED", kind: string, object: KubeObject): void {
    const { namespace = "", name = "" } = object.metadata ?? {};
    const { spec, specs } = object as { spec?: object; specs?: readonly object[] };
    const rules = (spec === undefined ? 0 : 1) + (specs?.length ?? 0);
    const labels = [
      `k8s:io.cilium.k8s.policy.derived-from=${kind}`,
      `k8s:io.cilium.k8s.policy.name=${name}`,
      ...(namespace === "" ? [] : [`k8s:io.cilium.k8s.policy.namespace=${namespace}`]),
    ];
    this.#revision++;
    this.events.add({
      type,
      policy_update: { labels, revision: `${this.#revision}`, rule_count: `${rules}` },
    });
  }

  /** One for each port: frontends are what the field tells of. */
  #service({ metadata, spec }: ServiceLike): void {
    for (const { port } of spec?.ports ?? []) {
      this.events.add({
        type: "SERVICE_UPSERTED",
        service_upsert: {
          frontend_address: { ip: spec?.clusterIP ?? "", port },
          type: spec?.type ?? "ClusterIP",
          name: metadata.name,
          namespace: metadata.namespace,
          ext_traffic_policy: spec?.externalTrafficPolicy ?? "Cluster",
          int_traffic_policy: spec?.internalTrafficPolicy ?? "Cluster",
        },
      });
    }
  }
}

function ipcacheEvent({ prefix, previous, entry }: IpcacheChange): AgentEvent {
  const known = entry ?? previous;
  return {
    type: entry === undefined ? "IPCACHE_DELETED" : "IPCACHE_UPSERTED",
    ipcache_update: {
      cidr: formatPrefix(prefix),
      identity: known?.identity ?? 0,
      ...(previous === undefined || entry === undefined ? {} : { old_identity: previous.identity }),
      ...(known?.nodeIp === undefined ? {} : { host_ip: formatIp(known.nodeIp) }),
      ...(previous?.nodeIp === undefined || entry === undefined
        ? {}
        : { old_host_ip: formatIp(previous.nodeIp) }),
      ...(known?.pod === undefined ? {} : { namespace: known.pod.namespace, pod_name: known.pod.name }),
    },
  };
}
