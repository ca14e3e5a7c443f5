/** Sentences for `kubectl explain`: the type itself under its name, its fields under `<type>.<field>`. */
const texts: Readonly<Record<string, string>> = {
  "meta.v1.ObjectMeta": "What every object carries: its name, labels, owners and the server's bookkeeping.",
  "meta.v1.ObjectMeta.name": "Unique among the objects of this kind in the namespace. Cannot be changed.",
  "meta.v1.ObjectMeta.namespace": "The namespace the object lives in; empty for cluster-scoped kinds.",
  "meta.v1.ObjectMeta.labels": "Keys and values that selectors match on.",
  "meta.v1.ObjectMeta.annotations": "Keys and values for tools; selectors do not see them.",
  "meta.v1.ObjectMeta.finalizers": "Names that must all be removed before a deleted object really goes away.",
  "meta.v1.ObjectMeta.ownerReferences":
    "The objects this one belongs to; it is collected when all of them are gone.",
  "meta.v1.ObjectMeta.uid":
    "Set by the server; tells apart objects that had the same name at different times.",
  "meta.v1.ObjectMeta.resourceVersion":
    "The version of the object, for optimistic concurrency and watches. Opaque.",
  "meta.v1.ObjectMeta.generation": "Counts the changes of the desired state.",
  "meta.v1.ObjectMeta.creationTimestamp": "When the server stored the object first.",
  "meta.v1.ObjectMeta.deletionTimestamp": "When the object was asked to go, plus its grace period.",
  "meta.v1.ObjectMeta.generateName": "A prefix from which the server makes a unique name when none is given.",
  "meta.v1.ObjectMeta.managedFields": "Which manager set which fields; the base of server-side apply.",
  "core.v1.Pod": "A group of containers on one node that share a network namespace and an IP address.",
  "core.v1.PodSpec": "What is to run in the pod, and where.",
  "core.v1.PodSpec.containers":
    "The containers of the pod; at least one. Cannot be added to or removed from later.",
  "core.v1.PodSpec.initContainers":
    "Containers that run to completion, one after the other, before the others start.",
  "core.v1.PodSpec.nodeName": "The node that runs the pod; empty until it is scheduled.",
  "core.v1.PodSpec.nodeSelector": "Labels a node must have to be chosen.",
  "core.v1.PodSpec.restartPolicy": "Always, OnFailure or Never: what happens when a container ends.",
  "core.v1.PodSpec.serviceAccountName": "The identity towards the API that the pod's processes use.",
  "core.v1.PodSpec.hostNetwork": "Use the node's network namespace instead of one of the pod's own.",
  "core.v1.PodSpec.dnsPolicy": "Where the pod's resolver configuration comes from.",
  "core.v1.PodSpec.terminationGracePeriodSeconds":
    "Seconds between the polite and the forced end on deletion.",
  "core.v1.PodSpec.volumes": "Volumes that the containers may mount.",
  "core.v1.PodSpec.tolerations": "Taints of nodes this pod accepts.",
  "core.v1.PodStatus": "What is observed of the pod; written by its node.",
  "core.v1.PodStatus.phase": "Pending, Running, Succeeded, Failed or Unknown.",
  "core.v1.PodStatus.podIP": "The first address of the pod.",
  "core.v1.PodStatus.podIPs": "All addresses of the pod, at most one per family.",
  "core.v1.PodStatus.conditions": "Whether the pod is scheduled, initialised and ready.",
  "core.v1.Container": "One process tree of a pod with its image, environment, ports and probes.",
  "core.v1.Container.name": "Unique within the pod; a DNS label.",
  "core.v1.Container.image": "In a lab: the name of a root filesystem, or empty for the host's.",
  "core.v1.Container.command": "The program and its first arguments, instead of the image's entry point.",
  "core.v1.Container.args": "Arguments for the program.",
  "core.v1.Container.env": "Environment variables.",
  "core.v1.Container.ports":
    "Ports the container listens on; names given here can be used in Services and policies.",
  "core.v1.Container.resources": "What the container asks for and may use at most.",
  "core.v1.Container.livenessProbe": "A check whose failure restarts the container.",
  "core.v1.Container.readinessProbe": "A check whose failure takes the pod out of Services.",
  "core.v1.Container.startupProbe": "A check that must pass once before the other probes begin.",
  "core.v1.Container.volumeMounts": "Where volumes appear in the container's file system.",
  "core.v1.ContainerPort": "A port of a container.",
  "core.v1.ContainerPort.containerPort": "The port number, 1 to 65535.",
  "core.v1.ContainerPort.protocol": "TCP (the default), UDP or SCTP.",
  "core.v1.ContainerPort.name": "A name for the port, unique within the pod.",
  "core.v1.ContainerPort.hostPort": "The port on the node that leads to this one.",
  "core.v1.Service": "A stable address in front of a changing set of pods.",
  "core.v1.ServiceSpec": "Which pods stand behind the service and how it is reached.",
  "core.v1.ServiceSpec.selector":
    "Labels of the pods behind the service; without it, endpoints are written by others.",
  "core.v1.ServiceSpec.ports": "The ports of the service and where they lead.",
  "core.v1.ServiceSpec.type": "ClusterIP (the default), NodePort, LoadBalancer or ExternalName.",
  "core.v1.ServiceSpec.clusterIP":
    "The address of the service; given by the server when empty, None for headless.",
  "core.v1.ServiceSpec.clusterIPs": "All addresses of the service, at most one per family.",
  "core.v1.ServiceSpec.ipFamilies": "IPv4 and IPv6, in order of preference.",
  "core.v1.ServiceSpec.ipFamilyPolicy": "SingleStack, PreferDualStack or RequireDualStack.",
  "core.v1.ServiceSpec.sessionAffinity":
    "ClientIP keeps a client on one backend; None (the default) does not.",
  "core.v1.ServiceSpec.internalTrafficPolicy":
    "Local keeps cluster-internal traffic on backends of the same node.",
  "core.v1.ServiceSpec.externalTrafficPolicy":
    "Local keeps outside traffic on the node it reached, with its source address.",
  "core.v1.ServicePort": "One port of a service.",
  "core.v1.ServicePort.port": "The port clients connect to.",
  "core.v1.ServicePort.targetPort": "The number or name of the pods' port; the same as `port` when left out.",
  "core.v1.ServicePort.nodePort": "The port on every node; given by the server from 30000-32767 when empty.",
  "core.v1.Node": "A machine of the cluster.",
  "core.v1.NodeSpec.podCIDR": "The address range of the pods on this node.",
  "core.v1.NodeSpec.podCIDRs": "The address ranges of the pods on this node, one per family.",
  "core.v1.NodeSpec.taints": "Marks that keep pods away unless they tolerate them.",
  "core.v1.NodeSpec.unschedulable": "No new pods are placed here.",
  "core.v1.Namespace": "A scope for names; deleting it deletes what is in it.",
  "core.v1.ConfigMap": "Configuration as keys and values.",
  "core.v1.Secret": "Keys and values that are not for everyone's eyes, base64-encoded.",
  "core.v1.ServiceAccount": "An identity for the processes of pods.",
  "apps.v1.Deployment":
    "Keeps a number of equal pods running and replaces them step by step when they change.",
  "apps.v1.DeploymentSpec.replicas": "How many pods are wanted; 1 by default.",
  "apps.v1.DeploymentSpec.selector": "Which pods belong to the deployment; must match the template's labels.",
  "apps.v1.DeploymentSpec.template": "The pod to be made.",
  "apps.v1.DeploymentSpec.strategy": "How pods of an old template are replaced.",
  "apps.v1.StatefulSet": "Pods with stable names and numbers, made and removed in order.",
  "apps.v1.DaemonSet": "One pod on every node.",
  "apps.v1.ReplicaSet": "Keeps a number of equal pods running.",
  "batch.v1.Job": "Runs pods until enough of them have succeeded.",
  "discovery.v1.EndpointSlice": "Some of the endpoints behind a service.",
  "networking.v1.NetworkPolicy": "Which connections are allowed for the pods it selects.",
  "networking.v1.NetworkPolicySpec.podSelector":
    "The pods the policy is for; empty selects all of the namespace.",
  "networking.v1.NetworkPolicySpec.ingress": "Who may connect to the selected pods; nobody when empty.",
  "networking.v1.NetworkPolicySpec.egress": "Where the selected pods may connect to; nowhere when empty.",
  "networking.v1.NetworkPolicySpec.policyTypes":
    "Ingress, Egress or both: the directions the policy isolates.",
  "networking.v1.NetworkPolicyPeer": "One kind of other end: pods by labels, or an address range.",
  "networking.v1.Ingress": "HTTP routes from outside to services.",
  "coordination.v1.Lease": "A lock with an expiry; used for leader election and node heartbeats.",
  "apiextensions.v1.CustomResourceDefinition": "Adds a kind of object to the API.",
};

const common: Readonly<Record<string, string>> = {
  apiVersion: "The group and version the object is written in.",
  kind: "The kind of the object.",
  metadata: "Name, namespace, labels and other data that every object has.",
  spec: "The desired state.",
  status: "The observed state, written by the system.",
};

/** The description of a type (`field` empty) or of one of its fields; empty where there is nothing to add. */
export function describe(type: string, field: string): string {
  if (field === "") return texts[type] ?? "";
  return texts[`${type}.${field}`] ?? common[field] ?? "";
}
