import { arrayOf, at, type KubeObject, objectOf } from "../object.ts";
import { ageColumn, type Column, nameColumn, pathColumn } from "./columns.ts";

function count(name: string, ...fields: string[]): Column {
  const cell = (object: KubeObject) =>
    fields.reduce((sum, field) => sum + Object.keys(objectOf(object[field])).length, 0);
  return { name, type: "string", cell };
}

/** Kinds that only hold data. */
export const configuration: Readonly<Record<string, readonly Column[]>> = {
  "/configmaps": [nameColumn, count("Data", "data", "binaryData"), ageColumn],
  "/secrets": [nameColumn, pathColumn("Type", "type"), count("Data", "data"), ageColumn],
  "/serviceaccounts": [
    nameColumn,
    { name: "Secrets", type: "string", cell: (object) => arrayOf(object["secrets"]).length },
    ageColumn,
  ],
  "policy/poddisruptionbudgets": [
    nameColumn,
    pathColumn("Min Available", "spec.minAvailable", 0, "string", "N/A"),
    pathColumn("Max Unavailable", "spec.maxUnavailable", 0, "string", "N/A"),
    pathColumn("Allowed Disruptions", "status.disruptionsAllowed", 0, "integer", 0),
    ageColumn,
  ],
};

const createdColumn: Column = {
  name: "Created At",
  type: "date",
  cell: (object) => object.metadata.creationTimestamp ?? "",
};

function roleRef(object: KubeObject): string {
  return `${String(at(object, "roleRef", "kind"))}/${String(at(object, "roleRef", "name"))}`;
}

/** Cluster-scoped kinds and access rules. */
export const clusterKinds: Readonly<Record<string, readonly Column[]>> = {
  "/namespaces": [nameColumn, pathColumn("Status", "status.phase"), ageColumn],
  "apiextensions.k8s.io/customresourcedefinitions": [nameColumn, createdColumn],
  "networking.k8s.io/ingressclasses": [
    nameColumn,
    pathColumn("Controller", "spec.controller"),
    {
      name: "Parameters",
      type: "string",
      cell: (object) => {
        const { kind, name } = objectOf(at(object, "spec", "parameters"));
        return kind === undefined ? "<none>" : `${String(kind)}/${String(name)}`;
      },
    },
    ageColumn,
  ],
  "rbac.authorization.k8s.io/roles": [nameColumn, createdColumn],
  "rbac.authorization.k8s.io/clusterroles": [nameColumn, createdColumn],
  "rbac.authorization.k8s.io/rolebindings": [
    nameColumn,
    { name: "Role", type: "string", cell: roleRef },
    ageColumn,
  ],
  "rbac.authorization.k8s.io/clusterrolebindings": [
    nameColumn,
    { name: "Role", type: "string", cell: roleRef },
    ageColumn,
  ],
  "scheduling.k8s.io/priorityclasses": [
    nameColumn,
    pathColumn("Value", "value", 0, "integer", 0),
    { name: "Global-Default", type: "boolean", cell: (object) => object["globalDefault"] === true },
    ageColumn,
  ],
  "storage.k8s.io/storageclasses": [nameColumn, pathColumn("Provisioner", "provisioner"), ageColumn],
};
