// What scripts write from sources: writes it, or says that it is not as it would be written.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/**
 * Brings files (path below the repository's root -> text) to what they should say. With `--check` among the arguments it
 * writes nothing and exits 1 when one differs. `name` begins each message, `mend` is the command that helps.
 */
export function writeGenerated(files, { name, mend }) {
  const check = process.argv.includes("--check");
  const stale = [];
  for (const [file, text] of Object.entries(files)) {
    const path = join(root, file);
    if (existsSync(path) && readFileSync(path, "utf8") === text) continue;
    stale.push(file);
    if (check) continue;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  if (check && stale.length > 0) {
    console.error(`${name}: ${stale.join(", ")} not as generated: run "${mend}" and commit`);
    process.exit(1);
  }
  if (!check)
    console.log(stale.length === 0 ? `${name}: nothing changed` : `${name}: wrote ${stale.join(", ")}`);
}
