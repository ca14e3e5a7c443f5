import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** An image of one layer, in the form in which runtimes import images (OCI image layout). */
export interface ImageRequest {
  readonly name: string;
  /** Path in the image -> file of this machine. */
  readonly files: Readonly<Record<string, string>>;
  /** Path in the image -> what the link says. */
  readonly links: Readonly<Record<string, string>>;
  readonly directories: readonly string[];
  readonly command: readonly string[];
}

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/**
 * Writes an image to `<dir>/<name>.tar`, from this machine's files and without a registry; returns the path. All files
 * of one image and time are the same bytes.
 */
export function makeImage(dir: string, request: ImageRequest): string {
  const layout = join(dir, "layout");
  const blobs = join(layout, "blobs", "sha256");
  rmSync(layout, { recursive: true, force: true });
  mkdirSync(blobs, { recursive: true });
  const keep = (mediaType: string, content: Buffer): Blob => {
    const hash = createHash("sha256").update(content).digest("hex");
    writeFileSync(join(blobs, hash), content);
    return { mediaType, digest: `sha256:${hash}`, size: content.length };
  };
  const keepJson = (mediaType: string, value: unknown): Blob =>
    keep(mediaType, Buffer.from(JSON.stringify(value)));

  const layer = keep("application/vnd.oci.image.layer.v1.tar", layerOf(dir, request));
  const config = keepJson("application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    config: { Cmd: request.command, Env: ["PATH=/bin"] },
    rootfs: { type: "layers", diff_ids: [layer.digest] },
  });
  const manifest = keepJson("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config,
    layers: [layer],
  });
  const named = { ...manifest, annotations: { "io.containerd.image.name": request.name } };
  writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [named] }));
  writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  const archive = join(dir, "image.tar");
  pack(archive, layout);
  rmSync(layout, { recursive: true });
  return archive;
}

function layerOf(dir: string, { files, links, directories }: ImageRequest): Buffer {
  const root = join(dir, "rootfs");
  const archive = join(dir, "layer.tar");
  rmSync(root, { recursive: true, force: true });
  for (const path of directories) mkdirSync(join(root, path), { recursive: true });
  for (const [path, source] of Object.entries(files)) copyFileSync(source, join(root, path));
  for (const [path, target] of Object.entries(links)) symlinkSync(target, join(root, path));
  pack(archive, root);
  const content = readFileSync(archive);
  rmSync(archive);
  rmSync(root, { recursive: true });
  return content;
}

function pack(archive: string, dir: string): void {
  const same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
  execFileSync("tar", [...same, "-cf", archive, "-C", dir, "."]);
}

/** What tests run in containers: a shell with the usual commands, and the probe. */
export function toolImage(name: string, probe: string): ImageRequest {
  const commands = ["sh", "cat", "echo", "ip", "kill", "nslookup", "sleep", "true", "wget"];
  return {
    name,
    directories: ["bin", "dev", "etc", "proc", "sys", "tmp"],
    files: { "bin/busybox": "/bin/busybox", "bin/axon-probe": probe },
    links: Object.fromEntries(commands.map((command) => [`bin/${command}`, "busybox"])),
    command: ["/bin/sleep", "2147483647"],
  };
}
