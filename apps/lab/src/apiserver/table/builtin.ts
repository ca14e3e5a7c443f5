import { ageColumn, type Column, nameColumn } from "./columns.ts";

const tables: Readonly<Record<string, readonly Column[]>> = {};

/** The columns kubectl shows for a built-in kind (`group/plural`). */
export function builtinColumns(resource: string): readonly Column[] {
  return tables[resource] ?? [nameColumn, ageColumn];
}
