import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AxonError } from "@axoneme/base";

/** The process and when it began: a number used again by another process differs in the latter. */
function identity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in brackets may hold blanks; the start time is the twentieth field after it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // One that was killed and waits for its parent to notice writes nothing any more.
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    return `${pid} ${fields[19]}`;
  } catch {
    return undefined;
  }
}

const held = new Set<string>();

/** Makes sure that one server at a time writes to a state directory. Throws when another one lives. */
export function lockState(dir: string): () => void {
  const file = join(dir, "lock");
  let owner = "";
  try {
    owner = readFileSync(file, "utf8").trim();
  } catch {
    owner = "";
  }
  const pid = Number(owner.split(" ")[0]);
  const alive = owner !== "" && identity(pid) === owner;
  if (held.has(file) || (alive && pid !== process.pid)) {
    throw new AxonError(
      "apiserver.locked",
      `the state directory ${dir} is in use by the API server of process ${pid}: stop it, or use another directory`,
    );
  }
  writeFileSync(file, identity(process.pid) ?? "", { mode: 0o600 });
  held.add(file);
  return () => {
    held.delete(file);
    rmSync(file, { force: true });
  };
}
