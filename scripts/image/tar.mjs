// Archives in the ustar format (POSIX.1-1988), the same bytes for the same entries.

const block = 512;
const types = { file: "0", link: "2", directory: "5" };

/** A name of more than 100 bytes is parted at a slash: the format has a field of 155 bytes for what is before. */
function partName(path) {
  if (Buffer.byteLength(path) <= 100) return { name: path, prefix: "" };
  for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (Buffer.byteLength(prefix) <= 155 && Buffer.byteLength(name) <= 100 && name !== "")
      return { name, prefix };
  }
  throw new Error(`${path} is too long for an archive`);
}

const octal = (value, width) => `${value.toString(8).padStart(width - 1, "0")}\0`;

function headerOf({ path, kind, mode, content, target = "" }, mtime) {
  const header = Buffer.alloc(block);
  const { name, prefix } = partName(kind === "directory" ? `${path}/` : path);
  if (Buffer.byteLength(target) > 100) throw new Error(`the link ${path} says too much for an archive`);
  header.write(name, 0);
  header.write(octal(mode, 8), 100);
  header.write(octal(0, 8), 108);
  header.write(octal(0, 8), 116);
  header.write(octal(content?.length ?? 0, 12), 124);
  header.write(octal(mtime, 12), 136);
  header.write("        ", 148);
  header.write(types[kind], 156);
  header.write(target, 157);
  header.write("ustar\x0000", 257);
  header.write(octal(0, 8), 329);
  header.write(octal(0, 8), 337);
  header.write(prefix, 345);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

/** The directories above entries that are not there themselves. */
function withParents(entries) {
  const all = new Map(entries.map((entry) => [entry.path, entry]));
  for (const { path } of entries) {
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
      const parent = path.slice(0, at);
      if (!all.has(parent)) all.set(parent, { path: parent, kind: "directory", mode: 0o755 });
    }
  }
  return [...all.values()];
}

/**
 * Packs entries: `{path, kind: file|link|directory, mode, content?, target?}`, paths without a slash in front.
 * Everything belongs to root; entries are in the order of their paths, after the directories they are in.
 * @param mtime seconds since 1970, for all.
 */
export function pack(entries, mtime = 0) {
  const sorted = withParents(entries).sort((a, b) =>
    Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)),
  );
  const parts = sorted.flatMap((entry) => {
    const { content = Buffer.alloc(0) } = entry;
    return [headerOf(entry, mtime), content, Buffer.alloc((block - (content.length % block)) % block)];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}
