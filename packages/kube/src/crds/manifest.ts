import type { CustomResourceDefinition } from "kubernetes-types/apiextensions/v1";
import type { Schema } from "./schema.ts";

/** Which generation of the field's schemas ours answer to; other tools look at this label. */
const schemaVersion = { "io.cilium.k8s.crd.schema.version": "1.34.2" };

interface PrinterColumn {
  readonly name: string;
  readonly type: "string" | "integer" | "boolean" | "date";
  readonly jsonPath: string;
  /** Shown with `-o wide` only. */
  readonly priority?: number;
  readonly description?: string;
}

export interface CrdDefinition {
  /** Default cilium.io. */
  readonly group?: "cilium.io" | "axoneme.io";
  /** The version that is stored; default v2. */
  readonly version?: string;
  /** Former names of the version, served with the same schema and a warning. */
  readonly alsoServed?: readonly string[];
  readonly kind: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly scope: "Namespaced" | "Cluster";
  readonly categories?: readonly string[];
  readonly printerColumns: readonly PrinterColumn[];
  /** { status: {} } to have the status written apart from the rest. */
  readonly subresources?: { readonly status?: object };
  readonly schema: Schema;
}

/** A CustomResourceDefinition, ready to be applied. */
export function crd(definition: CrdDefinition): CustomResourceDefinition {
  const { kind, plural, shortNames, scope, categories = ["cilium"], printerColumns } = definition;
  const { group = "cilium.io", version = "v2", alsoServed = [] } = definition;
  const standard = { apiVersion: { type: "string" }, kind: { type: "string" } };
  const { properties, ...limits } = definition.schema;
  const manifest = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}`, ...(group === "cilium.io" ? { labels: schemaVersion } : {}) },
    spec: {
      group,
      scope,
      names: { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase(), shortNames, categories },
      versions: [version, ...alsoServed].map((name, at) => ({
        name,
        served: true,
        storage: at === 0,
        ...(at === 0 ? {} : former(`${group}/${name}`, kind, `${group}/${version}`)),
        schema: { openAPIV3Schema: { ...limits, properties: { ...standard, ...properties } } },
        additionalPrinterColumns: printerColumns,
        subresources: definition.subresources ?? {},
      })),
    },
  };
  // A copy without shared parts: what holds manifests may change or serialise them as it likes.
  return JSON.parse(JSON.stringify(manifest)) as CustomResourceDefinition;
}

function former(apiVersion: string, kind: string, now: string): object {
  return { deprecated: true, deprecationWarning: `${apiVersion} ${kind} is deprecated; use ${now}` };
}
