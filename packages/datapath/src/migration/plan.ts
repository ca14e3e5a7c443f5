import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Btf } from "@axoneme/abi";
import { AxonError } from "@axoneme/base";
import { BpfMap, type BpfObject, IncompatibleMapError, MapType, requireCompatible } from "@axoneme/bpf";
import { RowConversion, UnknownLayout } from "./convert.ts";
import { declaredLayout, type RowLayout, sameLayout, shapeOf } from "./layout.ts";

/** A pinned map that the programs of this version cannot use as it is. */
export interface MapChange {
  readonly name: string;
  /** In which way it differs. */
  readonly why: string;
  /** How its rows come into the new map; undefined: they are left behind. */
  readonly conversion: RowConversion | undefined;
  /** The pinned map lies inside another one: see growing-map.ts. */
  readonly grows: boolean;
}

/** Beside each growing map stands an empty one whose types are those of its rows: inner maps carry none. */
export const rowsSuffix = "_row";

/** Rows of these come again by themselves, or are worth less than a node that has to be drained. */
const replaceable: ReadonlySet<string> = new Set([
  "ax_affinity",
  "ax_events",
  "ax_frags",
  "ax_l2",
  "ax_metrics",
  "ax_nat_pools",
  "ax_nat_stats",
  "ax_owner",
  "ax_process_ids",
  "ax_processes",
  "ax_sock",
  "ax_sock_fwd",
  "ax_sock_rev",
]);

/** Rows that are no structs by themselves: nothing here knows how to convert them. */
const opaque: ReadonlySet<string> = new Set(["ax_slots"]);

const rowTypes: ReadonlySet<number> = new Set([
  MapType.HASH,
  MapType.LRU_HASH,
  MapType.ARRAY,
  MapType.LPM_TRIE,
]);

/**
 * Compares what is pinned with what the objects of this version declare: sizes, types of maps, and fields as the
 * kernel remembers them. Changes nothing.
 * @returns the maps that have to be replaced, by name.
 * @throws AxonError `datapath.layout` for one whose rows are needed and cannot be converted.
 */
export function planMigration(objects: readonly BpfObject[], bpffs: string): Map<string, MapChange> {
  const changes = new Map<string, MapChange>();
  const seen = new Set<string>();
  const types = new TypesOfKernel();
  for (const object of objects) {
    const btf = Btf.fromElf(readFileSync(object.path));
    for (const { name, pinned } of object.spec.maps) {
      if (!pinned || seen.has(name)) continue;
      seen.add(name);
      const path = join(bpffs, "maps", name);
      if (!existsSync(path)) continue;
      const change = changeOf(object, btf, name, path, types);
      if (change) changes.set(change.name, change);
      // The types of a growing map's rows go with it.
      if (change?.grows) changes.set(name, { ...change, name, conversion: undefined, grows: false });
    }
  }
  return changes;
}

function changeOf(
  object: BpfObject,
  btf: Btf,
  name: string,
  path: string,
  types: TypesOfKernel,
): MapChange | undefined {
  const pinned = BpfMap.openPinned(path);
  try {
    const found = types.layoutOf(pinned);
    const wanted = declaredLayout(btf, name);
    const differs = sizesDiffer(object, name, pinned, path);
    const isSame = found === undefined || wanted === undefined || sameLayout(found, wanted);
    if (isSame && differs === undefined) return undefined;
    const why = differs ?? "its fields differ";
    const grows = name.endsWith(rowsSuffix);
    const target = grows ? name.slice(0, -rowsSuffix.length) : name;
    const canWalk = rowTypes.has(pinned.info.type) && !opaque.has(target);
    const conversion = canWalk ? conversionOf(target, found, wanted, why) : undefined;
    if (!conversion && !replaceable.has(target)) throw refusal(target, path, why);
    return { name: target, why, conversion, grows };
  } finally {
    pinned.close();
  }
}

function conversionOf(
  name: string,
  found: RowLayout | undefined,
  wanted: RowLayout | undefined,
  why: string,
): RowConversion | undefined {
  if (!found || !wanted) return undefined;
  try {
    return new RowConversion(found, wanted);
  } catch (error) {
    if (!(error instanceof UnknownLayout)) throw error;
    if (replaceable.has(name)) return undefined;
    throw refusal(name, "", `${why}: ${error.message}`);
  }
}

function sizesDiffer(object: BpfObject, name: string, pinned: BpfMap, path: string): string | undefined {
  const spec = object.mapSpec(name);
  if (!spec) return undefined;
  try {
    requireCompatible(spec, pinned.info, path);
    return undefined;
  } catch (error) {
    if (error instanceof IncompatibleMapError) return `its ${error.attribute} differs`;
    throw error;
  }
}

function refusal(name: string, path: string, why: string): AxonError {
  return new AxonError(
    "datapath.layout",
    `the pinned map ${name} is of a layout that this version cannot convert (${why}): start the version that wrote ` +
      `it, or one between; or drain the node and remove its pins${path === "" ? "" : ` (${path})`}, which ends its connections`,
  );
}

/** Types of pinned maps: maps of one object share theirs. */
class TypesOfKernel {
  readonly #known = new Map<number, Btf>();

  layoutOf(map: BpfMap): RowLayout | undefined {
    const { btfId, btfKeyType, btfValueType } = map.info;
    if (btfId === 0 || btfKeyType === 0) return undefined;
    let btf = this.#known.get(btfId);
    if (!btf) {
      btf = Btf.fromBytes(map.btf() ?? new Uint8Array());
      this.#known.set(btfId, btf);
    }
    return { key: shapeOf(btf, btfKeyType), value: shapeOf(btf, btfValueType) };
  }
}
