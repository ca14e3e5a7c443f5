import {
  builtinResources,
  defineResource,
  isNotFound,
  type KubeClient,
  type KubeObject,
  resources,
} from "@axoneme/kube";
import { names } from "../../../../deploy/source/kubernetes/index.ts";
import { operatorOptions } from "../../../operator/src/options.ts";
import type { Seen, SeenNode, SeenPod } from "./plan.ts";

interface IPPool extends KubeObject {
  spec?: { cidr?: string; disabled?: boolean };
}
const ipPools = defineResource<IPPool>("crd.projectcalico.org/v1", "ippools", "IPPool", "Cluster");

/** Reads what a migration is planned from; changes nothing. */
export async function see(client: KubeClient, namespace: string, signal: AbortSignal): Promise<Seen> {
  const [nodes, pods, calicoPools, ourPools, kubeProxy] = await Promise.all([
    seeNodes(client, signal),
    seePods(client, signal),
    seeCalico(client, signal),
    seeOurPools(client, namespace),
    seeKubeProxy(client, signal),
  ]);
  return { nodes, pods, calicoPools, ourPools, kubeProxy };
}

async function none<T extends { readonly items: readonly unknown[] }>(list: Promise<T>): Promise<T["items"]> {
  try {
    return (await list).items;
  } catch (error) {
    // The definition is not there: nothing of it is.
    if (isNotFound(error)) return [];
    throw error;
  }
}

async function seeNodes(client: KubeClient, signal: AbortSignal): Promise<SeenNode[]> {
  const { items } = await client.resource(builtinResources.nodes).list({ signal });
  const own = (await none(client.resource(resources.ciliumnodes).list({ signal }))) as {
    metadata?: { name?: string };
    spec: { ipam?: { podCIDRs?: readonly string[] } };
  }[];
  return items.map(({ metadata, spec }) => ({
    name: metadata?.name ?? "",
    annotations: metadata?.annotations ?? {},
    labels: metadata?.labels ?? {},
    podCidrs: spec?.podCIDRs ?? [],
    ourCidrs: own.find((node) => node.metadata?.name === metadata?.name)?.spec.ipam?.podCIDRs ?? [],
  }));
}

async function seePods(client: KubeClient, signal: AbortSignal): Promise<SeenPod[]> {
  const { items } = await client.resource(builtinResources.pods).list({ signal });
  return items.flatMap(({ metadata, spec, status }) => {
    const { nodeName: node, hostNetwork } = spec ?? {};
    const ip = status?.podIP;
    const isOver = status?.phase === "Succeeded" || status?.phase === "Failed";
    if (node === undefined || ip === undefined || hostNetwork === true || isOver) return [];
    const owner = metadata?.ownerReferences?.find(({ controller }) => controller === true)?.kind;
    return [{ namespace: metadata?.namespace ?? "", name: metadata?.name ?? "", node, ip, owner }];
  });
}

async function seeCalico(client: KubeClient, signal: AbortSignal): Promise<string[]> {
  const pools = (await none(client.resource(ipPools).list({ signal }))) as IPPool[];
  return pools.flatMap(({ spec }) => (spec?.cidr === undefined || spec.disabled === true ? [] : [spec.cidr]));
}

/** What the operator cuts from, or would with its defaults. */
async function seeOurPools(client: KubeClient, namespace: string): Promise<readonly string[]> {
  const map = await client.resource(builtinResources.configmaps).find(names.operatorConfig, { namespace });
  const text = map?.data?.["cluster-pool-ipv4-cidr"];
  return text?.split(/[\s,]+/).filter((word) => word !== "") ?? operatorOptions.clusterPoolIpv4Cidrs.default;
}

async function seeKubeProxy(client: KubeClient, signal: AbortSignal): Promise<string | undefined> {
  const labelSelector = "k8s-app=kube-proxy";
  const { items } = await client.resource(builtinResources.pods).list({ labelSelector, signal });
  if (items.length === 0) return undefined;
  const map = await client
    .resource(builtinResources.configmaps)
    .find("kube-proxy", { namespace: "kube-system" });
  const mode = /^mode:\s*"?(\w+)"?\s*$/m.exec(map?.data?.["config.conf"] ?? "")?.[1];
  return mode ?? "iptables";
}
