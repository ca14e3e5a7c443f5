#!/usr/bin/env node
/**
 * Makes the image of all programs, without a container runtime or a registry: build/image/axoneme.tar (OCI image
 * layout, for `ctr images import`, `skopeo copy oci-archive:`), sbom.cdx.json and its digest beside it. The same sources
 * and packages give the same bytes. `--out DIRECTORY` and `--name IMAGE` change where it goes and what it is called; layers that
 * did not change are taken from `--cache DIRECTORY`. `--tarball` makes the tarball for machines without containers instead.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  certificates,
  deliveredInputs,
  file,
  libraries,
  licenceEntries,
  nodeLicence,
  nodeProgram,
  productEntries,
  staticPrograms,
  systemEntries,
} from "./image/contents.mjs";
import { describe, packagesOf } from "./image/debian.mjs";
import { bundledPackages } from "./image/npm.mjs";
import { architecture, makeImage, sha256 } from "./image/oci.mjs";
import { sbom } from "./image/sbom.mjs";
import { pack } from "./image/tar.mjs";
import { tarball } from "./image/tarball.mjs";

const root = join(import.meta.dirname, "..");
/** What an agent's image may be, as registries store it. */
const mostBytes = 150e6;
const home = "usr/lib/axoneme";
const docs = "usr/share/doc/axoneme";

function git(...args) {
  try {
    return execFileSync("git", args, {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return undefined; // not a checkout
  }
}

/** When the sources were: SOURCE_DATE_EPOCH, or the last commit; seconds since 1970. */
function sourceDate() {
  const text = process.env.SOURCE_DATE_EPOCH ?? git("log", "-1", "--format=%ct") ?? "0";
  if (!/^\d{1,11}$/.test(text))
    throw new Error(`SOURCE_DATE_EPOCH is ${text}: seconds since 1970 are wanted`);
  return Number(text);
}

function revisionOf() {
  const commit = git("rev-parse", "HEAD");
  if (commit === undefined) return "unknown";
  return git("status", "--porcelain", "--untracked-files=no") === "" ? commit : `${commit}-changed`;
}

function distribution() {
  const [, id] = /^ID=(.*)$/m.exec(readFileSync("/etc/os-release", "utf8")) ?? [];
  const [, version] = /^VERSION_ID="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8")) ?? [];
  return `${id}-${version}`;
}

/** What comes from Debian: libraries, certificates, and the C library inside the static programs. */
function debianPackages(found) {
  const certs = { ...describe("ca-certificates"), files: [certificates] };
  const linked = { ...describe("libc6-dev"), files: [], linked: staticPrograms };
  return [certs, linked, ...packagesOf(found.values())].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function layersOf(version, given) {
  const { debian, npm, node, found, document } = given;
  return [
    { name: "libraries and certificates", content: pack(systemEntries(found, debian)) },
    {
      name: `Node.js ${process.versions.node}`,
      content: pack([file("usr/bin/node", node, 0o755), file("usr/share/doc/nodejs/LICENSE", nodeLicence())]),
    },
    {
      name: "programs",
      content: pack([
        ...productEntries(home, version),
        ...licenceEntries(docs, npm),
        file("usr/bin/axon", `#!/usr/bin/node\nimport("/${home}/dist/cli.mjs");\n`, 0o755),
        file(`${docs}/sbom.cdx.json`, document),
      ]),
    },
  ];
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1).padStart(6)} MB`;

async function main() {
  const text = { type: "string" };
  const { values } = parseArgs({
    options: { out: text, name: text, cache: text, tarball: { type: "boolean" } },
  });
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const out = values.out ?? join(root, "build/image");
  const name = values.name ?? `ghcr.io/axoneme/axoneme:${version}`;
  const [created, revision] = [sourceDate(), revisionOf()];
  const inputs = JSON.parse(readFileSync(join(root, "build/inputs.json"), "utf8"));
  const npm = bundledPackages(
    root,
    Object.fromEntries(deliveredInputs.map((each) => [each, inputs[each] ?? []])),
  );
  const [found, node] = [libraries(), nodeProgram()];
  const debian = debianPackages(found);
  const document = sbom({
    ...{ version, revision, created, debian, npm, release: distribution() },
    node: { version: process.versions.node, sha256: sha256(node), versions: process.versions },
  });
  mkdirSync(out, { recursive: true });
  if (values.tarball) {
    const made = await tarball({ version, architecture: architecture(), node, found, npm, document });
    writeFileSync(join(out, made.name), made.content);
    console.log(`tarball: ${megabytes(made.content.length)} in ${join(out, made.name)}`);
    return;
  }
  const layers = layersOf(version, { debian, npm, node, found, document });
  const image = await makeImage(
    layers,
    {
      name,
      created,
      config: { Env: ["PATH=/usr/bin", "NODE_ENV=production"], Cmd: ["axon"], WorkingDir: "/" },
      annotations: {
        "org.opencontainers.image.title": "axoneme",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.licenses": "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)",
        "io.axoneme.sbom": `/${docs}/sbom.cdx.json`,
        "io.axoneme.sbom.sha256": sha256(document),
      },
    },
    values.cache ?? join(root, "build/image/layers"),
  );
  const total = image.layers.reduce((sum, { compressed }) => sum + compressed, 0);
  if (total > mostBytes) throw new Error(`the image has ${total} bytes, more than ${mostBytes}`);
  writeFileSync(join(out, "axoneme.tar"), image.archive);
  writeFileSync(join(out, "sbom.cdx.json"), document);
  writeFileSync(join(out, "digest"), `${image.digest}\n`);
  for (const layer of image.layers)
    console.log(`image: ${megabytes(layer.compressed)} of ${megabytes(layer.size)}  ${layer.name}`);
  console.log(
    `image: ${megabytes(total)} compressed, ${debian.length} Debian and ${npm.length} npm packages`,
  );
  console.log(`image: ${name} ${image.digest} in ${join(out, "axoneme.tar")}`);
}

try {
  await main();
} catch (error) {
  console.error(`image: ${error.message}`);
  process.exit(1);
}
