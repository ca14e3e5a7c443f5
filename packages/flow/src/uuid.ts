const hex = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));

/**
 * Names flows: the same record always yields the same UUID, so that a reader who asks twice sees one flow, and a
 * filter by UUID finds it again. Form: RFC 9562 version 8, of 62 random bits of this run of the agent and the
 * record's number.
 */
export class FlowIds {
  readonly #prefix: string;
  readonly #suffix: string;

  /** @param seed at least 8 random bytes, fresh for each store. */
  constructor(seed: Uint8Array) {
    const byte = (i: number): number => seed[i] ?? 0;
    this.#prefix = `${hex[byte(0)]}${hex[byte(1)]}${hex[byte(2)]}${hex[byte(3)]}-${hex[byte(4)]}${hex[byte(5)]}-8`;
    this.#suffix = `${hex[byte(6)]}${hex[byte(7)]}`;
  }

  /** UUID of the n-th (0..15) flow of record `seq`. */
  of(seq: number, part: number): string {
    const digits = (seq * 16 + part).toString(16).padStart(13, "0");
    return `${this.#prefix}${this.#suffix.slice(0, 3)}-a${digits.slice(0, 1)}${this.#suffix.slice(2, 4)}-${digits.slice(1)}`;
  }
}
