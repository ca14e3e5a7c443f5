// What an image is made of, as a CycloneDX 1.6 document.
import { createHash } from "node:crypto";

const property = (name, value) => ({ name: `axoneme:${name}`, value });

/** As SPDX has it: an identifier, or an expression. */
const licenceOf = (spdx) =>
  / (AND|OR|WITH) /.test(spdx) ? [{ expression: spdx }] : [{ license: { id: spdx } }];

function debian({ name, version, architecture, licences, files, linked = [] }, release) {
  return {
    type: "library",
    "bom-ref": `deb/${name}`,
    name,
    version,
    licenses: licences.map((words) => ({ license: { name: words } })),
    purl: `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}&distro=${release}`,
    properties: [
      ...files.map((file) => property("file", file)),
      ...linked.map((file) => property("linked-into", file)),
    ],
  };
}

function npm({ name, version, licence, integrity, programs }) {
  const [, sha512] = /^sha512-(.+)$/.exec(integrity ?? "") ?? [];
  return {
    type: "library",
    "bom-ref": `npm/${name}@${version}`,
    name,
    version,
    ...(sha512 && { hashes: [{ alg: "SHA-512", content: Buffer.from(sha512, "base64").toString("hex") }] }),
    licenses: licenceOf(licence),
    purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
    properties: programs.map((program) => property("bundled-into", program)),
  };
}

/** Node.js, and the libraries it says it was built with. */
function node({ version, sha256, versions }) {
  const parts = Object.entries(versions)
    .filter(
      ([name, part]) => name !== "node" && name !== "modules" && name !== "napi" && typeof part === "string",
    )
    .map(([name, part]) => ({
      type: "library",
      "bom-ref": `node/${name}`,
      name,
      version: part,
      purl: `pkg:generic/${name}@${encodeURIComponent(part)}`,
    }));
  return {
    type: "application",
    "bom-ref": "node",
    name: "node",
    version,
    hashes: [{ alg: "SHA-256", content: sha256 }],
    licenses: licenceOf("MIT"),
    purl: `pkg:generic/node@${version}`,
    components: parts,
  };
}

/** A number of its own for each content, the same each time (RFC 9562, version 8). */
function serial(text) {
  const hex = createHash("sha256").update(text).digest("hex");
  return `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/**
 * @param parts `{version, revision, created, release, node, debian, npm}`
 * @returns the document's text.
 */
export function sbom(parts) {
  const body = {
    metadata: {
      timestamp: new Date(parts.created * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": "axoneme",
        name: "axoneme",
        version: parts.version,
        licenses: licenceOf("Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)"),
        properties: [property("revision", parts.revision)],
      },
    },
    components: [
      node(parts.node),
      ...parts.debian.map((each) => debian(each, parts.release)),
      ...parts.npm.map(npm),
    ],
  };
  const document = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: serial(JSON.stringify(body)),
    version: 1,
    ...body,
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
