import { formatIp, type Ip, isV4, tryParseIp } from "@axoneme/base";
import type { Desired, DesiredBackend, DesiredUnit, Finding } from "./desired.ts";
import { plainLabels } from "./labelselector.ts";
import { localityOf } from "./locality.ts";
import {
  type LocalPod,
  type LocalRedirectPolicyObject,
  protocolNumbers,
  protocolText,
  type ServicePort,
} from "./objects.ts";
import {
  backendPortFor,
  type PolicyPort,
  parseRedirectPolicy,
  type RedirectPolicy,
} from "./redirectpolicy.ts";
import { Algorithm, Forwarding, Scope, ServiceFlag } from "./rows.ts";

/** What a policy does to one port of its Service. */
export interface PortRedirect {
  readonly policy: string;
  readonly backends: readonly DesiredBackend[];
  /** Clients that are not redirected. */
  readonly skips: readonly Ip[];
  readonly skip: boolean;
}

/** Objects that a change of policies or pods concerns. */
export interface RedirectEffect {
  readonly policies: ReadonlySet<string>;
  readonly services: ReadonlySet<string>;
}

/** Local redirect policies and the pods of this node they may choose from. */
export class RedirectTable {
  readonly #policies = new Map<string, RedirectPolicy>();
  /** Policies by the Service they redirect, and by namespace. */
  readonly #byService = new Map<string, Set<string>>();
  readonly #byNamespace = new Map<string, Set<string>>();
  /** Pods by namespace, by name. */
  readonly #pods = new Map<string, Map<string, LocalPod>>();

  upsertPolicy(object: LocalRedirectPolicyObject): RedirectEffect {
    const policy = parseRedirectPolicy(object);
    const before = this.#remove(policy.key);
    this.#policies.set(policy.key, policy);
    addTo(this.#byNamespace, policy.namespace, policy.key);
    if (policy.service !== undefined) addTo(this.#byService, policy.service, policy.key);
    return this.#effectOf(before === undefined ? [policy] : [before, policy]);
  }

  deletePolicy(key: string): RedirectEffect {
    const before = this.#remove(key);
    return this.#effectOf(before === undefined ? [] : [before]);
  }

  #remove(key: string): RedirectPolicy | undefined {
    const policy = this.#policies.get(key);
    if (policy === undefined) return undefined;
    this.#policies.delete(key);
    removeFrom(this.#byNamespace, policy.namespace, key);
    if (policy.service !== undefined) removeFrom(this.#byService, policy.service, key);
    return policy;
  }

  upsertPod(pod: LocalPod): RedirectEffect {
    const pods = this.#pods.get(pod.namespace) ?? new Map<string, LocalPod>();
    const before = pods.get(pod.name);
    this.#pods.set(pod.namespace, pods.set(pod.name, pod));
    return this.#effectOf(this.#selecting(before === undefined ? [pod] : [before, pod]));
  }

  deletePod(namespace: string, name: string): RedirectEffect {
    const pods = this.#pods.get(namespace);
    const before = pods?.get(name);
    pods?.delete(name);
    if (pods?.size === 0) this.#pods.delete(namespace);
    return this.#effectOf(before === undefined ? [] : this.#selecting([before]));
  }

  #selecting(pods: readonly LocalPod[]): RedirectPolicy[] {
    const namespace = pods[0]?.namespace ?? "";
    return [...(this.#byNamespace.get(namespace) ?? [])].flatMap((key) => {
      const policy = this.#policies.get(key);
      return policy && pods.some(({ labels }) => policy.selects(plainLabels(labels))) ? [policy] : [];
    });
  }

  #effectOf(policies: readonly RedirectPolicy[]): RedirectEffect {
    const keys = new Set(policies.map(({ key }) => key));
    const services = new Set(policies.flatMap(({ service }) => service ?? []));
    // Which of several policies of a Service holds may have changed.
    for (const service of services) for (const key of this.#byService.get(service) ?? []) keys.add(key);
    return { policies: keys, services };
  }

  #podsOf(policy: RedirectPolicy): LocalPod[] {
    const pods = this.#pods.get(policy.namespace)?.values() ?? [];
    return [...pods].filter(({ ready, labels }) => ready && policy.selects(plainLabels(labels)));
  }

  /** The policy that holds for a Service: the first by name. */
  #holderOf(service: string): RedirectPolicy | undefined {
    const keys = [...(this.#byService.get(service) ?? [])].sort();
    return keys[0] === undefined ? undefined : this.#policies.get(keys[0]);
  }

  /** How a Service's port is redirected; undefined = it is not. Without a pod the Service serves as it is. */
  redirectOf(service: string, port: ServicePort, onlyPort: boolean): PortRedirect | undefined {
    if (!this.#byService.has(service)) return undefined;
    const policy = this.#holderOf(service);
    const proto = protocolNumbers[port.protocol ?? "TCP"] ?? 0;
    if (policy === undefined) return undefined;
    const chosen = policy.frontendPorts.find((one) => one.proto === proto && one.port === port.port);
    if (chosen === undefined && policy.frontendPorts.length > 0) return undefined;
    const only = chosen === undefined ? onlyPort : policy.frontendPorts.length === 1;
    const target = backendPortFor(policy, { proto, name: chosen?.name || (port.name ?? "") }, only);
    if (target === undefined) return undefined;
    const pods = this.#podsOf(policy);
    const skips = policy.skip ? clientsOf(pods) : [];
    return { policy: policy.key, backends: backendsFor(pods, target), skips, skip: policy.skip };
  }

  /** What a policy itself wants in the maps: rows for its address; one for a Service only has findings. */
  compile(key: string): Desired {
    const policy = this.#policies.get(key);
    if (policy === undefined) return { units: [], findings: [] };
    const findings: Finding[] = [...policy.findings];
    const holder = policy.service === undefined ? undefined : this.#holderOf(policy.service);
    if (holder !== undefined && holder !== policy)
      findings.push({ port: "", reason: `Service ${policy.service} is redirected by policy ${holder.key}` });
    for (const port of policy.frontendPorts) {
      const target = backendPortFor(policy, port, policy.frontendPorts.length === 1);
      if (target !== undefined) continue;
      const text = `${port.port}/${protocolText(port.proto)}`;
      findings.push({
        port: text,
        reason: `no port of redirectBackend.toPorts has its name "${port.name}" and protocol`,
      });
    }
    return { units: this.#addressUnits(policy), findings };
  }

  /** Without a pod there is no row: traffic to the address goes on unchanged. */
  #addressUnits(policy: RedirectPolicy): DesiredUnit[] {
    const { address } = policy;
    if (address === undefined) return [];
    const pods = this.#podsOf(policy);
    return policy.frontendPorts.flatMap((port) => {
      const target = backendPortFor(policy, port, policy.frontendPorts.length === 1);
      const all = target === undefined ? [] : backendsFor(pods, target);
      const backends = all.filter(({ v4 }) => v4 === isV4(address));
      const number = Number(port.port);
      if (backends.length === 0) return [];
      return {
        key: `${port.proto}/${number}`,
        port: number,
        proto: port.proto,
        portName: port.name,
        affinityTimeoutS: 0,
        frontends: [
          {
            key: { addr: address, port: number, proto: port.proto, scope: Scope.external },
            flags: ServiceFlag.localRedirect | (policy.skip ? ServiceFlag.skip : 0),
            algorithm: Algorithm.random,
            forwarding: Forwarding.snat,
            list: { backends, locality: localityOf.redirect },
          },
        ],
        backends,
        ranges: [],
        skips: policy.skip ? clientsOf(pods) : [],
      };
    });
  }

  /** Whether any policy redirects the Service. */
  concerns(service: string): boolean {
    return this.#byService.has(service);
  }
}

function clientsOf(pods: readonly LocalPod[]): Ip[] {
  return pods.flatMap(({ ips }) => ips.flatMap((text) => tryParseIp(text) ?? []));
}

function backendsFor(pods: readonly LocalPod[], target: PolicyPort): DesiredBackend[] {
  return pods.flatMap((pod) => {
    const port = portOf(pod, target);
    return port === undefined ? [] : pod.ips.flatMap((ip) => podBackend(ip, port) ?? []);
  });
}

function portOf(pod: LocalPod, { port, proto }: PolicyPort): number | undefined {
  if (typeof port === "number") return port;
  return pod.ports.find(({ name, protocol }) => name === port && protocolNumbers[protocol ?? "TCP"] === proto)
    ?.port;
}

/** A pod of this node as a backend; undefined when the text is no address. */
export function podBackend(text: string, port: number): DesiredBackend | undefined {
  const addr = tryParseIp(text);
  if (addr === undefined) return undefined;
  const address = formatIp(addr);
  return {
    address,
    v4: isV4(addr),
    port,
    ready: true,
    serving: true,
    terminating: false,
    local: true,
    node: undefined,
    zone: undefined,
    hints: undefined,
    weight: 1,
  };
}

function addTo(index: Map<string, Set<string>>, key: string, value: string): void {
  const values = index.get(key);
  if (values === undefined) index.set(key, new Set([value]));
  else values.add(value);
}

function removeFrom(index: Map<string, Set<string>>, key: string, value: string): void {
  const values = index.get(key);
  values?.delete(value);
  if (values?.size === 0) index.delete(key);
}
