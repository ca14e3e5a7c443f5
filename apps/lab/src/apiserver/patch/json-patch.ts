import { ApiError, badRequest } from "../errors.ts";
import { clone, define, equal, isObject } from "../object.ts";

interface Operation {
  op: string;
  path: string;
  from?: string;
  value?: unknown;
}

function steps(pointer: string): string[] {
  if (pointer === "") return [];
  if (!pointer.startsWith("/"))
    throw badRequest(`json patch path ${JSON.stringify(pointer)} does not begin with "/"`);
  return pointer
    .slice(1)
    .split("/")
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function unprocessable(message: string): ApiError {
  return new ApiError(
    422,
    "Invalid",
    `the server rejected our request due to an error in our request: ${message}`,
  );
}

function index(step: string, length: number, pointer: string): number {
  if (step === "-") return length;
  if (!/^(0|[1-9]\d*)$/.test(step) || Number(step) > length) {
    throw unprocessable(`index ${step} of ${pointer} is out of bounds (length ${length})`);
  }
  return Number(step);
}

function child(parent: unknown, step: string, pointer: string): unknown {
  if (Array.isArray(parent) && Number(step) < parent.length)
    return parent[index(step, parent.length, pointer)];
  if (isObject(parent) && Object.hasOwn(parent, step)) return parent[step];
  throw unprocessable(`doc is missing path: ${pointer}`);
}

function read(root: unknown, pointer: string): unknown {
  return steps(pointer).reduce((current, step) => child(current, step, pointer), root);
}

/** Applies `change` to the holder of the pointer's last step; returns the (possibly replaced) root. */
function edit(root: unknown, pointer: string, change: (holder: unknown, step: string) => void): void {
  const path = steps(pointer);
  const last = path.pop();
  if (last === undefined) throw unprocessable("the whole document cannot be replaced");
  const holder = path.reduce((current, step) => child(current, step, pointer), root);
  change(holder, last);
}

function add(root: unknown, pointer: string, value: unknown): void {
  edit(root, pointer, (holder, step) => {
    if (Array.isArray(holder)) holder.splice(index(step, holder.length, pointer), 0, value);
    else if (isObject(holder)) define(holder, step, value);
    else throw unprocessable(`${pointer} is not in an object or list`);
  });
}

function remove(root: unknown, pointer: string): void {
  read(root, pointer);
  edit(root, pointer, (holder, step) => {
    if (Array.isArray(holder)) holder.splice(Number(step), 1);
    else if (isObject(holder)) delete holder[step];
  });
}

function replace(root: unknown, pointer: string, value: unknown): void {
  read(root, pointer);
  edit(root, pointer, (holder, step) => {
    if (Array.isArray(holder)) holder[Number(step)] = value;
    else if (isObject(holder)) define(holder, step, value);
  });
}

const operations: Readonly<Record<string, (root: unknown, operation: Operation) => void>> = {
  add: (root, { path, value }) => add(root, path, clone(value)),
  remove: (root, { path }) => remove(root, path),
  replace: (root, { path, value }) => replace(root, path, clone(value)),
  move: (root, { path, from = "" }) => {
    const value = read(root, from);
    remove(root, from);
    add(root, path, value);
  },
  copy: (root, { path, from = "" }) => add(root, path, clone(read(root, from))),
  test: (root, { path, value }) => {
    let found: unknown;
    try {
      found = read(root, path);
    } catch (error) {
      if (value !== null) throw error;
    }
    if (!equal(found ?? null, value ?? null)) throw unprocessable(`testing value ${path} failed`);
  },
};

/** RFC 6902 on a copy of `target`. Throws 400 on a malformed patch, 422 when an operation cannot be carried out. */
export function jsonPatch<T>(target: T, patch: unknown): T {
  if (!Array.isArray(patch)) throw badRequest("a JSON patch must be a list of operations");
  const root = clone(target);
  for (const entry of patch) {
    const operation = isObject(entry) ? (entry as unknown as Operation) : { op: "", path: "" };
    const run = operations[operation.op];
    if (run === undefined || typeof operation.path !== "string") {
      throw badRequest(`invalid JSON patch operation ${JSON.stringify(entry)}`);
    }
    run(root, operation);
  }
  return root;
}
