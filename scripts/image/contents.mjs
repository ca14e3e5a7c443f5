// What is delivered, as entries of an archive: the programs, and for images what they run on.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { librariesOf } from "./debian.mjs";

const root = join(import.meta.dirname, "../..");

/** Programs of the product; the lab and its API server are for development. */
const programs = ["agent", "cli", "dnsproxy", "operator", "relay", "ui"];
const addons = readable("build/native").filter((name) => name.endsWith(".node"));

/** Programs that have an entry of their own among what was bundled (build/inputs.json). */
export const deliveredInputs = [...programs.map((name) => `apps/${name}/src/main.ts`), "apps/ui/web"];
/** Programs that need no library because they have theirs in themselves. */
export const staticPrograms = ["build/bin/axoneme-cni"];

function readable(folder) {
  const path = join(root, folder);
  if (!existsSync(path)) throw new Error(`${folder} is missing: make build`);
  return readdirSync(path).sort();
}

export const file = (path, content, mode = 0o644) => ({
  path,
  kind: "file",
  mode,
  content: Buffer.isBuffer(content) ? content : Buffer.from(content),
});
export const link = (path, target) => ({ path, kind: "link", mode: 0o777, target });
const directory = (path, mode = 0o755) => ({ path, kind: "directory", mode });

/** A program without what only debuggers read, and without the number that depends on where it was compiled. */
function stripped(path) {
  const dir = mkdtempSync(join(tmpdir(), "axon-strip-"));
  try {
    const to = join(dir, basename(path));
    execFileSync("strip", ["--strip-unneeded", "--remove-section=.note.gnu.build-id", "-o", to, path]);
    return readFileSync(to);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function filesBelow(path) {
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    const below = join(path, entry.name);
    return entry.isDirectory() ? filesBelow(below) : [below];
  });
}

/** Our programs and what belongs to them, below `prefix`. */
export function productEntries(prefix, version) {
  const own = (path) => file(`${prefix}/${path}`, readFileSync(join(root, path)));
  const manifest = `${JSON.stringify({ name: "axoneme", version, private: true, type: "module" })}\n`;
  const bundles = programs.map((name) => `dist/${name}.mjs`);
  const page = filesBelow(join(root, "dist/ui")).map((path) => relative(root, path));
  const objects = readable("build/bpf").filter((name) => name.endsWith(".o"));
  return [
    file(`${prefix}/package.json`, manifest),
    ...[...bundles, ...page, ...objects.map((name) => `build/bpf/${name}`)].map(own),
    ...addons.map((name) =>
      file(`${prefix}/build/native/${name}`, stripped(join(root, "build/native", name))),
    ),
    ...staticPrograms.map((path) => file(`${prefix}/${path}`, stripped(join(root, path)), 0o755)),
  ];
}

/** Our licences and those of what is bundled. */
export function licenceEntries(prefix, npm) {
  const own = ["LICENSE", ...readable("LICENSES").map((name) => `LICENSES/${name}`)];
  const theirs = npm.flatMap(({ name, version, texts }) =>
    texts.map(([text, content]) => file(`${prefix}/npm/${name}@${version}/${text}`, content)),
  );
  return [...own.map((path) => file(`${prefix}/${path}`, readFileSync(join(root, path)))), ...theirs];
}

/** Node.js as it built and tested the rest. */
export function nodeProgram() {
  return stripped(realpathSync(process.execPath));
}

/** Node.js' licence, which has those of what it is made of. */
export function nodeLicence() {
  const bin = dirname(realpathSync(process.execPath));
  const places = [
    "/usr/share/doc/nodejs/LICENSE",
    join(bin, "../LICENSE"),
    "/usr/share/doc/nodejs/copyright",
  ];
  const found = places.find(existsSync);
  if (found === undefined) throw new Error(`Node.js' licence is in none of ${places.join(", ")}`);
  return readFileSync(found);
}

/** Shared libraries, by the name that programs ask for: name -> file of this machine. */
export function libraries() {
  return librariesOf([
    realpathSync(process.execPath),
    ...addons.map((name) => join(root, "build/native", name)),
  ]);
}

/** Certificates for programs that do not bring their own. */
export const certificates = "/etc/ssl/certs/ca-certificates.crt";

/** A file system that Node.js runs in: libraries, users, names, certificates. */
export function systemEntries(found, packages) {
  const inUsr = (path) => (path.startsWith("/usr/") ? path.slice(1) : `usr${path}`);
  return [
    ...["bin", "lib", "lib64"].map((name) => link(name, `usr/${name}`)),
    ...["dev", "etc", "proc", "root", "run", "sys", "usr/bin", "usr/lib", "usr/lib64", "var"].map((path) =>
      directory(path),
    ),
    directory("tmp", 0o1777),
    // Kubernetes mounts tokens below /var/run, and the agent's directories are below /run.
    link("var/run", "/run"),
    file(
      "etc/passwd",
      "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
    ),
    file("etc/group", "root:x:0:\nnonroot:x:65532:\n"),
    file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    file(certificates.slice(1), readFileSync(certificates)),
    ...[...found].map(([, path]) => file(inUsr(path), readFileSync(path), 0o755)),
    ...packages.flatMap(({ name, copyright }) =>
      copyright === undefined ? [] : [file(`usr/share/doc/${name}/copyright`, copyright)],
    ),
  ];
}
