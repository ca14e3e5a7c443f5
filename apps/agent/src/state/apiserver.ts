import { hostPrefix, type Ip, ipKey, tryParseIp } from "@axoneme/base";
import type { Ipcache } from "@axoneme/identity";
import type { ListWatchHandlers } from "@axoneme/kube";
import { type EndpointSliceObject, serviceNameLabel } from "@axoneme/loadbalancer";
import type { NodeClasses } from "../node/node-identities.ts";

const namespace = "default";
const serviceName = "kubernetes";

/**
 * Gives the addresses behind the Service `default/kubernetes` the identity `kube-apiserver`, so that policies can name
 * the API server. An address of this very node stays `host`, as in the field: the host then is the API server, too.
 */
export class ApiServerAddresses {
  readonly #ipcache: Ipcache;
  readonly #isOwn: (ip: Ip) => boolean;
  readonly #classes: Pick<NodeClasses, "set" | "delete">;
  readonly #bySlice = new Map<string, readonly Ip[]>();
  /** Told whether an API server runs on this very node, when that changes. */
  onOwn: (own: boolean) => void = () => undefined;
  /** Labels of the node that has an address. */
  labelsAt: (ip: Ip) => Readonly<Record<string, string>> = () => ({});
  #own = false;

  constructor(ipcache: Ipcache, isOwn: (ip: Ip) => boolean, classes: Pick<NodeClasses, "set" | "delete">) {
    this.#ipcache = ipcache;
    this.#isOwn = isOwn;
    this.#classes = classes;
  }

  /** Addresses of all API servers, this node's too. */
  get addresses(): readonly Ip[] {
    return [...this.#bySlice.values()].flat();
  }

  /** The node that has these addresses came, changed or went. */
  nodeChanged(addresses: readonly Ip[]): void {
    const keys = new Set(addresses.map(ipKey));
    for (const [name, ips] of this.#bySlice) {
      for (const ip of ips) if (keys.has(ipKey(ip)) && !this.#isOwn(ip)) this.#announce(name, ip);
    }
  }

  #announce(slice: string, ip: Ip): void {
    const claim = { entity: "kube-apiserver", labels: this.labelsAt(ip), addresses: [ip] } as const;
    this.#classes.set(keyOf(slice, ip), claim, (identity) =>
      this.#ipcache.upsert(hostPrefix(ip), "kube-apiserver", slice, { identity }),
    );
  }

  /** For a ListWatch of EndpointSlice; other Services' slices are passed over. */
  handlers(): ListWatchHandlers<EndpointSliceObject> {
    const upsert = (slice: EndpointSliceObject) => this.#set(slice, addressesOf(slice));
    return { onAdd: upsert, onUpdate: upsert, onDelete: (slice) => this.#set(slice, []) };
  }

  #set(slice: EndpointSliceObject, addresses: readonly Ip[]): void {
    if (slice.metadata?.namespace !== namespace || slice.metadata.labels?.[serviceNameLabel] !== serviceName)
      return;
    const name = slice.metadata.name ?? "";
    const kept = new Set(addresses.map(ipKey));
    for (const ip of this.#bySlice.get(name) ?? []) {
      if (kept.has(ipKey(ip))) continue;
      this.#ipcache.delete(hostPrefix(ip), "kube-apiserver", name);
      this.#classes.delete(keyOf(name, ip));
    }
    for (const ip of addresses) if (!this.#isOwn(ip)) this.#announce(name, ip);
    this.#bySlice.set(name, addresses);
    const own = [...this.#bySlice.values()].some((ips) => ips.some((ip) => this.#isOwn(ip)));
    if (own === this.#own) return;
    this.#own = own;
    this.onOwn(own);
  }
}

function keyOf(slice: string, ip: Ip): string {
  return `apiserver/${slice}/${ipKey(ip)}`;
}

function addressesOf(slice: EndpointSliceObject): Ip[] {
  return (slice.endpoints ?? []).flatMap(({ addresses }) =>
    (addresses ?? []).flatMap((text) => tryParseIp(text) ?? []),
  );
}
