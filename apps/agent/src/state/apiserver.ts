import { hostPrefix, type Ip, ipKey, tryParseIp } from "@axoneme/base";
import { type Ipcache, reserved } from "@axoneme/identity";
import type { ListWatchHandlers } from "@axoneme/kube";
import { type EndpointSliceObject, serviceNameLabel } from "@axoneme/loadbalancer";

const namespace = "default";
const serviceName = "kubernetes";

/**
 * Gives the addresses behind the Service `default/kubernetes` the identity `kube-apiserver`, so that policies can name
 * the API server. An address of this very node stays `host`, as in the field: the host then is the API server, too.
 */
export class ApiServerAddresses {
  readonly #ipcache: Ipcache;
  readonly #isOwn: (ip: Ip) => boolean;
  readonly #bySlice = new Map<string, readonly Ip[]>();
  /** Told whether an API server runs on this very node, when that changes. */
  onOwn: (own: boolean) => void = () => undefined;
  #own = false;

  constructor(ipcache: Ipcache, isOwn: (ip: Ip) => boolean) {
    this.#ipcache = ipcache;
    this.#isOwn = isOwn;
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
      if (!kept.has(ipKey(ip))) this.#ipcache.delete(hostPrefix(ip), "kube-apiserver", name);
    }
    for (const ip of addresses) {
      if (!this.#isOwn(ip))
        this.#ipcache.upsert(hostPrefix(ip), "kube-apiserver", name, { identity: reserved.kubeApiserver });
    }
    this.#bySlice.set(name, addresses);
    const own = [...this.#bySlice.values()].some((ips) => ips.some((ip) => this.#isOwn(ip)));
    if (own === this.#own) return;
    this.#own = own;
    this.onOwn(own);
  }
}

function addressesOf(slice: EndpointSliceObject): Ip[] {
  return (slice.endpoints ?? []).flatMap(({ addresses }) =>
    (addresses ?? []).flatMap((text) => tryParseIp(text) ?? []),
  );
}
