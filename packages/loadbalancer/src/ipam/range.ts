import {
  AxonError,
  formatIp,
  ipFromBigInt,
  ipToBigInt,
  isV4,
  isV4Prefix,
  parseIp,
  parsePrefix,
  prefixRange,
} from "@axoneme/base";

export type Family = "IPv4" | "IPv6";

export const families: readonly Family[] = ["IPv4", "IPv6"];

/** Addresses from `first` to `last`, both included, as the number of their 16 bytes (IPv4 mapped). */
export interface AddressRange {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
}

/** One entry of a pool's `spec.blocks`. */
export interface BlockObject {
  readonly cidr?: string;
  readonly start?: string;
  readonly stop?: string;
}

export function familyOf(address: bigint): Family {
  return address >> 32n === 0xffffn ? "IPv4" : "IPv6";
}

export function addressText(address: bigint): string {
  return formatIp(ipFromBigInt(address));
}

/**
 * The ranges of a pool's blocks, sorted and without overlap: blocks that overlap or touch become one. Throws
 * `lbipam.block`, naming the block.
 */
export function rangesOf(blocks: readonly BlockObject[], allowFirstLast: boolean): AddressRange[] {
  const ranges = blocks.map((block, at) => {
    try {
      return block.cidr === undefined ? fromTo(block) : fromPrefix(block.cidr, allowFirstLast);
    } catch (cause) {
      if (!(cause instanceof AxonError)) throw cause;
      throw new AxonError("lbipam.block", `spec.blocks[${at}]: ${cause.message}`, { cause });
    }
  });
  return merge(ranges);
}

function fromPrefix(text: string, allowFirstLast: boolean): AddressRange {
  const prefix = parsePrefix(text);
  const range = prefixRange(prefix);
  const family = isV4Prefix(prefix) ? "IPv4" : "IPv6";
  const first = ipToBigInt(range.first);
  const last = ipToBigInt(range.last);
  // A prefix of two addresses or one would have none left.
  if (allowFirstLast || last - first < 2n) return { family, first, last };
  return { family, first: first + 1n, last: last - 1n };
}

function fromTo({ start = "", stop = start }: BlockObject): AddressRange {
  const [from, to] = [parseIp(start), parseIp(stop)];
  if (isV4(from) !== isV4(to)) {
    throw new AxonError("lbipam.block", `start ${start} and stop ${stop} are of different families`);
  }
  const [first, last] = [ipToBigInt(from), ipToBigInt(to)];
  if (last < first) throw new AxonError("lbipam.block", `stop ${stop} comes before start ${start}`);
  return { family: isV4(from) ? "IPv4" : "IPv6", first, last };
}

function merge(ranges: readonly AddressRange[]): AddressRange[] {
  const merged: AddressRange[] = [];
  const inOrder = (a: AddressRange, b: AddressRange): number => (a.first < b.first ? -1 : 1);
  for (const range of [...ranges].sort(inOrder)) {
    const before = merged.at(-1);
    const joins = before?.family === range.family && range.first <= before.last + 1n;
    if (before === undefined || !joins) merged.push(range);
    else if (range.last > before.last) merged[merged.length - 1] = { ...before, last: range.last };
  }
  return merged;
}

/** The first pair of ranges, one of each list, that share an address. Lists as of {@link rangesOf}. */
export function overlapOf(
  a: readonly AddressRange[],
  b: readonly AddressRange[],
): [AddressRange, AddressRange] | undefined {
  for (const family of families) {
    const [left, right] = [a, b].map((ranges) => ranges.filter((range) => range.family === family));
    const found = sharedRange(left ?? [], right ?? []);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Walks both sorted lists once. */
function sharedRange(
  a: readonly AddressRange[],
  b: readonly AddressRange[],
): [AddressRange, AddressRange] | undefined {
  let [i, j] = [0, 0];
  for (;;) {
    const [left, right] = [a[i], b[j]];
    if (left === undefined || right === undefined) return undefined;
    if (left.last < right.first) i++;
    else if (right.last < left.first) j++;
    else return [left, right];
  }
}

export function rangeText({ first, last }: AddressRange): string {
  return first === last ? addressText(first) : `${addressText(first)} - ${addressText(last)}`;
}
