// What this machine's package manager knows of files that are taken along.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";

const run = (command, args) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

/** /lib and /usr/lib are one directory; the package manager knows a file by one of the two names. */
const namesOf = (path) => [path, path.startsWith("/usr/") ? path.slice(4) : `/usr${path}`];

/** The package that a file is of; undefined: of none. */
function ownerOf(path) {
  for (const name of [path, realpathSync(path)].flatMap(namesOf)) {
    try {
      return run("dpkg-query", ["-S", name]).split(/: /)[0]?.split(/[,:]/)[0];
    } catch {
      // It knows no file of this name.
    }
  }
  return undefined;
}

/** Short names of the licences in a copyright file that machines can read; none where it is prose. */
function licencesIn(copyright) {
  const found = [...copyright.matchAll(/^License: *(\S.*)$/gm)].map(([, name]) => name?.trim());
  return [...new Set(found)].sort();
}

/** As dpkg-query names a field in a format. */
const field = (name) => `$\{${name}}`;

/** The packages of files: `{name, version, architecture, licences, copyright, files}`, by name. */
export function packagesOf(paths) {
  const packages = new Map();
  for (const path of paths) {
    const name = ownerOf(path);
    if (name === undefined)
      throw new Error(`${path} is of no Debian package: where it comes from cannot be listed`);
    const known = packages.get(name);
    if (known) known.files.push(path);
    else packages.set(name, { ...describe(name), files: [path] });
  }
  return [...packages.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @throws when it is not installed. */
export function describe(name) {
  const [version = "", architecture = ""] = run("dpkg-query", [
    "-W",
    `-f=${field("Version")} ${field("Architecture")}\n`,
    name,
  ])
    .split("\n")[0]
    .split(" ");
  const file = `/usr/share/doc/${name}/copyright`;
  const copyright = existsSync(file) ? readFileSync(file) : undefined;
  return { name, version, architecture, copyright, licences: licencesIn(copyright?.toString() ?? "") };
}

/** The shared libraries that programs need, as the loader finds them: name -> file, without what the kernel brings. */
export function librariesOf(programs) {
  const found = new Map();
  for (const program of programs) {
    for (const line of run("ldd", [program]).split("\n")) {
      const [, name, path] = /^\s*(\S+) => (\/\S+) /.exec(line) ?? [];
      const [, loader] = /^\s*(\/\S+) \(/.exec(line) ?? [];
      if (/not found/.test(line)) throw new Error(`${program} needs what is not installed:${line}`);
      if (path !== undefined) found.set(name, path);
      else if (loader !== undefined) found.set(loader, loader);
    }
  }
  return found;
}
