// The same programs for machines without containers: a directory with an installer, in one archive.
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { file, licenceEntries, nodeLicence, productEntries } from "./contents.mjs";
import { pack } from "./tar.mjs";

const units = join(import.meta.dirname, "../../deploy/systemd");
const launcher = `#!/bin/sh
LD_LIBRARY_PATH=/usr/lib/axoneme/lib exec /usr/lib/axoneme/bin/node /usr/lib/axoneme/dist/cli.mjs "$@"
`;

/** The C library has to be the machine's: its loader is. */
const isOfGlibc = (name) => /^(ld-linux|lib(c|m|dl|pthread|rt)\.so)/.test(basename(name));

/**
 * @param parts `{version, architecture, node, found, npm, document}`, as for the image.
 * @returns `{name, content}` of the archive.
 */
export async function tarball({ version, architecture, node, found, npm, document }) {
  const top = `axoneme-${version}-linux-${architecture}`;
  const [scripts, texts] = [true, false].map((isScript) =>
    readdirSync(units).filter((name) => name.endsWith(".sh") === isScript),
  );
  const libraries = [...found].filter(([name]) => !isOfGlibc(name));
  const entries = [
    ...productEntries(top, version),
    ...licenceEntries(`${top}/share`, npm),
    file(`${top}/share/node/LICENSE`, nodeLicence()),
    file(`${top}/share/sbom.cdx.json`, document),
    file(`${top}/bin/node`, node, 0o755),
    file(`${top}/axon`, launcher, 0o755),
    ...libraries.map(([name, path]) => file(`${top}/lib/${name}`, readFileSync(path), 0o755)),
    ...texts.map((name) => file(`${top}/systemd/${name}`, readFileSync(join(units, name)))),
    ...scripts.map((name) => file(`${top}/${name}`, readFileSync(join(units, name)), 0o755)),
  ];
  return { name: `${top}.tar.gz`, content: await promisify(gzip)(pack(entries), { level: 6 }) };
}
