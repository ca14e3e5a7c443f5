import { builtinResources, type KubeClient } from "@axoneme/kube";

/**
 * Whether a pod that was on a node, and whose object is gone, runs there no more: the node is gone, or its kubelet has
 * not reported that it is ready. Whoever removed the Pod of such a node without its kubelet's word says that it is dead.
 */
export async function isDead(client: KubeClient, name: string): Promise<boolean> {
  const node = await client.resource(builtinResources.nodes).find(name, { deadlineMs: 5000 });
  const ready = node?.status?.conditions?.find(({ type }) => type === "Ready");
  return ready?.status !== "True";
}
