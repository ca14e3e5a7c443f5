import { type Prefix, parseIp, parsePrefix, prefixContains, prefixOverlaps } from "@axoneme/base";

/** Label of nodes whose runtime uses our network. */
export const switchLabel = "axoneme.io/network=axoneme";

/** A node as the API shows it. */
export interface SeenNode {
  readonly name: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Node.spec.podCIDRs. */
  readonly podCidrs: readonly string[];
  /** CiliumNode.spec.ipam.podCIDRs; empty: no agent of ours has any there. */
  readonly ourCidrs: readonly string[];
}

/** A pod with a network of its own (not of the host). */
export interface SeenPod {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly ip: string;
  /** The kind of what makes it anew; undefined: nothing does. */
  readonly owner: string | undefined;
}

/** What a plan is made from. */
export interface Seen {
  readonly nodes: readonly SeenNode[];
  readonly pods: readonly SeenPod[];
  /** Enabled Calico IPPools' CIDRs. */
  readonly calicoPools: readonly string[];
  /** Blocks that our pod CIDRs are cut from. */
  readonly ourPools: readonly string[];
  /** kube-proxy's mode; undefined: none runs. */
  readonly kubeProxy: string | undefined;
}

/** One node's part of the plan. */
export interface NodePlan {
  readonly node: string;
  /** "flannel (vxlan)", "calico", "unknown". */
  readonly network: string;
  readonly podCidrs: readonly string[];
  readonly isSwitched: boolean;
  /** Pods that have to be made anew, as namespace/name. */
  readonly recreate: readonly string[];
  /** Those among them that nothing makes anew. */
  readonly bare: readonly string[];
  readonly steps: readonly Step[];
}

/** Something to do, and what to expect of it. */
export interface Step {
  readonly run: string;
  readonly effect: string;
}

/** How a cluster moves to our network. */
export interface Plan {
  /** What has to be mended first: the steps would cut connections. */
  readonly problems: readonly string[];
  readonly before: readonly Step[];
  readonly nodes: readonly NodePlan[];
  readonly after: readonly Step[];
}

/** The plan of a migration, of what is seen. Pure. */
export function planOf(seen: Seen): Plan {
  const foreign = foreignCidrs(seen);
  return {
    problems: problemsOf(seen, foreign),
    before: beforeSteps(seen, foreign),
    nodes: seen.nodes.map((node) => nodePlan(node, seen.pods)),
    after: afterSteps(seen),
  };
}

/** Pod CIDRs of the other network, each once. */
export function foreignCidrs({ nodes, calicoPools }: Seen): string[] {
  const isCalico = calicoPools.length > 0;
  return [...new Set(isCalico ? calicoPools : nodes.flatMap(({ podCidrs }) => podCidrs))];
}

/** Which network a node's annotations tell of. */
export function networkOf(annotations: Readonly<Record<string, string>>): string {
  const flannel = annotations["flannel.alpha.coreos.com/backend-type"];
  if (flannel !== undefined) return `flannel (${flannel})`;
  const isCalico = Object.keys(annotations).some((key) => key.startsWith("projectcalico.org/"));
  return isCalico ? "calico" : "unknown";
}

function problemsOf({ nodes, ourPools }: Seen, foreign: readonly string[]): string[] {
  const ours = [...new Set([...ourPools, ...nodes.flatMap(({ ourCidrs }) => ourCidrs)])];
  return ours.flatMap((our) =>
    foreign
      .filter((other) => prefixOverlaps(parsePrefix(our), parsePrefix(other)))
      .map(
        (other) =>
          `pod CIDR ${our} of ours overlaps ${other} of the other network: choose another with ipam.operator.clusterPoolIPv4PodCIDRList`,
      ),
  );
}

function beforeSteps({ nodes, kubeProxy }: Seen, foreign: readonly string[]): Step[] {
  const cidrs = foreign.length === 0 ? "" : ` --set extraConfig.non-masquerade-cidrs='${foreign.join(",")}'`;
  const services = kubeProxy === undefined ? "" : " --set kubeProxyReplacement=false";
  // Flannel's VXLAN has the port that is our default.
  const shares = nodes.some(({ annotations }) => networkOf(annotations) === "flannel (vxlan)");
  const port = shares ? " --set tunnelPort=8473" : "";
  return [
    {
      run: `axon install --set cni.exclusive=true --set extraConfig.cni-write-conf=false${cidrs}${services}${port}`,
      effect: "agents run beside the other network; no pod uses them",
    },
    {
      run: `axon config set cni-write-conf=true -l ${switchLabel} --name switched`,
      effect: "nodes with this label use our network: none yet",
    },
  ];
}

function nodePlan(node: SeenNode, pods: readonly SeenPod[]): NodePlan {
  const { name, annotations, labels, podCidrs, ourCidrs } = node;
  const ours = ourCidrs.map((text) => parsePrefix(text));
  const old = pods.filter((pod) => pod.node === name && !isWithin(pod.ip, ours));
  const isSwitched = labels["axoneme.io/network"] === "axoneme";
  const recreate = old.map((pod) => `${pod.namespace}/${pod.name}`);
  const bare = old.filter(({ owner }) => owner === undefined).map((pod) => `${pod.namespace}/${pod.name}`);
  const steps = isSwitched && recreate.length === 0 ? [] : nodeSteps(name, old);
  return { node: name, network: networkOf(annotations), podCidrs, isSwitched, recreate, bare, steps };
}

function isWithin(text: string, prefixes: readonly Prefix[]): boolean {
  const ip = parseIp(text);
  return prefixes.some((prefix) => prefixContains(prefix, ip));
}

function nodeSteps(name: string, old: readonly SeenPod[]): Step[] {
  const bare = old.filter(({ owner }) => owner === undefined);
  const stay = old.filter(({ owner }) => owner === "DaemonSet");
  const force = bare.length > 0 ? " --force" : "";
  const lost = bare.length > 0 ? `; ${bare.length} that nothing makes anew are gone for good` : "";
  const anew = stay.map((pod) => ({
    run: `kubectl -n ${pod.namespace} delete pod ${pod.name}`,
    effect: "its DaemonSet makes it anew, in our network",
  }));
  return [
    {
      run: `kubectl drain ${name} --ignore-daemonsets --delete-emptydir-data${force}`,
      effect: `${old.length - stay.length} pods move to other nodes${lost}`,
    },
    { run: `kubectl label node ${name} ${switchLabel}`, effect: "its agent writes the CNI configuration" },
    ...anew,
    {
      run: `kubectl uncordon ${name}`,
      effect: `back again: drain, kubectl label node ${name} axoneme.io/network-, uncordon`,
    },
  ];
}

function afterSteps({ kubeProxy }: Seen): Step[] {
  const done = {
    run: "axon upgrade --set extraConfig.cni-write-conf=true",
    effect: "nodes that come later are ours; then remove the other network's DaemonSet",
  };
  if (kubeProxy === undefined) return [done];
  return [
    done,
    {
      run: "axon upgrade --set kubeProxyReplacement=true --set k8sServiceHost=ADDRESS --set k8sServicePort=PORT",
      effect: `agents balance all Services beside the kube-proxy (${kubeProxy}); ADDRESS is the API server's own`,
    },
    {
      run: "kubectl -n kube-system rollout status daemonset/axoneme && kubectl -n kube-system delete daemonset kube-proxy",
      effect: "then on each node: kube-proxy --cleanup takes its rules away",
    },
  ];
}
