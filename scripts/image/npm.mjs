// The npm packages whose code is in our bundles, by what the bundlers say they read.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const licenceFile = /^(licen[sc]e|copying|notice)/i;

/** The directory of the package that a module is of; undefined: it is our own. */
function packageDir(module) {
  const [dir] = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(module) ?? [];
  return dir;
}

function read(root, dir, locked) {
  const { name, version, license } = JSON.parse(readFileSync(join(root, dir, "package.json"), "utf8"));
  const texts = readdirSync(join(root, dir))
    .filter((file) => licenceFile.test(file))
    .sort();
  return {
    name,
    version,
    licence: typeof license === "string" ? license : (license?.type ?? "unknown"),
    integrity: locked[dir]?.integrity,
    texts: texts.map((file) => [file, readFileSync(join(root, dir, file))]),
  };
}

/**
 * @param inputs program -> modules it was bundled from, paths below `root` (build/inputs.json).
 * @returns packages `{name, version, licence, integrity, texts: [file, content][], programs}` in the order of names.
 */
export function bundledPackages(root, inputs) {
  const { packages: locked } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const found = new Map();
  for (const [program, modules] of Object.entries(inputs)) {
    for (const dir of new Set(modules.map(packageDir))) {
      if (dir === undefined || !existsSync(join(root, dir, "package.json"))) continue;
      const known = found.get(dir) ?? { ...read(root, dir, locked), programs: [] };
      known.programs.push(program);
      found.set(dir, known);
    }
  }
  const key = ({ name, version }) => `${name}@${version}`;
  return [...found.values()].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}
