import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { BpfMap, BpfObject, type Direction, Link, type LoadedObject, Program, TcFilter } from "@axoneme/bpf";

/** In the order of bpf/handover.bpf.c. */
const hookNames = ["pod_from", "pod_to", "node_from", "node_to", "overlay_from", "overlay_to"] as const;
type HookName = (typeof hookNames)[number];

/** A program of tc where it stands now. */
interface Place {
  readonly hook: HookName;
  readonly programId: number;
  update(program: Program): void;
  close(): void;
}

/** Where tc programs of ours may stand besides the pinned links. */
export interface Devices {
  readonly pods: Iterable<number>;
  /** 0: none. */
  readonly node: number;
  readonly overlay: number;
}

/**
 * All tc hooks of the node at once: while it stands, each packet is passed on to the former generation of programs or
 * to the next one, by one row.
 */
export class HookSwitch {
  readonly #object: LoadedObject;
  readonly #places: readonly Place[];
  readonly #former = new Map<HookName, Program>();

  private constructor(object: LoadedObject, places: readonly Place[]) {
    this.#object = object;
    this.#places = places;
  }

  /** Finds what stands at the hooks, and gets ready to take their places. Changes nothing. */
  static open(
    objectDir: string,
    links: string,
    devices: Devices,
    next: ReadonlyMap<string, Program>,
  ): HookSwitch {
    const object = BpfObject.open(join(objectDir, "handover.bpf.o")).load();
    const hooks = new HookSwitch(object, [...placesOfLinks(links), ...placesOfFilters(devices)]);
    const sides = object.map("ax_sides");
    hookNames.forEach((hook, i) => {
      const former = hooks.#formerAt(hook);
      if (former) put(sides, i, former.fd);
      const program = next.get(hook);
      if (program) put(sides, hookNames.length + i, program.fd);
    });
    return hooks;
  }

  get size(): number {
    return this.#places.length;
  }

  /** Pins what has to outlive this process for packets to go on. */
  pin(dir: string): void {
    this.#object.map("ax_turn").pin(join(dir, "turn"));
    this.#object.map("ax_sides").pin(join(dir, "sides"));
  }

  /** Takes all hooks; the former generation goes on deciding. */
  take(): void {
    for (const place of this.#places) place.update(this.#object.program(`pass_${place.hook}`));
  }

  /** From the next packet on the other generation decides, at all hooks. */
  turn(): void {
    put(this.#object.map("ax_turn"), 0, 1);
  }

  /** Puts programs directly at the hooks; this switch has nothing to do any more. */
  settle(programs: ReadonlyMap<string, Program>): void {
    for (const place of this.#places) {
      const program = programs.get(place.hook);
      if (program) place.update(program);
    }
  }

  /** Back to how it was found. Only before the turn. */
  giveBack(): void {
    this.settle(this.#former);
  }

  close(): void {
    for (const place of this.#places) place.close();
    for (const program of this.#former.values()) program.close();
    this.#object.close();
  }

  #formerAt(hook: HookName): Program | undefined {
    const place = this.#places.find((p) => p.hook === hook);
    if (!place) return undefined;
    const program = Program.openById(place.programId);
    this.#former.set(hook, program);
    return program;
  }
}

function put(map: BpfMap, index: number, value: number): void {
  const bytes = new Uint8Array(Uint32Array.of(index, value).buffer);
  map.put(bytes.subarray(0, 4), bytes.subarray(4));
}

/** Whose turn the switch pinned in a folder says it is; undefined: it was not finished. */
export function pinnedTurn(dir: string): "former" | "next" | undefined {
  const path = join(dir, "turn");
  if (!existsSync(path)) return undefined;
  const map = BpfMap.openPinned(path);
  const value = map.get(new Uint8Array(4));
  map.close();
  return value?.[0] === 1 ? "next" : "former";
}

function placesOfLinks(dir: string): Place[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir).flatMap((pin) => {
    const hook = hookNames.find((name) => pin.endsWith(`_${name}`));
    const link = hook && Link.tryOpenPinned(join(dir, pin));
    if (!hook || !link) return [];
    const { progId, ifindex } = link.info();
    // A device that is gone took its link along; the pin is all there is.
    if (ifindex === 0) {
      link.close();
      return [];
    }
    return [
      {
        hook,
        programId: progId,
        update: (program: Program) => link.update(program),
        close: () => link.close(),
      },
    ];
  });
}

function placesOfFilters({ pods, node, overlay }: Devices): Place[] {
  const at = (ifindex: number, from: HookName, to: HookName): Place[] =>
    ifindex === 0
      ? []
      : [...placeOfFilter(ifindex, "ingress", from), ...placeOfFilter(ifindex, "egress", to)];
  return [
    ...[...new Set(pods)].flatMap((ifindex) => at(ifindex, "pod_from", "pod_to")),
    ...at(node, "node_from", "node_to"),
    ...at(overlay, "overlay_from", "overlay_to"),
  ];
}

function placeOfFilter(ifindex: number, direction: Direction, hook: HookName): Place[] {
  const filter = TcFilter.find({ ifindex, direction });
  const programId = filter?.programId();
  if (!filter || programId === undefined) return [];
  return [{ hook, programId, update: (program) => filter.update(program), close: () => filter.close() }];
}
