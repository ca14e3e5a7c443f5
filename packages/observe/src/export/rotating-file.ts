import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

export interface RotationOptions {
  readonly maxBytes: number;
  /** Rotated files kept; 0: none. */
  readonly backups: number;
  readonly compress: boolean;
}

/** What became of lines: the first `written` of them are in the file, whole; `error` is why the others are not. */
export interface Written {
  readonly written: number;
  readonly error?: unknown;
}

/** Where lines go. */
export interface LineSink {
  /** Does not reject; after an error the next call begins anew. */
  write(lines: readonly string[]): Promise<Written>;
  close(): Promise<void>;
}

/**
 * A file of lines that is renamed to `<name>-<time><ext>` when it would grow over its size, as the field does it. Old
 * ones are removed and compressed in the background, one at a time; what a crash left of that is finished.
 */
export class RotatingFile implements LineSink {
  readonly #path: string;
  readonly #options: RotationOptions;
  #file: FileHandle | undefined;
  #size = 0;
  #tidying: Promise<void> = Promise.resolve();
  #tidyError: unknown;
  #lastStamp = 0;

  constructor(path: string, options: RotationOptions) {
    this.#path = path;
    this.#options = options;
  }

  async write(lines: readonly string[]): Promise<Written> {
    let written = 0;
    try {
      await this.#open();
      while (written < lines.length) {
        const chunk = this.#fitting(lines, written);
        if (chunk.length === 0) await this.#rotate();
        else await this.#append(chunk);
        written += chunk.length;
      }
      // Nobody waits for the tidying; its troubles are told with the next lines.
      const error = this.#tidyError;
      this.#tidyError = undefined;
      return error === undefined ? { written } : { written, error };
    } catch (error) {
      return { written, error };
    }
  }

  async close(): Promise<void> {
    await this.#release();
    await this.#tidying;
  }

  /** The lines from `first` on that fit into the file; one at least if it is empty. */
  #fitting(lines: readonly string[], first: number): readonly string[] {
    let size = this.#size;
    let end = first;
    for (; end < lines.length; end++) {
      const length = Buffer.byteLength(lines[end] ?? "") + 1;
      if (size > 0 && size + length > this.#options.maxBytes) break;
      size += length;
    }
    return lines.slice(first, end);
  }

  async #append(lines: readonly string[]): Promise<void> {
    const file = await this.#open();
    const data = Buffer.from(`${lines.join("\n")}\n`);
    try {
      await file.appendFile(data);
      this.#size += data.length;
    } catch (error) {
      // Half a line would spoil the next one.
      await file.truncate(this.#size).catch(() => undefined);
      await this.#release();
      throw error;
    }
  }

  async #open(): Promise<FileHandle> {
    if (this.#file !== undefined) return this.#file;
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    const file = await open(this.#path, "a+", 0o600);
    this.#file = file;
    this.#size = (await file.stat()).size;
    await this.#endLine(file);
    this.#tidy();
    return file;
  }

  /** A process that was killed may have left half a line. */
  async #endLine(file: FileHandle): Promise<void> {
    if (this.#size === 0) return;
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, this.#size - 1);
    if (buffer[0] === 0x0a) return;
    await file.appendFile("\n");
    this.#size++;
  }

  async #rotate(): Promise<void> {
    await this.#release();
    // Not more than one behind: files must not gather faster than they are compressed.
    await this.#tidying;
    await rename(this.#path, this.#backupPath());
    this.#size = 0;
    await this.#open();
  }

  async #release(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  /** Two rotations may fall into one millisecond, and clocks go back: what is there is never overwritten. */
  #backupPath(): string {
    const { stem, extension } = this.#parts();
    for (let ms = Math.max(Date.now(), this.#lastStamp + 1); ; ms++) {
      const stamp = new Date(ms).toISOString().replaceAll(":", "-").replace("Z", "");
      const path = join(dirname(this.#path), `${stem}-${stamp}${extension}`);
      if (existsSync(path) || existsSync(`${path}.gz`)) continue;
      this.#lastStamp = ms;
      return path;
    }
  }

  #parts(): { stem: string; extension: string } {
    const extension = extname(this.#path);
    return { stem: basename(this.#path, extension), extension };
  }

  #tidy(): void {
    this.#tidying = this.#tidying
      .then(() => this.#tidyNow())
      .catch((error: unknown) => {
        this.#tidyError = error;
      });
  }

  async #tidyNow(): Promise<void> {
    const directory = dirname(this.#path);
    const { stem, extension } = this.#parts();
    const stamp = /^-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}$/;
    const names = (await readdir(directory)).filter((name) => {
      const plain = name.replace(/\.gz(\.tmp)?$/, "");
      if (!plain.startsWith(stem) || !plain.endsWith(extension)) return false;
      return stamp.test(plain.slice(stem.length, plain.length - extension.length));
    });
    const backups: string[] = [];
    for (const name of names.sort().reverse()) {
      if (!name.endsWith(".tmp")) backups.push(name);
      else await rm(join(directory, name), { force: true });
    }
    for (const [i, name] of backups.entries()) {
      const path = join(directory, name);
      if (i >= this.#options.backups) await rm(path, { force: true });
      else if (this.#options.compress && !name.endsWith(".gz")) await compress(path);
    }
  }
}

async function compress(path: string): Promise<void> {
  const half = `${path}.gz.tmp`;
  await pipeline(createReadStream(path), createGzip(), createWriteStream(half, { mode: 0o600 }));
  await rename(half, `${path}.gz`);
  await rm(path);
}

/** Lines on the standard output, for those who gather that. */
export class StandardOutput implements LineSink {
  write(lines: readonly string[]): Promise<Written> {
    if (lines.length === 0) return Promise.resolve({ written: 0 });
    return new Promise((resolve) => {
      process.stdout.write(`${lines.join("\n")}\n`, (error) =>
        resolve(error ? { written: 0, error } : { written: lines.length }),
      );
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
