import type { Flow } from "../flow.ts";

/** Raw side of a clause: false only if no flow of the record can match. `o` is the record's offset. */
export type RawTest = (view: DataView, bytes: Uint8Array, o: number) => boolean;

/** One field of a FlowFilter, compiled. */
export interface Clause {
  match(flow: Flow): boolean;
  raw?: RawTest;
}

/** A clause that holds when any value's test does. */
export function anyOf<T>(values: readonly T[], test: (value: T) => (flow: Flow) => boolean): Clause {
  const tests = values.map(test);
  return { match: (flow) => tests.some((holds) => holds(flow)) };
}
