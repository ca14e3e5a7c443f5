import { closeSync } from "node:fs";
import { join } from "node:path";
import { layouts } from "@axoneme/abi";
import { errorText, type Logger } from "@axoneme/base";
import { BpfMap } from "@axoneme/bpf";
import { listenIn, setMark } from "@axoneme/netlink";
import { type AddressWords, isMapped } from "./origin.ts";

/** AX_MARK_PROXY of lib/forward.h: the upper half is the endpoint's id. */
const MARK = 0x0900;
const AF_INET = 2;
const AF_INET6 = 10;
/** Endpoints whose rows are known to be right; more are written again. */
const MAX_KNOWN = 65_536;

const key = layouts.ProxyPodKey.fields;

/**
 * Asking servers in the name of the pod. The datapath does it: a packet of ours whose mark names an endpoint leaves with
 * that endpoint's address and identity, and its answers come back to our socket (bpf/lib/proxied.h). Here the datapath
 * is told which address an endpoint has.
 */
export class AsPods {
  /** Why servers see the node instead; undefined: they see the pods. */
  refusal: string | undefined;
  private readonly map: BpfMap | undefined;
  private readonly known = new Map<number, AddressWords>();
  private readonly keyBytes = new Uint8Array(layouts.ProxyPodKey.size);
  private readonly keyView = new DataView(this.keyBytes.buffer);
  private readonly address = new Uint32Array(4);
  private readonly addressBytes = new Uint8Array(this.address.buffer);
  private readonly log: Logger;

  private constructor(map: BpfMap | undefined, refusal: string | undefined, log: Logger) {
    this.map = map;
    this.refusal = refusal;
    this.log = log;
    if (refusal !== undefined) log.info({ why: refusal }, "servers see the node as the client");
  }

  /** Looks whether this kernel and this datapath can; what they refuse is no error. */
  static open(bpffs: string, mode: "auto" | "off", log: Logger): AsPods {
    if (mode === "off") return new AsPods(undefined, "switched off", log);
    try {
      const probe = listenIn(undefined, { host: "127.0.0.1", port: 0, protocol: "udp" });
      try {
        setMark(probe, MARK);
      } finally {
        closeSync(probe);
      }
      return new AsPods(BpfMap.openPinned(join(bpffs, "ax_proxy_pods")), undefined, log);
    } catch (error) {
      return new AsPods(undefined, errorText(error), log);
    }
  }

  /** The mark of what is sent in the name of a pod; 0: it is sent as the node's. */
  markFor(endpoint: number, pod: AddressWords): number {
    if (this.map === undefined || this.refusal !== undefined) return 0;
    const isV4 = isMapped(pod);
    const id = endpoint * 2 + (isV4 ? 0 : 1);
    const known = this.known.get(id);
    if (known === undefined || !isEqual(known, pod)) {
      if (!this.tell(this.map, endpoint, isV4, pod)) return 0;
      if (this.known.size >= MAX_KNOWN) this.known.clear();
      this.known.set(id, pod);
    }
    return endpoint * 0x10000 + MARK;
  }

  private tell(map: BpfMap, endpoint: number, isV4: boolean, pod: AddressWords): boolean {
    this.keyView.setUint32(key.ep_id[0], endpoint, true);
    this.keyView.setUint32(key.family[0], isV4 ? AF_INET : AF_INET6, true);
    this.address.set(pod);
    try {
      map.put(this.keyBytes, this.addressBytes);
      return true;
    } catch (error) {
      this.refusal = errorText(error);
      this.log.error({ err: error }, "servers see the node as the client from now on");
      return false;
    }
  }

  close(): void {
    this.map?.close();
  }
}

function isEqual(a: AddressWords, b: AddressWords): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
}
