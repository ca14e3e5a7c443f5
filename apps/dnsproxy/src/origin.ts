import { statSync } from "node:fs";
import { join } from "node:path";
import { Btf, CtFlags, CtPath, layouts } from "@axoneme/abi";
import { AxonError, formatIp, type Ip } from "@axoneme/base";
import { BpfError, BpfMap } from "@axoneme/bpf";

const key = layouts.CtKey.fields;

/** Sixteen bytes of an address as four words of memory, as in messages of a DatagramSet. */
export type AddressWords = readonly number[];

/** How often a query that nobody was sent here for is worth a look whether the table is still the one in force. */
const lookEveryMs = 100;

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

/** Bytes from the start of a row to what is read of it; path and those below it from the start of a side. */
interface RowOffsets {
  readonly flags: number;
  readonly side: number;
  readonly sideSize: number;
  readonly path: number;
  readonly nexthop: number;
  readonly nexthopPort: number;
  readonly proxyRules: number;
  readonly epId: number;
}

/** The map's own types. Undefined: it has none, or we may not read them (the kernel shows them to CAP_SYS_ADMIN alone). */
function typesOf(map: BpfMap): Uint8Array | undefined {
  try {
    return map.btf();
  } catch (error) {
    if (error instanceof BpfError && error.errnoName === "EPERM") return undefined;
    throw error;
  }
}

/** As the map itself says: an agent of another version may have made it. One that does not say has our size, or is refused. */
function rowOffsets(map: BpfMap): RowOffsets {
  const bytes = typesOf(map);
  const { Ct: ct, CtSide: side } = layouts;
  let [rows, sides, sideSize]: [Offsets, Offsets, number] = [ct.fields, side.fields, side.size];
  if (bytes !== undefined) {
    const btf = Btf.fromBytes(bytes);
    const { members } = btf.resolve(map.info.btfValueType);
    const array = btf.resolve(members.find(({ name }) => name === "side")?.type ?? 0);
    rows = offsetsOf(members);
    sides = offsetsOf(btf.resolve(array.type).members);
    sideSize = btf.sizeOf(array.type);
  } else if (map.entrySize !== ct.size) {
    const sizes = `${map.entrySize} bytes, and this proxy knows rows of ${ct.size}`;
    throw new AxonError("dnsproxy.layout", `rows of ${map.name} have ${sizes}: start the agent's own proxy`);
  }
  const at = (offsets: Offsets, name: string): number => {
    const found = offsets[name]?.[0];
    if (found === undefined)
      throw new AxonError("dnsproxy.layout", `rows of ${map.name} have no field ${name}`);
    return found;
  };
  return {
    flags: at(rows, "flags"),
    side: at(rows, "side"),
    sideSize,
    path: at(sides, "path"),
    nexthop: at(sides, "nexthop"),
    nexthopPort: at(sides, "nexthop_port"),
    proxyRules: at(sides, "proxy_rules"),
    epId: at(sides, "ep_id"),
  };
}

type Offsets = Readonly<Record<string, readonly [offset: number, ...rest: number[]]>>;

function offsetsOf(members: readonly { readonly name: string; readonly offset: number }[]): Offsets {
  return Object.fromEntries(members.map(({ name, offset }) => [name, [offset]]));
}

/** Connections that the datapath has sent to the proxy, in its own table. */
export class Origins {
  private map: BpfMap;
  private readonly path: string;
  /** Which file the map was opened from: another one has its name when the datapath has put another map there. */
  private inode: number;
  private lookedMs = 0;
  private readonly keyBytes = new Uint8Array(layouts.CtKey.size);
  private readonly keyView = new DataView(this.keyBytes.buffer);
  private readonly keyWords = new Uint32Array(this.keyBytes.buffer, 0, 8);
  private rowBytes: Uint8Array;
  private rowView: DataView;
  private row: RowOffsets;

  /** @param path where the map is pinned. */
  constructor(map: BpfMap, path = "") {
    this.map = map;
    this.path = path;
    this.inode = inodeOf(path);
    this.rowBytes = new Uint8Array(map.entrySize);
    this.rowView = new DataView(this.rowBytes.buffer);
    this.row = rowOffsets(map);
  }

  /** Throws `bpf.pin` when the datapath has not been loaded yet, `dnsproxy.layout` when its rows are of an unknown version. */
  static open(bpffs: string): Origins {
    const path = join(bpffs, "ax_ct");
    return new Origins(BpfMap.openPinned(path), path);
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
    const isKnown =
      this.map.getInto(this.keyBytes, this.rowBytes) ||
      (this.openAgain() && this.map.getInto(this.keyBytes, this.rowBytes));
    if (!isKnown) return undefined;
    const { side, sideSize } = this.row;
    return this.read(side + (podIsA ? sideSize : 0), side + (podIsA ? 0 : sideSize));
  }

  /** An agent has put another table in the place of this one: of another size, or of another version. */
  private openAgain(): boolean {
    const now = performance.now();
    if (this.path === "" || now - this.lookedMs < lookEveryMs) return false;
    this.lookedMs = now;
    const inode = inodeOf(this.path);
    if (inode === this.inode || inode === 0) return false;
    this.inode = inode;
    const map = BpfMap.openPinned(this.path);
    if (map.keySize !== this.map.keySize) {
      map.close();
      return false;
    }
    this.map.close();
    this.map = map;
    this.rowBytes = new Uint8Array(map.entrySize);
    this.rowView = new DataView(this.rowBytes.buffer);
    this.row = rowOffsets(map);
    return true;
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
    const { rowBytes, rowView, row } = this;
    if (rowBytes[proxySide + row.path] !== CtPath.PROXY) return undefined;
    const nexthop = proxySide + row.nexthop;
    return {
      server: [
        rowView.getUint32(nexthop, true),
        rowView.getUint32(nexthop + 4, true),
        rowView.getUint32(nexthop + 8, true),
        rowView.getUint32(nexthop + 12, true),
      ],
      serverPort: rowView.getUint16(proxySide + row.nexthopPort),
      rules: rowView.getUint16(proxySide + row.proxyRules, true),
      audited: (rowView.getUint32(row.flags, true) & CtFlags.AUDITED) !== 0,
      endpoint: rowView.getUint16(podSide + row.epId, true),
    };
  }

  close(): void {
    this.map.close();
  }
}

/** 0: there is no such file. */
function inodeOf(path: string): number {
  return path === "" ? 0 : (statSync(path, { throwIfNoEntry: false })?.ino ?? 0);
}
