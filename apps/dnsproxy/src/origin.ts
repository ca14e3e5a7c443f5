import { join } from "node:path";
import { CtFlags, CtPath, layouts } from "@axoneme/abi";
import { BpfMap } from "@axoneme/bpf";

const key = layouts.CtKey.fields;
const row = layouts.Ct.fields;
const side = layouts.CtSide.fields;
const sideSize = layouts.CtSide.size;

/** What a pod dialled before the datapath sent it to the proxy. */
export interface Origin {
  /** Sixteen bytes as four words of memory, as in messages of a DatagramSet. */
  readonly server: Uint32Array;
  readonly serverPort: number;
  /** The set of rules its policy names. */
  readonly rules: number;
  /** The pod's policy only reports. */
  readonly audited: boolean;
  /** The pod's endpoint id. */
  readonly endpoint: number;
}

/** Where the proxy listens, as the look-up wants it. */
export interface Listener {
  readonly address: Uint8Array;
  readonly port: number;
  /** 17 UDP, 6 TCP. */
  readonly proto: number;
}

/** Bytes before which an address sorts: the smaller end of a connection is its side a (lib/conntrack.h). */
function isSmaller(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < 16; i++) {
    const diff = (a[i] ?? 0) - (b[i] ?? 0);
    if (diff !== 0) return diff < 0;
  }
  return false;
}

/** Connections that the datapath has sent to the proxy, in its own table. */
export class Origins {
  private readonly map: BpfMap;
  private readonly keyBytes = new Uint8Array(layouts.CtKey.size);
  private readonly keyView = new DataView(this.keyBytes.buffer);
  private readonly rowBytes: Uint8Array;
  private readonly rowView: DataView;

  constructor(map: BpfMap) {
    this.map = map;
    this.rowBytes = new Uint8Array(map.entrySize);
    this.rowView = new DataView(this.rowBytes.buffer);
  }

  /** Throws `bpf.pin` when the datapath has not been loaded yet. */
  static open(bpffs: string): Origins {
    return new Origins(BpfMap.openPinned(join(bpffs, "ax_ct")));
  }

  /** Undefined: nobody was sent here from this address and port, or what was is over. */
  find(pod: Uint8Array, podPort: number, listener: Listener): Origin | undefined {
    const podIsA = isSmaller(pod, listener.address);
    this.keyBytes.set(podIsA ? pod : listener.address, key.a[0]);
    this.keyBytes.set(podIsA ? listener.address : pod, key.b[0]);
    this.keyView.setUint16(key.aport[0], podIsA ? podPort : listener.port);
    this.keyView.setUint16(key.bport[0], podIsA ? listener.port : podPort);
    this.keyBytes[key.proto[0]] = listener.proto;
    if (!this.map.getInto(this.keyBytes, this.rowBytes)) return undefined;
    return this.read(row.side[0] + (podIsA ? sideSize : 0), row.side[0] + (podIsA ? 0 : sideSize));
  }

  private read(proxySide: number, podSide: number): Origin | undefined {
    const { rowBytes, rowView } = this;
    if (rowBytes[proxySide + side.path[0]] !== CtPath.PROXY) return undefined;
    const server = new Uint32Array(4);
    new Uint8Array(server.buffer).set(
      rowBytes.subarray(proxySide + side.nexthop[0], proxySide + side.nexthop[0] + 16),
    );
    return {
      server,
      serverPort: rowView.getUint16(proxySide + side.nexthop_port[0]),
      rules: rowView.getUint16(proxySide + side.proxy_rules[0], true),
      audited: (rowView.getUint32(row.flags[0], true) & CtFlags.AUDITED) !== 0,
      endpoint: rowView.getUint16(podSide + side.ep_id[0], true),
    };
  }

  close(): void {
    this.map.close();
  }
}
