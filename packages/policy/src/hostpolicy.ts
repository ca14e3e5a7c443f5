import { type Labels, labelKeys } from "@axoneme/identity";
import type { Raw, Reader } from "./reader.ts";
import type { Policy, PolicySpec, Rule } from "./rule.ts";
import { exists, type Selector } from "./selector.ts";

/** Nodes by the labels of their Node objects: the subject of a host policy. */
export function hostSubject({ requirements }: Selector): Selector {
  return { requirements: [...requirements, exists("reserved", "host")] };
}

/** Pods wherever they are, but never the node itself: the subject of a cluster-wide policy about endpoints. */
export function podSubject({ requirements }: Selector): Selector {
  const notTheHost = { source: "reserved", key: "host", op: "DoesNotExist", values: [] } as const;
  return { requirements: [...requirements, notTheHost] };
}

/** Labels by which host policies select a node, of its Node object: none that would make it look like a pod. */
export function hostLabels(labels: Readonly<Record<string, string>>, isApiServer: boolean): Labels {
  const own = Object.entries(labels)
    .filter(([key]) => key !== labelKeys.namespace && !key.startsWith("io.cilium.k8s."))
    .map(([key, value]) => [`k8s:${key}`, value]);
  return {
    ...Object.fromEntries(own),
    "reserved:host": "",
    ...(isApiServer && { "reserved:kube-apiserver": "" }),
  };
}

/** Whether the body of a policy is about nodes. */
export function isHostSubject({ nodeSelector }: Raw): boolean {
  return nodeSelector !== undefined && nodeSelector !== null;
}

/** A body about nodes. The DNS proxy serves pods only: rules that would need it allow nothing here. */
export function hostSpec(reader: Reader, spec: PolicySpec): PolicySpec {
  const withoutProxy = (rule: Rule): Rule => {
    if (rule.dns === undefined) return rule;
    reader.unsupported(rule.path, "DNS rules are for pods: in a host policy the port rule selects nothing");
    return {
      path: rule.path,
      direction: rule.direction,
      verdict: rule.verdict,
      peers: [],
      l4: [],
      named: [],
    };
  };
  return { ...spec, host: true, rules: spec.rules.map(withoutProxy) };
}

/** Whether a policy has a say about nodes. */
export function isHostPolicy({ specs }: Policy): boolean {
  return specs.some(({ host }) => host === true);
}
