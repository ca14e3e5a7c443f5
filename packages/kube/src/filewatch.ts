import { readFileSync, statSync } from "node:fs";
import { AxonError } from "@axoneme/base";

/** How often a file is looked at, at most. Kubelets rotate tokens well before they expire. */
const lookEveryMs = 1000;

/**
 * A small text file that others replace (a projected token, a rotated certificate). It is read again when
 * its modification time, size or inode changes; while it is missing the last content stays valid.
 */
export class FileContent {
  readonly path: string;
  #stamp = "";
  #content: string | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(path: string) {
    this.path = path;
  }

  /** The content now. Throws `kube.file` when it never could be read. */
  read(): string {
    const now = performance.now();
    if (this.#content === undefined || now - this.#lookedAt >= lookEveryMs) {
      this.#lookedAt = now;
      this.#look();
    }
    return this.#content ?? "";
  }

  /** Makes the next read look at the file at once. */
  expire(): void {
    this.#lookedAt = Number.NEGATIVE_INFINITY;
    this.#stamp = "";
  }

  #look(): void {
    try {
      const { mtimeMs, size, ino } = statSync(this.path);
      const stamp = `${mtimeMs}/${size}/${ino}`;
      if (stamp === this.#stamp) return;
      this.#content = readFileSync(this.path, "utf8");
      this.#stamp = stamp;
    } catch (cause) {
      if (this.#content !== undefined) return; // between unlink and rename of a rotation
      throw new AxonError("kube.file", `cannot read ${this.path}, named by the Kubernetes configuration`, {
        cause,
      });
    }
  }
}
