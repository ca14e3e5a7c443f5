import { AxonError } from "@axoneme/base";

export type { MapLayout } from "./model.ts";

/** A struct of C: its name, size and fields as [offset, size]. */
export interface StructLayout {
  readonly c: string;
  readonly size: number;
  readonly fields: Readonly<Record<string, readonly [offset: number, size: number]>>;
}

/** Copies exactly `length` bytes. Throws `abi.length`. */
export function putBytes(view: DataView, off: number, bytes: Uint8Array, length: number): void {
  if (bytes.length !== length) {
    throw new AxonError("abi.length", `a field of ${length} bytes was given ${bytes.length}`);
  }
  for (let i = 0; i < length; i++) view.setUint8(off + i, bytes[i] as number);
}

/** A view of the same memory. */
export function bytesIn(view: DataView, off: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + off, length);
}
