import type { Question } from "./cells.ts";
import type { Place, PodRequest, TestLab, TestPod } from "./lab.ts";
import {
  endpointsListed,
  type Family,
  families,
  familyName,
  type Protocol,
  protocolName,
  protocols,
  type ServiceFacts,
  type ServiceRequest,
  serviceFacts,
  serviceObject,
  setIngress,
  settled,
} from "./services.ts";
import { routeFromWorld } from "./wire.ts";

/** Both protocols over both families, for `it.each`: a title, then its parts. */
export const ways: [string, Protocol, Family][] = protocols.flatMap((protocol) =>
  families.map((family): [string, Protocol, Family] => [
    `${protocolName[protocol]} over ${familyName[family]}`,
    protocol,
    family,
  ]),
);

/** An address for the load balancer with this number, 1..99. */
export function vipOf(number: number, family: Family): string {
  return family === "v4" ? `198.51.100.${number}` : `2001:db8:51::${number}`;
}

export interface SceneService extends ServiceRequest {
  /** Wait until the API lists that many endpoints. */
  readonly endpoints?: number;
  /** Number of the load-balancer addresses it gets, routed to node1. */
  readonly vip?: number;
}

/** A lab with pods and Services by name, and questions to them. */
export class Scene {
  readonly lab: TestLab;
  readonly #pods = new Map<string, TestPod>();
  readonly #facts = new Map<string, ServiceFacts>();

  private constructor(lab: TestLab) {
    this.lab = lab;
  }

  static async of(lab: TestLab, ...pods: readonly PodRequest[]): Promise<Scene> {
    const scene = new Scene(lab);
    await scene.addPods(...pods);
    return scene;
  }

  async addPods(...requests: readonly PodRequest[]): Promise<void> {
    for (const pod of await this.lab.pods(...requests)) this.#pods.set(pod.name, pod);
  }

  pod(name: string): TestPod {
    const found = this.#pods.get(name);
    if (found === undefined) throw new Error(`no pod ${name}`);
    return found;
  }

  /** A pod whose traffic is balanced per packet: its programs live outside the cgroup of its node. */
  bare(name: string): Place {
    return { ...this.pod(name), name: `${name} without socket programs`, cgroup: undefined };
  }

  get world(): Place {
    return this.lab.world;
  }

  node(number: 1 | 2): Place {
    return this.lab.node(`node${number}`);
  }

  /** Where traffic starts on node1: a pod by sockets, a pod by packets, the node. */
  inside(): Place[] {
    return [this.pod("client"), this.bare("client"), this.node(1)];
  }

  /** Creates Services and waits until all nodes know them. */
  async make(...services: readonly SceneService[]): Promise<void> {
    await this.lab.apply(...services.map(serviceObject));
    for (const { name, vip } of services) if (vip !== undefined) await this.announce(name, vip);
    for (const { name, endpoints } of services)
      if (endpoints !== undefined) await endpointsListed(this.lab, name, endpoints);
    await this.settle();
    for (const { name } of services) this.#facts.set(name, await serviceFacts(this.lab, name));
  }

  /** Waits until all nodes have worked in what the API said until now. */
  async settle(): Promise<void> {
    await settled(this.lab, this.pod("client"));
  }

  /** Gives a Service its load-balancer addresses, as MetalLB would, and a route of the world to them. */
  async announce(service: string, number: number): Promise<void> {
    const vips = families.map((family) => vipOf(number, family));
    await setIngress(this.lab, service, vips);
    for (const address of vips) await routeFromWorld(this.lab, address, "node1");
  }

  facts(service: string): ServiceFacts {
    const found = this.#facts.get(service);
    if (found === undefined) throw new Error(`no Service ${service}`);
    return found;
  }

  /** A question to a Service's cluster address. */
  cluster(from: Place, service: string, protocol: Protocol, family: Family, port = 80): Question {
    return { from, protocol, address: this.facts(service)[family], port };
  }

  /** A question to a Service's node port on an address. */
  nodePort(from: Place, service: string, protocol: Protocol, address: string, source?: string): Question {
    const port = this.facts(service).nodePort[protocol];
    return { from, protocol, address, port, ...(source === undefined ? {} : { source }) };
  }

  /** A question to a Service's load-balancer address. */
  vip(from: Place, number: number, protocol: Protocol, family: Family, source?: string): Question {
    const address = vipOf(number, family);
    return { from, protocol, address, port: 80, ...(source === undefined ? {} : { source }) };
  }

  /** A Service's frontends on node1, as `axon service list` has them. */
  async listed(service: string): Promise<unknown[]> {
    const args = ["service", "list", "--name", service, "--node", "node1", "-o", "json"];
    return (await this.lab.axon(args)) as unknown[];
  }
}
