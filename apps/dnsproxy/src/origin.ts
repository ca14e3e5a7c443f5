import { join } from "node:path";
import { CtFlags, CtPath, layouts } from "@axoneme/abi";
import { formatIp, type Ip } from "@axoneme/base";
import { BpfMap } from "@axoneme/bpf";

const key = layouts.CtKey.fields;
const row = layouts.Ct.fields;
const side = layouts.CtSide.fields;
const sideSize = layouts.CtSide.size;

/** Sixteen bytes of an address as four words of memory, as in messages of a DatagramSet. */
export type AddressWords = readonly number[];

const scratch = new Uint32Array(4);
const scratchBytes = new Uint8Array(scratch.buffer);

/** The address as text. */
export function ipOf(words: AddressWords): string {
  scratch.set(words);
  return formatIp(scratchBytes as Ip);
}

/** The words of an address. */
export function wordsOf(ip: Uint8Array): AddressWords {
  scratchBytes.set(ip);
  return [...scratch];
}

/** The third word of a v4-mapped address, as this machine reads it. */
const MAPPED = new Uint32Array(new Uint8Array([0, 0, 0xff, 0xff]).buffer)[0] ?? 0;

/** Whether it is an IPv4 address. */
export function isMapped(words: AddressWords): boolean {
  return words[0] === 0 && words[1] === 0 && words[2] === MAPPED;
}

/** What a pod dialled before the datapath sent it to the proxy. */
export interface Origin {
  readonly server: AddressWords;
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
  readonly words: AddressWords;
  readonly port: number;
  /** 17 UDP, 6 TCP. */
  readonly proto: number;
}

/** Connections that the datapath has sent to the proxy, in its own table. */
export class Origins {
  private readonly map: BpfMap;
  private readonly keyBytes = new Uint8Array(layouts.CtKey.size);
  private readonly keyView = new DataView(this.keyBytes.buffer);
  private readonly keyWords = new Uint32Array(this.keyBytes.buffer, 0, 8);
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

  /**
   * The connection of a pod, whose address is in `pod` from `at` on. Undefined: nobody was sent here from this address
   * and port, or what was is over.
   */
  find(pod: ArrayLike<number>, at: number, podPort: number, listener: Listener): Origin | undefined {
    const { keyWords, keyView } = this;
    for (let i = 0; i < 4; i++) {
      keyWords[i] = pod[at + i] ?? 0;
      keyWords[i + 4] = listener.words[i] ?? 0;
    }
    const podIsA = this.isSorted();
    if (!podIsA) {
      for (let i = 0; i < 4; i++) {
        keyWords[i] = listener.words[i] ?? 0;
        keyWords[i + 4] = pod[at + i] ?? 0;
      }
    }
    keyView.setUint16(key.aport[0], podIsA ? podPort : listener.port);
    keyView.setUint16(key.bport[0], podIsA ? listener.port : podPort);
    this.keyBytes[key.proto[0]] = listener.proto;
    if (!this.map.getInto(this.keyBytes, this.rowBytes)) return undefined;
    return this.read(row.side[0] + (podIsA ? sideSize : 0), row.side[0] + (podIsA ? 0 : sideSize));
  }

  /** Whether the key's first address is the smaller one, as its side a has to be (lib/conntrack.h). */
  private isSorted(): boolean {
    for (let i = 0; i < 16; i += 4) {
      const a = this.keyView.getUint32(i);
      const b = this.keyView.getUint32(i + 16);
      if (a !== b) return a < b;
    }
    return true;
  }

  private read(proxySide: number, podSide: number): Origin | undefined {
    const { rowBytes, rowView } = this;
    if (rowBytes[proxySide + side.path[0]] !== CtPath.PROXY) return undefined;
    const nexthop = proxySide + side.nexthop[0];
    return {
      server: [
        rowView.getUint32(nexthop, true),
        rowView.getUint32(nexthop + 4, true),
        rowView.getUint32(nexthop + 8, true),
        rowView.getUint32(nexthop + 12, true),
      ],
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
