import type { CustomResourceDefinition } from "kubernetes-types/apiextensions/v1";
import type { Schema } from "./schema.ts";

/** Which generation of the field's schemas ours answer to; other tools look at this label. */
const schemaVersion = { "io.cilium.k8s.crd.schema.version": "1.34.2" };

interface PrinterColumn {
  readonly name: string;
  readonly type: "string" | "integer" | "date";
  readonly jsonPath: string;
  /** Shown with `-o wide` only. */
  readonly priority?: number;
  readonly description?: string;
}

export interface CrdDefinition {
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

/** A CustomResourceDefinition of group cilium.io, version v2, ready to be applied. */
export function crd(definition: CrdDefinition): CustomResourceDefinition {
  const { kind, plural, shortNames, scope, categories = ["cilium"], printerColumns } = definition;
  const standard = { apiVersion: { type: "string" }, kind: { type: "string" } };
  const { properties, ...limits } = definition.schema;
  const manifest = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.cilium.io`, labels: schemaVersion },
    spec: {
      group: "cilium.io",
      scope,
      names: { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase(), shortNames, categories },
      versions: [
        {
          name: "v2",
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { ...limits, properties: { ...standard, ...properties } } },
          additionalPrinterColumns: printerColumns,
          subresources: definition.subresources ?? {},
        },
      ],
    },
  };
  // A copy without shared parts: what holds manifests may change or serialise them as it likes.
  return JSON.parse(JSON.stringify(manifest)) as CustomResourceDefinition;
}
