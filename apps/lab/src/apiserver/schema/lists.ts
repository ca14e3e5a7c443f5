/**
 * How lists and maps of built-in types merge, which the type table does not say. The first word is the list's type
 * for server-side apply (`map:<keys>`, `set`); `merge:<key>` is the strategic merge key (`merge` alone: a set of
 * scalars). What is not listed is atomic (lists) or merged field by field (maps).
 */
export const listRules: Readonly<Record<string, string>> = {
  "meta.v1.ObjectMeta.finalizers": "set merge",
  "meta.v1.ObjectMeta.ownerReferences": "map:uid merge:uid",
  "core.v1.PodSpec.containers": "map:name merge:name",
  "core.v1.PodSpec.initContainers": "map:name merge:name",
  "core.v1.PodSpec.ephemeralContainers": "map:name merge:name",
  "core.v1.PodSpec.volumes": "map:name merge:name",
  "core.v1.PodSpec.imagePullSecrets": "map:name merge:name",
  "core.v1.PodSpec.hostAliases": "map:ip merge:ip",
  "core.v1.PodSpec.topologySpreadConstraints": "map:topologyKey,whenUnsatisfiable merge:topologyKey",
  "core.v1.PodSpec.schedulingGates": "map:name merge:name",
  "core.v1.PodSpec.resourceClaims": "map:name merge:name",
  "core.v1.Container.env": "map:name merge:name",
  "core.v1.Container.ports": "map:containerPort,protocol merge:containerPort",
  "core.v1.Container.volumeMounts": "map:mountPath merge:mountPath",
  "core.v1.Container.volumeDevices": "map:devicePath merge:devicePath",
  "core.v1.EphemeralContainer.env": "map:name merge:name",
  "core.v1.EphemeralContainer.ports": "map:containerPort,protocol merge:containerPort",
  "core.v1.EphemeralContainer.volumeMounts": "map:mountPath merge:mountPath",
  "core.v1.EphemeralContainer.volumeDevices": "map:devicePath merge:devicePath",
  "core.v1.ResourceRequirements.claims": "map:name",
  "core.v1.PodStatus.conditions": "map:type merge:type",
  "core.v1.PodStatus.podIPs": "map:ip merge:ip",
  "core.v1.PodStatus.hostIPs": "atomic merge:ip",
  "core.v1.PodStatus.resourceClaimStatuses": "map:name merge:name",
  "core.v1.ServiceSpec.ports": "map:port,protocol merge:port",
  "core.v1.ServiceStatus.conditions": "map:type merge:type",
  "core.v1.ServiceAccount.secrets": "map:name merge:name",
  "core.v1.NodeSpec.podCIDRs": "set merge",
  // Kubernetes says map:type and yet takes two addresses of one type: every dual-stack node has them.
  "core.v1.NodeStatus.addresses": "map:type,address merge:type",
  "core.v1.NodeStatus.conditions": "map:type merge:type",
  "core.v1.NamespaceStatus.conditions": "map:type merge:type",
  "core.v1.PersistentVolumeClaimStatus.conditions": "map:type merge:type",
  "core.v1.ReplicationControllerStatus.conditions": "map:type merge:type",
  "apps.v1.DeploymentStatus.conditions": "map:type merge:type",
  "apps.v1.ReplicaSetStatus.conditions": "map:type merge:type",
  "apps.v1.StatefulSetStatus.conditions": "map:type merge:type",
  "apps.v1.DaemonSetStatus.conditions": "map:type merge:type",
  "batch.v1.JobStatus.conditions": "atomic merge:type",
  "policy.v1.PodDisruptionBudgetStatus.conditions": "map:type merge:type",
  "apiextensions.v1.CustomResourceDefinitionStatus.conditions": "map:type",
  "storage.v1.CSINodeSpec.drivers": "map:name merge:name",
};

/** Types whose values are replaced whole by server-side apply. */
export const atomicTypes: ReadonlySet<string> = new Set([
  "meta.v1.LabelSelector",
  "core.v1.LocalObjectReference",
  "core.v1.ObjectReference",
  "core.v1.TypedLocalObjectReference",
  "core.v1.NodeSelector",
  "core.v1.NodeSelectorTerm",
  "core.v1.TopologySelectorTerm",
  "core.v1.ConfigMapKeySelector",
  "core.v1.SecretKeySelector",
  "core.v1.ObjectFieldSelector",
  "core.v1.ResourceFieldSelector",
  "core.v1.ScopeSelector",
  "rbac.v1.RoleRef",
]);

/** Maps of scalars that are replaced whole by server-side apply. */
export const atomicMaps: ReadonlySet<string> = new Set([
  "core.v1.ServiceSpec.selector",
  "core.v1.PodSpec.nodeSelector",
  "core.v1.ReplicationControllerSpec.selector",
]);

/** Values a list key takes where the item leaves it out. */
export const keyDefaults: Readonly<Record<string, string>> = { protocol: "TCP" };
