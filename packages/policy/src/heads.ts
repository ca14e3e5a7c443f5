import { cidrOfPeer, identityOfPeer, type PeerCode, PeerKind, peerKind } from "./peercodes.ts";
import type { Phases } from "./phases.ts";
import type { PolicyChange, PolicyHead } from "./rows.ts";
import type { Direction } from "./rule.ts";

const DIRECTIONS = [0, 1] as const;

/** Which shapes occur. */
type Shapes = Pick<PolicyHead, "shapesBoth" | "shapesExact" | "shapesCidr" | "shapesAny">;

/** How many rows of each shape a policy has: which shapes its heads name. */
export class ShapeCounts {
  /** By [direction][kind of peer][shape]. */
  readonly #counts = new Uint32Array(2 * 4 * 32);

  /** A row came (1) or went (-1). */
  count(code: number, peer: PeerCode, by: 1 | -1): void {
    const rest = code >>> 24; // direction * 32 + shape
    const kind = peerKind(identityOfPeer(peer), cidrOfPeer(peer));
    const at = ((rest >= 32 ? 1 : 0) * 4 + kind) * 32 + (rest % 32);
    this.#counts[at] = (this.#counts[at] ?? 0) + by;
  }

  /** Bit n set: there are rows of shape n. */
  masks(direction: Direction): Shapes {
    return {
      shapesBoth: this.#mask(direction, PeerKind.BOTH),
      shapesExact: this.#mask(direction, PeerKind.EXACT),
      shapesCidr: this.#mask(direction, PeerKind.CIDR),
      shapesAny: this.#mask(direction, PeerKind.ANY),
    };
  }

  #mask(direction: Direction, kind: PeerKind): number {
    let mask = 0;
    for (let shape = 0; shape <= 24; shape++) {
      if ((this.#counts[(direction * 4 + kind) * 32 + shape] ?? 0) > 0) mask |= 1 << shape;
    }
    return mask;
  }
}

/** The heads of one policy as last given out. */
export class Heads {
  readonly #policyId: number;
  readonly #last: [PolicyHead | undefined, PolicyHead | undefined] = [undefined, undefined];

  constructor(policyId: number) {
    this.#policyId = policyId;
  }

  /** Files the writes from the last heads to these: shapes widen before rows change and narrow after. */
  turn(target: readonly PolicyHead[], phases: Phases): void {
    for (const direction of DIRECTIONS) {
      const old = this.#last[direction];
      const next = target[direction];
      if (next === undefined) continue;
      this.#last[direction] = next;
      if (old === undefined) {
        phases.headsNarrow.push(this.#put(direction, next)); // nobody uses a new policy before it is whole
        continue;
      }
      const shapes = union(old, next);
      const wide = { ...old, ...shapes };
      const turned = { ...next, ...shapes };
      if (!sameHead(old, wide)) phases.headsWiden.push(this.#put(direction, wide));
      if (!sameHead(wide, turned)) phases.headsTurn.push(this.#put(direction, turned));
      if (!sameHead(turned, next)) phases.headsNarrow.push(this.#put(direction, next));
    }
  }

  /** Writes that remove the heads. */
  removal(): PolicyChange[] {
    return DIRECTIONS.filter((direction) => this.#last[direction] !== undefined).map((direction) => {
      return { op: "deleteHead", policyId: this.#policyId, direction };
    });
  }

  /** They are out of the maps: the next are written as new ones. */
  forget(): void {
    this.#last.fill(undefined);
  }

  #put(direction: Direction, head: PolicyHead): PolicyChange {
    return { op: "putHead", policyId: this.#policyId, direction, head };
  }
}

function union(a: Shapes, b: Shapes): Shapes {
  return {
    shapesBoth: a.shapesBoth | b.shapesBoth,
    shapesExact: a.shapesExact | b.shapesExact,
    shapesCidr: a.shapesCidr | b.shapesCidr,
    shapesAny: a.shapesAny | b.shapesAny,
  };
}

function sameHead(a: PolicyHead, b: PolicyHead): boolean {
  return (
    a.shapesBoth === b.shapesBoth &&
    a.shapesCidr === b.shapesCidr &&
    a.shapesExact === b.shapesExact &&
    a.shapesAny === b.shapesAny &&
    a.defaultRule === b.defaultRule &&
    a.defaultVerdict === b.defaultVerdict
  );
}
