import { constants } from "node:os";
import { getSystemErrorMap } from "node:util";
import { AxonError } from "@axoneme/base";

/** Numbers the kernel uses inside and lets out of bpf(2), which libc does not know. */
const KERNEL_ONLY = new Map<number, [string, string]>([
  [524, ["ENOTSUPP", "operation is not supported by this object"]],
]);

const MORE_WORDS: Readonly<Record<string, string>> = { ENOLINK: "the interface is gone" };

const HINTS: Readonly<Record<string, string>> = {
  EPERM: "needs root, or CAP_BPF with CAP_NET_ADMIN and CAP_PERFMON",
  EACCES: "not permitted, or the program was rejected",
};

/** Symbol and words of a number; libuv has words for fewer numbers than libc has symbols. */
function nameOf(errno: number): [string, string] {
  const known = getSystemErrorMap().get(-errno) ?? KERNEL_ONLY.get(errno);
  if (known) return known;
  const symbol = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
  return [symbol ?? `errno ${errno}`, MORE_WORDS[symbol ?? ""] ?? "no description"];
}

/** `EPERM (operation not permitted; needs root, ...)`. `errno` is positive. */
export function errnoText(errno: number): string {
  const [name, text] = nameOf(errno);
  const hint = HINTS[name];
  return `${name} (${text}${hint ? `; ${hint}` : ""})`;
}

/** A failed call. `errno` is the kernel's positive number, `errnoName` its symbol; both absent when not from the kernel. */
export class BpfError extends AxonError {
  readonly errno: number | undefined;
  readonly errnoName: string | undefined;

  constructor(code: string, message: string, options?: { cause?: unknown; errno?: number }) {
    super(code, message, options);
    this.errno = options?.errno;
    this.errnoName = options?.errno === undefined ? undefined : nameOf(options.errno)[0];
  }
}

/** A batch that stopped: `index` is the entry that failed, all before it were written. */
export class BatchError extends BpfError {
  readonly index: number;

  constructor(message: string, errno: number, index: number) {
    super("bpf.map.batch", message, { errno });
    this.index = index;
  }
}

/** A pinned map that this object cannot use: `attribute` differs. */
export class IncompatibleMapError extends BpfError {
  readonly map: string;
  readonly attribute: string;

  constructor(map: string, path: string, attribute: string, wanted: number | string, found: number | string) {
    super(
      "bpf.map.incompatible",
      `map ${map}: the one pinned at ${path} has ${attribute} ${found}, the object wants ${wanted}; ` +
        "remove the pin (its contents are lost) or load the object it was made for",
    );
    this.map = map;
    this.attribute = attribute;
  }
}

/** Turns a native result into a value or an error `code` that says what was done to which object. */
export function check(result: number, code: string, what: string): number {
  if (result >= 0) return result;
  throw new BpfError(code, `${what}: ${errnoText(-result)}`, { errno: -result });
}
