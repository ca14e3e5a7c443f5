import { stripVTControlCharacters } from "node:util";

/** Columns on the screen that a text takes. */
function width(text: string): number {
  return text.includes("\u001b") ? stripVTControlCharacters(text).length : text.length;
}

/**
 * A table: a header, columns padded to their widest cell and two spaces between, no trailing spaces, no lines.
 * Widths are measured once a cell.
 */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const measured = all.map((row) => header.map((_, i) => width(row[i] ?? "")));
  const widths = header.map((_, i) => Math.max(...measured.map((row) => row[i] ?? 0)));
  const lines = all.map((row, r) => {
    const cells = header.map((_, i) => {
      const pad = (widths[i] ?? 0) - (measured[r]?.[i] ?? 0);
      return `${row[i] ?? ""}${" ".repeat(pad)}`;
    });
    return cells.join("  ").trimEnd();
  });
  return `${lines.join("\n")}\n`;
}

/** Writes rows as they come: the widths are those of the first rows, and grow when a cell does. */
export class TableStream {
  readonly #widths: number[];
  readonly #header: readonly string[];
  #begun = false;

  constructor(header: readonly string[], minimum: readonly number[] = []) {
    this.#header = header;
    this.#widths = header.map((cell, i) => Math.max(cell.length, minimum[i] ?? 0));
  }

  /** The row as a line (with the header before the first). */
  row(cells: readonly string[]): string {
    const line = this.#line(cells);
    if (this.#begun) return line;
    this.#begun = true;
    return this.#line(this.#header) + line;
  }

  #line(cells: readonly string[]): string {
    const padded = this.#header.map((_, i) => {
      const cell = cells[i] ?? "";
      const taken = width(cell);
      this.#widths[i] = Math.max(this.#widths[i] ?? 0, taken);
      return cell + " ".repeat((this.#widths[i] ?? 0) - taken);
    });
    return `${padded.join("  ").trimEnd()}\n`;
  }
}
