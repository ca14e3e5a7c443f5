import fc from "fast-check";
import type { Deployment, ReplicaSet } from "kubernetes-types/apps/v1";
import type { Pod } from "kubernetes-types/core/v1";
import { describe, expect, it } from "vitest";
import { proportionally, reconcileDeployment } from "../../src/controllers/deployment.ts";
import { condition, isReady } from "../../src/controllers/objects.ts";
import { reconcileReplicaSet } from "../../src/controllers/replicaset.ts";
import { rolloutBounds } from "../../src/controllers/rollout.ts";
import { World } from "../support/world.ts";

function deployment(
  replicas: number,
  rolling: { maxSurge?: number | string; maxUnavailable?: number | string } = {},
): Deployment {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace: "default", uid: "d" },
    spec: {
      replicas,
      selector: { matchLabels: { app: "web" } },
      strategy: { type: "RollingUpdate", rollingUpdate: rolling },
      template: { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "c", image: "v1" }] } },
    },
  };
}

function stepDeployment(world: World): void {
  const view = {
    replicaSets: world.of<ReplicaSet>("ReplicaSet"),
    pods: world.of<Pod>("Pod"),
    now: world.now,
  };
  world.run(reconcileDeployment({ deployment: world.one<Deployment>("Deployment"), ...view }));
}

function stepReplicaSets(world: World): void {
  for (const replicaSet of world.of<ReplicaSet>("ReplicaSet")) {
    world.run(reconcileReplicaSet({ replicaSet, pods: world.of<Pod>("Pod"), now: world.now }));
  }
}

function readyAll(world: World): void {
  for (const pod of world.of<Pod>("Pod")) if (!isReady(pod)) world.setReady(pod, true);
}

/** Runs until nothing is written any more. */
function settle(world: World): void {
  for (let round = 0; round < 500; round++) {
    const before = world.writes;
    stepDeployment(world);
    stepReplicaSets(world);
    readyAll(world);
    if (world.writes === before) return;
  }
  throw new Error("the deployment does not settle");
}

const image = (name: string) => ({
  spec: { template: { spec: { containers: [{ name: "c", image: name }] } } },
});

describe("a deployment", () => {
  it("creates a replica set, and says Available and complete when its pods are ready", () => {
    const world = new World();
    world.add(deployment(3));
    settle(world);
    expect(world.of("ReplicaSet")).toHaveLength(1);
    expect(world.of("Pod")).toHaveLength(3);
    const { status, metadata } = world.one<Deployment>("Deployment");
    expect(status).toMatchObject({
      replicas: 3,
      updatedReplicas: 3,
      availableReplicas: 3,
      unavailableReplicas: 0,
    });
    expect(status?.observedGeneration).toBe(metadata?.generation);
    expect(condition(status?.conditions, "Available")?.status).toBe("True");
    expect(condition(status?.conditions, "Progressing")?.reason).toBe("NewReplicaSetAvailable");
    expect(metadata?.annotations?.["deployment.kubernetes.io/revision"]).toBe("1");
  });

  it("replaces all pods on a new template, and keeps the old set empty for undo", () => {
    const world = new World();
    world.add(deployment(4));
    settle(world);
    world.edit("Deployment", image("v2"));
    settle(world);
    expect(world.of<Pod>("Pod").map((pod) => pod.spec?.containers[0]?.image)).toEqual([
      "v2",
      "v2",
      "v2",
      "v2",
    ]);
    expect(
      world
        .of<ReplicaSet>("ReplicaSet")
        .map((set) => set.spec?.replicas)
        .sort(),
    ).toEqual([0, 4]);
    world.edit("Deployment", image("v1"));
    settle(world);
    // The way back uses the first set again, under a new revision.
    expect(world.of("ReplicaSet")).toHaveLength(2);
    expect(
      world.one<Deployment>("Deployment").metadata?.annotations?.["deployment.kubernetes.io/revision"],
    ).toBe("3");
  });

  it("does not roll out while paused", () => {
    const world = new World();
    world.add(deployment(2));
    settle(world);
    world.edit("Deployment", { spec: { paused: true } });
    world.edit("Deployment", image("v2"));
    settle(world);
    expect(world.of("ReplicaSet")).toHaveLength(1);
    world.edit("Deployment", { spec: { paused: null } });
    settle(world);
    expect(world.of<Pod>("Pod").every((pod) => pod.spec?.containers[0]?.image === "v2")).toBe(true);
  });

  it("with Recreate starts no new pod before the last old one is gone", () => {
    const world = new World();
    world.add({
      ...deployment(3),
      spec: { ...deployment(3).spec, strategy: { type: "Recreate" } } as Deployment["spec"],
    });
    settle(world);
    world.edit("Deployment", image("v2"));
    for (let i = 0; i < 20; i++) {
      stepDeployment(world);
      stepReplicaSets(world);
      const images = new Set(world.of<Pod>("Pod").map((pod) => pod.spec?.containers[0]?.image));
      expect(images.size).toBeLessThanOrEqual(1);
      readyAll(world);
    }
    expect(world.of<Pod>("Pod").map((pod) => pod.spec?.containers[0]?.image)).toEqual(["v2", "v2", "v2"]);
  });

  it("reports ProgressDeadlineExceeded when nothing moves for too long", () => {
    const world = new World();
    world.add(deployment(1));
    stepDeployment(world);
    stepReplicaSets(world);
    stepDeployment(world);
    world.now += 601_000;
    stepDeployment(world);
    const { status } = world.one<Deployment>("Deployment");
    expect(condition(status?.conditions, "Progressing")).toMatchObject({
      status: "False",
      reason: "ProgressDeadlineExceeded",
    });
  });

  it("keeps no more empty sets than revisionHistoryLimit", () => {
    const world = new World();
    world.add(deployment(1));
    world.edit("Deployment", { spec: { revisionHistoryLimit: 1 } });
    for (const version of ["v1", "v2", "v3", "v4"]) {
      world.edit("Deployment", image(version));
      settle(world);
    }
    expect(world.of("ReplicaSet")).toHaveLength(2);
  });

  it("never leaves its bounds, in whatever order things happen, and arrives", () => {
    const amount = fc.oneof(fc.integer({ min: 0, max: 4 }), fc.constantFrom("0%", "25%", "50%", "100%"));
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        amount,
        amount,
        fc.array(fc.constantFrom("deployment", "sets", "ready", "v2", "v3"), {
          minLength: 10,
          maxLength: 80,
        }),
        (replicas, maxSurge, maxUnavailable, events) => {
          const world = new World();
          world.add(deployment(replicas, { maxSurge, maxUnavailable }));
          settle(world);
          const bounds = rolloutBounds(world.one<Deployment>("Deployment"));
          for (const event of events) {
            if (event === "deployment") stepDeployment(world);
            else if (event === "sets") stepReplicaSets(world);
            else if (event === "ready") {
              const pod = world.of<Pod>("Pod").find((candidate) => !isReady(candidate));
              if (pod !== undefined) world.setReady(pod, true);
            } else world.edit("Deployment", image(event));
            const pods = world.of<Pod>("Pod");
            expect(pods.length).toBeLessThanOrEqual(replicas + bounds.maxSurge);
            expect(pods.filter(isReady).length).toBeGreaterThanOrEqual(replicas - bounds.maxUnavailable);
          }
          settle(world);
          const wanted = world.one<Deployment>("Deployment").spec?.template?.spec?.containers[0]?.image;
          expect(world.of<Pod>("Pod").map((pod) => pod.spec?.containers[0]?.image)).toEqual(
            Array.from({ length: replicas }, () => wanted),
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  it("does not count on a pod that it is about to take away", () => {
    const world = new World();
    world.add(deployment(1, { maxSurge: 1, maxUnavailable: 0 }));
    settle(world);
    const step = (event: "deployment" | "sets" | "ready" | "v2" | "v3"): void => {
      if (event === "deployment") stepDeployment(world);
      else if (event === "sets") stepReplicaSets(world);
      else if (event === "ready") {
        const pod = world.of<Pod>("Pod").find((candidate) => !isReady(candidate));
        if (pod !== undefined) world.setReady(pod, true);
      } else world.edit("Deployment", image(event));
    };
    for (const event of [
      "v2",
      "deployment",
      "sets",
      "v3",
      "deployment",
      "deployment",
      "v2",
      "ready",
      "sets",
    ] as const)
      step(event);
    for (let i = 0; i < 9; i++) step("deployment");
    step("sets");
    expect(world.of<Pod>("Pod").filter(isReady).length).toBeGreaterThanOrEqual(1);
  });

  it("scales in the middle of a rollout without losing the way", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: 0, max: 6 }),
        (from, to, steps) => {
          const world = new World();
          world.add(deployment(from));
          settle(world);
          world.edit("Deployment", image("v2"));
          for (let i = 0; i < steps; i++) {
            stepDeployment(world);
            stepReplicaSets(world);
          }
          world.edit("Deployment", { spec: { replicas: to } });
          settle(world);
          expect(world.of("Pod")).toHaveLength(to);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("bounds", () => {
  it("are never both zero, and never above the replica count for unavailability", () => {
    expect(rolloutBounds(deployment(3, { maxSurge: 0, maxUnavailable: 0 }))).toEqual({
      maxSurge: 0,
      maxUnavailable: 1,
    });
    expect(rolloutBounds(deployment(3, { maxSurge: "25%", maxUnavailable: "25%" }))).toEqual({
      maxSurge: 1,
      maxUnavailable: 0,
    });
    expect(rolloutBounds(deployment(2, { maxSurge: 0, maxUnavailable: 7 })).maxUnavailable).toBe(2);
  });
});

describe("proportional scaling", () => {
  it("hands out exactly the target", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 0, max: 200 }),
        (sizes, target) => {
          const sets = sizes.map((replicas, i) => ({
            metadata: { name: `s${i}` },
            spec: { replicas, selector: {} },
          }));
          const shares = proportionally(sets, target);
          expect(shares.reduce((sum, share) => sum + share.replicas, 0)).toBe(target);
          expect(shares.every((share) => share.replicas >= 0)).toBe(true);
        },
      ),
    );
  });
});
