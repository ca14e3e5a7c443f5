import { strategies } from "../admission/index.ts";
import type { ResourceType, ScalePaths } from "./resource.ts";

interface Row {
  /** `group/version`, or `v1` for the core group. */
  gv: string;
  /** Folder and version of the type table. */
  types: string;
  kind: string;
  plural: string;
  short?: string;
  cluster?: boolean;
  categories?: string[];
  status?: boolean;
  scale?: boolean;
  counted?: boolean;
  extras?: ResourceType["extras"];
}

const podExtras: ResourceType["extras"] = [
  { name: "attach", kind: "PodAttachOptions", verbs: ["create", "get"] },
  { name: "binding", kind: "Binding", verbs: ["create"] },
  { name: "eviction", kind: "Eviction", verbs: ["create"], group: "policy", version: "v1" },
  { name: "exec", kind: "PodExecOptions", verbs: ["create", "get"] },
  { name: "log", kind: "Pod", verbs: ["get"] },
  { name: "portforward", kind: "PodPortForwardOptions", verbs: ["create", "get"] },
];

const core = { gv: "v1", types: "core.v1" };
const apps = { gv: "apps/v1", types: "apps.v1", categories: ["all"], status: true, counted: true };
const batch = { gv: "batch/v1", types: "batch.v1", categories: ["all"], status: true, counted: true };
const networking = { gv: "networking.k8s.io/v1", types: "networking.v1" };
const rbac = { gv: "rbac.authorization.k8s.io/v1", types: "rbac.v1" };
const storage = { gv: "storage.k8s.io/v1", types: "storage.v1", cluster: true };

const rows: readonly Row[] = [
  { ...core, kind: "Pod", plural: "pods", short: "po", categories: ["all"], status: true, extras: podExtras },
  { ...core, kind: "Service", plural: "services", short: "svc", categories: ["all"], status: true },
  { ...core, kind: "Endpoints", plural: "endpoints", short: "ep" },
  { ...core, kind: "Node", plural: "nodes", short: "no", cluster: true, status: true },
  {
    ...core,
    kind: "Namespace",
    plural: "namespaces",
    short: "ns",
    cluster: true,
    status: true,
    extras: [{ name: "finalize", kind: "Namespace", verbs: ["update"] }],
  },
  { ...core, kind: "ConfigMap", plural: "configmaps", short: "cm" },
  { ...core, kind: "Secret", plural: "secrets" },
  {
    ...core,
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    short: "sa",
    extras: [
      {
        name: "token",
        kind: "TokenRequest",
        verbs: ["create"],
        group: "authentication.k8s.io",
        version: "v1",
      },
    ],
  },
  { ...core, kind: "Event", plural: "events", short: "ev" },
  {
    ...core,
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    short: "pv",
    cluster: true,
    status: true,
  },
  { ...core, kind: "PersistentVolumeClaim", plural: "persistentvolumeclaims", short: "pvc", status: true },
  { ...core, kind: "PodTemplate", plural: "podtemplates" },
  {
    ...core,
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    short: "rc",
    categories: ["all"],
    status: true,
    scale: true,
    counted: true,
  },
  { ...core, kind: "LimitRange", plural: "limitranges", short: "limits" },
  { ...core, kind: "ResourceQuota", plural: "resourcequotas", short: "quota", status: true },
  { ...apps, kind: "Deployment", plural: "deployments", short: "deploy", scale: true },
  { ...apps, kind: "ReplicaSet", plural: "replicasets", short: "rs", scale: true },
  { ...apps, kind: "StatefulSet", plural: "statefulsets", short: "sts", scale: true },
  { ...apps, kind: "DaemonSet", plural: "daemonsets", short: "ds" },
  { gv: "apps/v1", types: "apps.v1", kind: "ControllerRevision", plural: "controllerrevisions" },
  { ...batch, kind: "Job", plural: "jobs" },
  { ...batch, kind: "CronJob", plural: "cronjobs", short: "cj" },
  {
    gv: "autoscaling/v1",
    types: "autoscaling.v1",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    short: "hpa",
    categories: ["all"],
    status: true,
  },
  {
    gv: "discovery.k8s.io/v1",
    types: "discovery.v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    counted: true,
  },
  { ...networking, kind: "NetworkPolicy", plural: "networkpolicies", short: "netpol", counted: true },
  { ...networking, kind: "Ingress", plural: "ingresses", short: "ing", status: true, counted: true },
  { ...networking, kind: "IngressClass", plural: "ingressclasses", cluster: true, counted: true },
  { gv: "coordination.k8s.io/v1", types: "coordination.v1", kind: "Lease", plural: "leases" },
  {
    gv: "apiextensions.k8s.io/v1",
    types: "apiextensions.v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    short: "crd crds",
    cluster: true,
    categories: ["api-extensions"],
    status: true,
    counted: true,
  },
  { gv: "events.k8s.io/v1", types: "events.v1", kind: "Event", plural: "events", short: "ev" },
  { ...rbac, kind: "Role", plural: "roles" },
  { ...rbac, kind: "RoleBinding", plural: "rolebindings" },
  { ...rbac, kind: "ClusterRole", plural: "clusterroles", cluster: true },
  { ...rbac, kind: "ClusterRoleBinding", plural: "clusterrolebindings", cluster: true },
  {
    gv: "policy/v1",
    types: "policy.v1",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    short: "pdb",
    status: true,
    counted: true,
  },
  { ...storage, kind: "StorageClass", plural: "storageclasses", short: "sc" },
  { ...storage, kind: "CSIDriver", plural: "csidrivers" },
  { ...storage, kind: "CSINode", plural: "csinodes" },
  { ...storage, kind: "VolumeAttachment", plural: "volumeattachments", status: true },
  {
    gv: "scheduling.k8s.io/v1",
    types: "scheduling.v1",
    kind: "PriorityClass",
    plural: "priorityclasses",
    short: "pc",
    cluster: true,
    counted: true,
  },
];

const replicas: ScalePaths = {
  specReplicasPath: ".spec.replicas",
  statusReplicasPath: ".status.replicas",
  labelSelectorPath: ".spec.selector",
};

function fromRow(row: Row): ResourceType {
  const [first, second] = row.gv.split("/");
  const group = second === undefined ? "" : (first ?? "");
  const version = second ?? first ?? "v1";
  return {
    group,
    plural: row.plural,
    singular: row.kind.toLowerCase(),
    kind: row.kind,
    listKind: `${row.kind}List`,
    namespaced: row.cluster !== true,
    shortNames: row.short?.split(" ") ?? [],
    categories: row.categories ?? [],
    versions: new Map([
      [
        version,
        {
          name: version,
          served: true,
          schema: { ref: `${row.types}.${row.kind}` },
          columns: [],
          status: row.status === true,
          ...(row.scale === true ? { scale: replicas } : {}),
        },
      ],
    ]),
    storageVersion: version,
    builtin: true,
    counted: row.counted === true,
    extras: row.extras ?? [],
    strategy: strategies[`${group}/${row.kind}`] ?? {},
  };
}

/** The kinds the server knows without a CustomResourceDefinition. */
export function builtinResources(): ResourceType[] {
  return rows.map(fromRow);
}
