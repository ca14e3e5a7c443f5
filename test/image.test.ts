/** The image of `make image`: what is in it, and that it is the same bytes each time. */
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, it } from "vitest";
import { agentCapabilities } from "../deploy/source/kubernetes/index.ts";
import { root, run } from "./support/command.ts";

interface Blob {
  readonly digest: string;
  readonly size: number;
}

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
}

const dir = mkdtempSync(join(tmpdir(), "axon-image-"));
afterAll(() => rmSync(dir, { recursive: true }));

/** Makes the image; `more` says where it may take layers from. */
async function make(out: string, umask: string, ...more: string[]): Promise<void> {
  const line = `umask ${umask}; exec "$@"`;
  const image = [process.execPath, join(root, "scripts/image.mjs"), "--out", join(dir, out), ...more];
  const { code, stderr } = await run("/bin/sh", ["-c", line, "sh", ...image], { timeoutMs: 60_000 });
  expect(code, stderr).toBe(0);
}

/** Unpacks with tar, which knows nothing of our writing. */
async function unpack(archive: string, to: string): Promise<void> {
  const { code, stderr } = await run("tar", ["-xf", archive, "-C", to, "--no-same-owner"]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
}

const blobPath = ({ digest }: Blob): string => join(dir, "layout/blobs", digest.replace(":", "/"));
const json = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));
const hash = (content: Buffer): string => `sha256:${createHash("sha256").update(content).digest("hex")}`;

/** Lines of `tar -tv` of each layer. */
let listed: string[] = [];
let manifest: { layers: Blob[]; config: Blob; annotations: Record<string, string> };

beforeAll(async () => {
  // One as `make image` makes it, one with nothing that was there before.
  await Promise.all([make("a", "022"), make("b", "077", "--cache", join(dir, "layers"))]);
  await run("mkdir", [join(dir, "layout")]);
  await unpack(join(dir, "a/axoneme.tar"), join(dir, "layout"));
  const { manifests } = json(join(dir, "layout/index.json")) as { manifests: [Blob] };
  manifest = json(blobPath(manifests[0])) as typeof manifest;
  const texts = await Promise.all(manifest.layers.map((layer) => run("tar", ["-tvzf", blobPath(layer)])));
  listed = texts.flatMap(({ stdout }) => stdout.trim().split("\n"));
});

it("is the same bytes when it is made again", () => {
  const [a, b] = ["a", "b"].map((out) => readFileSync(join(dir, out, "axoneme.tar")));
  expect(hash(a as Buffer)).toBe(hash(b as Buffer));
  const { manifests } = json(join(dir, "layout/index.json")) as { manifests: [Blob] };
  expect(readFileSync(join(dir, "b/digest"), "utf8").trim()).toBe(manifests[0].digest);
});

it("consists of blobs that are what they are called, and layers that are what its configuration says", () => {
  for (const blob of [...manifest.layers, manifest.config]) {
    const content = readFileSync(blobPath(blob));
    expect({ digest: hash(content), size: content.length }).toEqual({ digest: blob.digest, size: blob.size });
  }
  const { rootfs } = json(blobPath(manifest.config)) as { rootfs: { diff_ids: string[] } };
  expect(manifest.layers.map((layer) => hash(gunzipSync(readFileSync(blobPath(layer)))))).toEqual(
    rootfs.diff_ids,
  );
});

it("takes at most 150 MB of a registry", () => {
  expect(manifest.layers.reduce((sum, { size }) => sum + size, 0)).toBeLessThan(150e6);
});

it("has what the chart starts, owned by root, and no compiler, shell or lab", () => {
  const names = listed.map((line) => line.split(/\s+/)[5] ?? "");
  for (const program of ["agent", "operator", "relay", "ui", "dnsproxy", "cli"])
    expect(names).toContain(`usr/lib/axoneme/dist/${program}.mjs`);
  for (const path of ["usr/bin/node", "usr/bin/axon", "usr/lib/axoneme/build/bin/axoneme-cni", "var/run"])
    expect(names).toContain(path);
  expect(listed.filter((line) => !/^\S+ 0\/0 /.test(line))).toEqual([]);
  expect(listed.filter((line) => !/^\S+ \S+ +\d+ 1970-01-01 /.test(line))).toEqual([]);
  expect(names.filter((name) => /clang|\/sh$|busybox|lab\.mjs|apiserver|\.map$/.test(name))).toEqual([]);
});

it("installs from a tarball too, with the chart's rights, and keeps what was configured", async () => {
  const args = [join(root, "scripts/image.mjs"), "--tarball", "--out", dir];
  expect(await run(process.execPath, args, { timeoutMs: 60_000 })).toMatchObject({ code: 0, stderr: "" });
  const archive = readdirSync(dir).find((file) => file.endsWith(".tar.gz")) ?? "";
  await unpack(join(dir, archive), dir);
  const machine = join(dir, "machine");
  const install = () => run(join(dir, archive.replace(/\.tar\.gz$/, ""), "install.sh"), ["--root", machine]);
  expect(await install()).toMatchObject({ code: 0, stderr: "" });
  const options = join(machine, "etc/axoneme/agent.yaml");
  writeFileSync(options, "kubeconfig: /elsewhere\n");
  expect(await install()).toMatchObject({ code: 0, stderr: "" });
  expect(readFileSync(options, "utf8")).toContain("/elsewhere");
  const home = join(machine, "usr/lib/axoneme");
  const env = { ...process.env, LD_LIBRARY_PATH: join(home, "lib") };
  const said = await run(join(home, "bin/node"), [join(home, "dist/agent.mjs"), "--version"], { env });
  expect(said.stdout).toMatch(/^axoneme-agent \d/);
  const unit = readFileSync(join(machine, "etc/systemd/system/axoneme-agent.service"), "utf8");
  const bounding = agentCapabilities.map((each) => `CAP_${each}`).join(" ");
  expect(unit).toContain(`\nCapabilityBoundingSet=${bounding}\n`);
});

it("lists what it is made of", async () => {
  const { components, metadata } = json(join(dir, "a/sbom.cdx.json")) as {
    components: Component[];
    metadata: { component: Component };
  };
  const { version } = json(join(root, "package.json")) as { version: string };
  expect(metadata.component).toMatchObject({ name: "axoneme", version });
  const purls = components.map(({ purl }) => purl);
  for (const name of ["undici", "pino", "commander", "react-dom", "%40bufbuild/protobuf"])
    expect(purls.some((purl) => purl.startsWith(`pkg:npm/${name}@`))).toBe(true);
  for (const name of ["libc6", "libbpf1", "libelf1", "zlib1g", "ca-certificates"]) {
    const installed = (await run("dpkg-query", ["-W", `-f=\${Version}\n`, name])).stdout.split("\n")[0];
    expect(components.find((each) => each.name === name)?.version).toBe(installed);
  }
  expect(components.find(({ name }) => name === "node")?.version).toBe(process.versions.node);
  expect(purls.filter((purl) => /vitest|esbuild|playwright|kubernetes-types/.test(purl))).toEqual([]);
  const inside = createHash("sha256")
    .update(readFileSync(join(dir, "a/sbom.cdx.json")))
    .digest("hex");
  expect(manifest.annotations["io.axoneme.sbom.sha256"]).toBe(inside);
});
