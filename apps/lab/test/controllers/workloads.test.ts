import type { ControllerRevision, DaemonSet, ReplicaSet, StatefulSet } from "kubernetes-types/apps/v1";
import type { Job } from "kubernetes-types/batch/v1";
import type { Node, Pod } from "kubernetes-types/core/v1";
import { describe, expect, it } from "vitest";
import { reconcileDaemonSet } from "../../src/controllers/daemonset.ts";
import { reconcileJob } from "../../src/controllers/job.ts";
import { condition, isReady, meta, nameOf } from "../../src/controllers/objects.ts";
import { reconcileReplicaSet } from "../../src/controllers/replicaset.ts";
import { reconcileStatefulSet } from "../../src/controllers/statefulset.ts";
import { podNames, World } from "../support/world.ts";

const template = { metadata: { labels: { app: "x" } }, spec: { containers: [{ name: "c", image: "v1" }] } };
const selector = { matchLabels: { app: "x" } };
const image = (name: string) => ({
  spec: { template: { spec: { containers: [{ name: "c", image: name }] } } },
});

function pods(world: World): Pod[] {
  return world.of<Pod>("Pod");
}

describe("a replica set", () => {
  const set: ReplicaSet = {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: { name: "rs", namespace: "default", uid: "rs" },
    spec: { replicas: 2, selector, template },
  };
  const step = (world: World): void =>
    world.run(
      reconcileReplicaSet({
        replicaSet: world.one<ReplicaSet>("ReplicaSet"),
        pods: pods(world),
        now: world.now,
      }),
    );

  it("adopts a matching orphan instead of making a new pod, and lets go of one that no longer matches", () => {
    const world = new World();
    world.add(set);
    world.add<Pod>({ apiVersion: "v1", kind: "Pod", metadata: { name: "orphan", labels: { app: "x" } } });
    step(world);
    expect(pods(world)).toHaveLength(2);
    const orphan = pods(world).find((pod) => nameOf(pod) === "orphan");
    expect(orphan?.metadata?.ownerReferences?.[0]).toMatchObject({ kind: "ReplicaSet", controller: true });
    world.objects.set("Pod/default/orphan", { ...orphan, metadata: { ...orphan?.metadata, labels: {} } });
    step(world);
    expect(pods(world)).toHaveLength(3);
    expect(pods(world).find((pod) => nameOf(pod) === "orphan")?.metadata?.ownerReferences).toEqual([]);
  });

  it("removes pods that are not ready before ready ones", () => {
    const world = new World();
    world.add(set);
    step(world);
    const [first] = pods(world);
    if (first === undefined) throw new Error("no pod");
    world.setReady(first, true);
    world.edit("ReplicaSet", { spec: { replicas: 1 } });
    step(world);
    expect(pods(world).map(nameOf)).toEqual([nameOf(first)]);
  });

  it("counts a pod as available only after minReadySeconds, and asks to look again then", () => {
    const world = new World();
    world.add({ ...set, spec: { ...set.spec, selector, replicas: 1, minReadySeconds: 10 } });
    step(world);
    for (const pod of pods(world)) world.setReady(pod, true);
    world.now += 4_000;
    const view = { replicaSet: world.one<ReplicaSet>("ReplicaSet"), pods: pods(world), now: world.now };
    expect(reconcileReplicaSet(view)).toContainEqual({ verb: "again", afterMs: 6_000 });
    world.now += 6_000;
    step(world);
    expect(world.one<ReplicaSet>("ReplicaSet").status?.availableReplicas).toBe(1);
  });

  it("writes nothing when everything is as it should be", () => {
    const world = new World();
    world.add(set);
    step(world);
    step(world);
    const before = world.writes;
    step(world);
    expect(world.writes).toBe(before);
  });
});

describe("a stateful set", () => {
  const set: StatefulSet = {
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    metadata: { name: "db", namespace: "default", uid: "db" },
    spec: { replicas: 3, serviceName: "db", selector, template },
  };
  const step = (world: World): void => {
    const revisions = world.of<ControllerRevision>("ControllerRevision");
    const statefulSet = world.one<StatefulSet>("StatefulSet");
    world.run(reconcileStatefulSet({ statefulSet, pods: pods(world), revisions, now: world.now }));
  };
  const readyOne = (world: World): void => {
    const pod = pods(world).find((candidate) => !isReady(candidate));
    if (pod !== undefined) world.setReady(pod, true);
  };

  it("creates pods in order, each once its predecessor is ready, and removes them from the end", () => {
    const world = new World();
    world.add(set);
    step(world);
    step(world);
    expect(podNames(pods(world))).toEqual(["db-0"]);
    readyOne(world);
    step(world);
    expect(podNames(pods(world))).toEqual(["db-0", "db-1"]);
    readyOne(world);
    step(world);
    readyOne(world);
    step(world);
    expect(world.one<StatefulSet>("StatefulSet").status).toMatchObject({ replicas: 3, readyReplicas: 3 });
    world.edit("StatefulSet", { spec: { replicas: 1 } });
    step(world);
    expect(podNames(pods(world))).toEqual(["db-0", "db-1"]);
    step(world);
    expect(podNames(pods(world))).toEqual(["db-0"]);
  });

  it("creates all at once with Parallel", () => {
    const world = new World();
    world.add({
      ...set,
      spec: {
        ...set.spec,
        selector,
        template,
        serviceName: "db",
        replicas: 3,
        podManagementPolicy: "Parallel",
      },
    });
    step(world);
    expect(podNames(pods(world))).toEqual(["db-0", "db-1", "db-2"]);
  });

  it("updates from the highest ordinal down, and not below the partition", () => {
    const world = new World();
    world.add({ ...set, spec: { ...set.spec, selector, template, serviceName: "db", replicas: 2 } });
    for (let i = 0; i < 6; i++) {
      step(world);
      readyOne(world);
    }
    world.edit("StatefulSet", { spec: { updateStrategy: { rollingUpdate: { partition: 1 } } } });
    world.edit("StatefulSet", image("v2"));
    for (let i = 0; i < 8; i++) {
      step(world);
      readyOne(world);
    }
    const images = Object.fromEntries(
      pods(world).map((pod) => [nameOf(pod), pod.spec?.containers[0]?.image]),
    );
    expect(images).toEqual({ "db-0": "v1", "db-1": "v2" });
    // A pod below the partition that is lost comes back with the template it had.
    world.objects.delete("Pod/default/db-0");
    step(world);
    expect(pods(world).find((pod) => nameOf(pod) === "db-0")?.spec?.containers[0]?.image).toBe("v1");
  });
});

describe("a daemon set", () => {
  const set: DaemonSet = {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name: "ds", namespace: "default", uid: "ds" },
    spec: { selector, template },
  };
  const node = (name: string, taints: NonNullable<Node["spec"]>["taints"] = []): Node => ({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: { "kubernetes.io/hostname": name } },
    spec: { taints },
  });
  const step = (world: World, nodes: Node[]): void => {
    const revisions = world.of<ControllerRevision>("ControllerRevision");
    const daemonSet = world.one<DaemonSet>("DaemonSet");
    world.run(reconcileDaemonSet({ daemonSet, pods: pods(world), nodes, revisions, now: world.now }));
  };

  it("has one pod on every node that fits, and follows the nodes", () => {
    const world = new World();
    world.add(set);
    const dedicated = node("n3", [{ key: "dedicated", effect: "NoSchedule", value: "x" }]);
    step(world, [node("n1"), node("n2"), dedicated]);
    expect(
      pods(world)
        .map((pod) => pod.spec?.nodeName)
        .sort(),
    ).toEqual(["n1", "n2"]);
    step(world, [node("n1")]);
    expect(pods(world).map((pod) => pod.spec?.nodeName)).toEqual(["n1"]);
  });

  it("keeps its pod on a node that is not ready for a moment", () => {
    const world = new World();
    world.add(set);
    step(world, [node("n1")]);
    const [before] = podNames(pods(world));
    const taints = ["NoSchedule", "NoExecute"].map((effect) => ({
      key: "node.kubernetes.io/not-ready",
      effect,
    }));
    step(world, [node("n1", taints)]);
    expect(podNames(pods(world))).toEqual([before]);
  });

  it("replaces one available pod at a time", () => {
    const world = new World();
    world.add(set);
    const nodes = [node("n1"), node("n2"), node("n3")];
    step(world, nodes);
    for (const pod of pods(world)) world.setReady(pod, true);
    world.edit("DaemonSet", image("v2"));
    for (let i = 0; i < 10; i++) {
      step(world, nodes);
      expect(pods(world).filter(isReady).length).toBeGreaterThanOrEqual(2);
      for (const pod of pods(world)) if (!isReady(pod)) world.setReady(pod, true);
    }
    expect(pods(world).every((pod) => pod.spec?.containers[0]?.image === "v2")).toBe(true);
    expect(world.one<DaemonSet>("DaemonSet").status).toMatchObject({
      updatedNumberScheduled: 3,
      numberAvailable: 3,
    });
  });
});

describe("a job", () => {
  const job: Job = {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: "j", namespace: "default", uid: "j" },
    spec: { completions: 3, parallelism: 2, backoffLimit: 1, selector, template },
  };
  const step = (world: World): void =>
    world.run(reconcileJob({ job: world.one<Job>("Job"), pods: pods(world), now: world.now }));

  it("runs as many pods at once as parallelism says, until enough have succeeded", () => {
    const world = new World();
    world.add(job);
    for (let i = 0; i < 10; i++) {
      step(world);
      const active = pods(world).filter((pod) => pod.status?.phase === undefined);
      expect(active.length).toBeLessThanOrEqual(2);
      if (active[0] !== undefined) world.setPhase(active[0], "Succeeded");
    }
    const { status } = world.one<Job>("Job");
    expect(status).toMatchObject({ succeeded: 3, active: 0 });
    expect(condition(status?.conditions, "Complete")?.status).toBe("True");
    expect(status?.completionTime).toBeDefined();
  });

  it("fails after backoffLimit failures and stops what still runs", () => {
    const world = new World();
    world.add(job);
    for (let i = 0; i < 6; i++) {
      step(world);
      const active = pods(world).find((pod) => pod.status?.phase === undefined);
      if (active !== undefined) world.setPhase(active, "Failed");
      world.now += 400_000;
    }
    const { status } = world.one<Job>("Job");
    expect(condition(status?.conditions, "Failed")).toMatchObject({
      status: "True",
      reason: "BackoffLimitExceeded",
    });
    expect(pods(world).filter((pod) => pod.status?.phase === undefined)).toEqual([]);
  });

  it("waits before it replaces a failed pod", () => {
    const world = new World();
    world.add({ ...job, spec: { selector, template, completions: 1, parallelism: 1, backoffLimit: 5 } });
    step(world);
    for (const pod of pods(world)) world.setPhase(pod, "Failed");
    step(world);
    const view = { job: world.one<Job>("Job"), pods: pods(world), now: world.now };
    expect(reconcileJob(view)).toContainEqual({ verb: "again", afterMs: 10_000 });
  });

  it("gives each pod of an indexed job its own index", () => {
    const world = new World();
    world.add({
      ...job,
      spec: { selector, template, completions: 3, parallelism: 3, completionMode: "Indexed" },
    });
    step(world);
    const indexes = pods(world).map(
      (pod) => meta(pod).annotations?.["batch.kubernetes.io/job-completion-index"],
    );
    expect(indexes.sort()).toEqual(["0", "1", "2"]);
  });
});
