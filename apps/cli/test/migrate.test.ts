import { describe, expect, it } from "vitest";
import { planOf, type Seen } from "../src/migrate/plan.ts";

const seen: Seen = {
  nodes: [
    {
      name: "n1",
      annotations: { "flannel.alpha.coreos.com/backend-type": "vxlan" },
      labels: {},
      podCidrs: ["10.244.0.0/24"],
      ourCidrs: ["10.9.0.0/24"],
    },
  ],
  pods: [
    { namespace: "a", name: "web", node: "n1", ip: "10.244.0.5", owner: "ReplicaSet" },
    { namespace: "a", name: "log", node: "n1", ip: "10.244.0.6", owner: "DaemonSet" },
    { namespace: "a", name: "bare", node: "n1", ip: "10.244.0.7", owner: undefined },
    { namespace: "a", name: "new", node: "n1", ip: "10.9.0.5", owner: "ReplicaSet" },
  ],
  calicoPools: [],
  ourPools: ["10.9.0.0/16"],
  kubeProxy: undefined,
};
const only = <T>([first]: readonly T[]): T => {
  if (first === undefined) throw new Error("nothing there");
  return first;
};

describe("the plan of a migration", () => {
  it("makes anew the pods of the other network, and says which nothing brings back", () => {
    const plan = planOf(seen);
    expect(plan.problems).toEqual([]);
    const node = only(plan.nodes);
    expect(node).toMatchObject({ network: "flannel (vxlan)", isSwitched: false, bare: ["a/bare"] });
    expect(node.recreate).toEqual(["a/web", "a/log", "a/bare"]);
    expect(node.steps.map(({ run }) => run)).toEqual([
      "kubectl drain n1 --ignore-daemonsets --delete-emptydir-data --force",
      "kubectl label node n1 axoneme.io/network=axoneme",
      "kubectl -n a delete pod log",
      "kubectl uncordon n1",
    ]);
    expect(only(plan.before).run).toContain("non-masquerade-cidrs='10.244.0.0/24' --set tunnelPort=8473");
  });

  it("tells of pod CIDRs that both would use, Calico's pools among them", () => {
    expect(planOf({ ...seen, ourPools: ["10.0.0.0/8"] }).problems).toEqual([
      expect.stringContaining("10.0.0.0/8 of ours overlaps 10.244.0.0/24"),
    ]);
    expect(planOf({ ...seen, calicoPools: ["10.9.128.0/17"] }).problems).toHaveLength(1);
  });

  it("leaves Services to a kube-proxy until all nodes are switched", () => {
    const plan = planOf({ ...seen, kubeProxy: "ipvs" });
    expect(only(plan.before).run).toContain("kubeProxyReplacement=false");
    expect(plan.after.map(({ run }) => run).join()).toMatch(
      /kubeProxyReplacement=true.*delete daemonset kube-proxy/,
    );
  });

  it("has no steps for a node that is done", () => {
    const nodes = seen.nodes.map((node) => ({ ...node, labels: { "axoneme.io/network": "axoneme" } }));
    expect(only(planOf({ ...seen, nodes, pods: [] }).nodes)).toMatchObject({ isSwitched: true, steps: [] });
  });
});
