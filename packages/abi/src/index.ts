export * from "./abi.gen.ts";
export { Btf, BtfKind, type BtfMember, type BtfType } from "./btf.ts";
export type { MapLayout, StructLayout } from "./layout.ts";
