import { backoff, delay, errorText, formatIp, type Ip, type Logger } from "@axoneme/base";
import type { PoolDemand } from "@axoneme/ipam";
import type { KubeClient } from "@axoneme/kube";
import { ciliumNodes, fieldManager } from "../state/objects.ts";

/** What waits of the node's options, for `axon config diff`. */
const configAnnotation = "axoneme.io/config";

interface Place {
  readonly addresses: readonly Ip[];
  readonly gateways: readonly Ip[];
}

/** Announces this node to the others as a CiliumNode; tries until it has worked for the newest state. */
export class NodePublisher {
  readonly #client: KubeClient;
  readonly #name: string;
  readonly #log: Logger;
  #labels: Readonly<Record<string, string>> = {};
  #demand: readonly PoolDemand[] = [];
  #config: string | undefined;
  #place: Place | undefined;
  #wanted: Place | undefined;
  #running = false;
  #stopped = false;

  constructor(client: KubeClient, name: string, log: Logger) {
    this.#client = client;
    this.#name = name;
    this.#log = log;
  }

  /** States the node's addresses; `gateways` are those among its pods. */
  publish(addresses: readonly Ip[], gateways: readonly Ip[]): void {
    this.#place = { addresses, gateways };
    this.#changed();
  }

  /** States what is to be told of this node's options; undefined: nothing. */
  publishConfig(text: string | undefined): void {
    if (text === this.#config) return;
    this.#config = text;
    if (this.#place) this.#changed();
  }

  /** States the labels of the Node object: other nodes' policies select this one by them. */
  publishLabels(labels: Readonly<Record<string, string>>): void {
    if (sameLabels(labels, this.#labels)) return;
    this.#labels = labels;
    if (this.#place) this.#changed();
  }

  /** States how many addresses the node's pods need of which pool. */
  publishDemand(demand: readonly PoolDemand[]): void {
    if (JSON.stringify(demand) === JSON.stringify(this.#demand)) return;
    this.#demand = demand;
    if (this.#place) this.#changed();
  }

  #changed(): void {
    this.#wanted = this.#place && { ...this.#place };
    if (this.#running) return;
    this.#running = true;
    void this.#write().finally(() => {
      this.#running = false;
    });
  }

  /** Whether everything stated is written. */
  get isIdle(): boolean {
    return this.#wanted === undefined;
  }

  /** Gives up what is pending. */
  stop(): void {
    this.#stopped = true;
  }

  async #write(): Promise<void> {
    const wait = backoff({ baseMs: 50, maxMs: 5000 });
    while (this.#wanted && !this.#stopped) {
      const wanted = this.#wanted;
      try {
        await this.#client.resource(ciliumNodes).apply(this.#object(wanted), { fieldManager, force: true });
        if (this.#wanted === wanted) this.#wanted = undefined;
        wait.reset();
      } catch (error) {
        if (wait.attempt === 5)
          this.#log.warn({}, `CiliumNode ${this.#name} not written yet: ${errorText(error)}`);
        await delay(wait.next());
      }
    }
  }

  #object({ addresses, gateways }: Place) {
    const of = (type: string, ips: readonly Ip[]) => ips.map((ip) => ({ type, ip: formatIp(ip) }));
    return {
      apiVersion: "cilium.io/v2",
      kind: "CiliumNode",
      metadata: {
        name: this.#name,
        labels: this.#labels,
        ...(this.#config === undefined ? {} : { annotations: { [configAnnotation]: this.#config } }),
      },
      spec: {
        addresses: [...of("InternalIP", addresses), ...of("CiliumInternalIP", gateways)],
        ...(this.#demand.length > 0 ? { ipam: { pools: { requested: this.#demand.map(requestOf) } } } : {}),
      },
    };
  }
}

function requestOf({ pool, v4, v6 }: PoolDemand) {
  return { pool, needed: { "ipv4-addrs": v4, "ipv6-addrs": v6 } };
}

function sameLabels(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}
