// Images by the OCI image specification 1.1: blobs by their digest, an index, all in one archive.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { pack } from "./tar.mjs";

const compress = promisify(gzip);
const type = (name) => `application/vnd.oci.image.${name}`;
const architectures = { x64: "amd64", arm64: "arm64" };

export const sha256 = (content) => createHash("sha256").update(content).digest("hex");

/** This machine's architecture, by the name that images have for it. */
export function architecture() {
  const name = architectures[process.arch];
  if (name === undefined) throw new Error(`images for ${process.arch} are not made`);
  return name;
}

/** Compressed bytes are kept by the hash of what they are of: what did not change is not compressed again. */
async function compressed(content, cache) {
  const kept = join(cache, `${sha256(content)}.gz`);
  if (existsSync(kept)) return readFileSync(kept);
  const bytes = await compress(content, { level: 6 });
  mkdirSync(cache, { recursive: true });
  writeFileSync(`${kept}.${process.pid}`, bytes);
  renameSync(`${kept}.${process.pid}`, kept);
  return bytes;
}

/**
 * Makes an image of layers.
 * @param layers `{name, content}`: archives, the lowest first.
 * @param image `{name, created, config, annotations}`; `created` in seconds since 1970.
 * @returns `{archive, digest, layers: {name, size, compressed}}`; the digest is the manifest's, as registries have it.
 */
export async function makeImage(layers, image, cache) {
  const blobs = new Map();
  const keep = (mediaType, content) => {
    const digest = `sha256:${sha256(content)}`;
    blobs.set(digest, content);
    return { mediaType, digest, size: content.length };
  };
  const keepJson = (mediaType, value) => keep(mediaType, Buffer.from(JSON.stringify(value)));
  const created = new Date(image.created * 1000).toISOString().replace(".000Z", "Z");
  const packed = await Promise.all(layers.map(({ content }) => compressed(content, cache)));
  const config = keepJson(type("config.v1+json"), {
    created,
    architecture: architecture(),
    os: "linux",
    config: image.config,
    rootfs: { type: "layers", diff_ids: layers.map(({ content }) => `sha256:${sha256(content)}`) },
    history: layers.map(({ name }) => ({ created, created_by: `axoneme: ${name}` })),
  });
  const manifest = keepJson(type("manifest.v1+json"), {
    schemaVersion: 2,
    mediaType: type("manifest.v1+json"),
    config,
    layers: packed.map((content) => keep(type("layer.v1.tar+gzip"), content)),
    annotations: { ...image.annotations, "org.opencontainers.image.created": created },
  });
  const [, tag = ""] = /:([^:/]+)$/.exec(image.name) ?? [];
  const index = {
    schemaVersion: 2,
    mediaType: type("index.v1+json"),
    manifests: [
      {
        ...manifest,
        platform: { architecture: architecture(), os: "linux" },
        annotations: { "io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": tag },
      },
    ],
  };
  const file = (path, content) => ({ path, kind: "file", mode: 0o644, content: Buffer.from(content) });
  const archive = pack([
    file("oci-layout", '{"imageLayoutVersion":"1.0.0"}'),
    file("index.json", JSON.stringify(index)),
    ...[...blobs].map(([digest, content]) => file(`blobs/${digest.replace(":", "/")}`, content)),
  ]);
  return {
    archive,
    digest: manifest.digest,
    layers: layers.map(({ name, content }, i) => ({
      name,
      size: content.length,
      compressed: packed[i]?.length ?? 0,
    })),
  };
}
