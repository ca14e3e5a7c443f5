import type { Pod } from "@axoneme/kube";
import { expect, it } from "vitest";
import { trimPod } from "../src/endpoint/pods.ts";
import { hostPortsOf, type LocalPodState, LocalPods, localPodOf } from "../src/lb/local-pods.ts";

function pod(ready: boolean, spec: Partial<NonNullable<Pod["spec"]>> = {}): Pod {
  return {
    metadata: { name: "web-0", namespace: "shop", uid: "u1", labels: { app: "web" } },
    spec: {
      containers: [
        {
          name: "web",
          ports: [
            { name: "http", containerPort: 8080, hostPort: 80 },
            { containerPort: 53, hostPort: 53, protocol: "UDP", hostIP: "127.0.0.1" },
            { containerPort: 9090 },
          ],
        },
      ],
      ...spec,
    },
    status: { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] },
  };
}

function localPods() {
  const told: (LocalPodState | undefined)[] = [];
  const pods = new LocalPods((_key, state) => void told.push(state));
  const { onAdd, onUpdate, onDelete } = pods.handlers();
  return {
    told,
    pods,
    see: (object: Pod) => onAdd?.(trimPod(object)),
    change: (object: Pod) => onUpdate?.(trimPod(object), trimPod(object)),
    lose: (object: Pod) => onDelete?.(trimPod(object)),
  };
}

const ref = { namespace: "shop", name: "web-0" };

it("a pod counts once the API shows it and its endpoint is there, whichever comes first", () => {
  for (const first of ["pod", "endpoint"]) {
    const { told, pods, see } = localPods();
    if (first === "pod") see(pod(true));
    pods.endpointUp(ref, ["10.0.0.1", "fd00::1"]);
    if (first === "endpoint") see(pod(true));
    expect(told).toHaveLength(1);
    expect(told[0]?.ips).toEqual(["10.0.0.1", "fd00::1"]);
  }
});

it("only what matters is told again; a pod without an endpoint is gone", () => {
  const { told, pods, see, change, lose } = localPods();
  see(pod(false));
  pods.endpointUp(ref, ["10.0.0.1"]);
  pods.endpointUp(ref, ["10.0.0.1"]);
  change(pod(false));
  expect(told).toHaveLength(1);
  change(pod(true));
  expect([told.length, told[1]?.pod.ready]).toEqual([2, true]);
  pods.endpointDown(ref);
  lose(pod(true));
  expect([told.length, told[2]]).toEqual([3, undefined]);
  expect(pods.uidOf("shop/web-0")).toBeUndefined();
});

it("host ports have the pod's addresses; a pod in the node's network has none", () => {
  const { told, pods, see } = localPods();
  see(pod(true));
  pods.endpointUp(ref, ["10.0.0.1"]);
  const [state] = told;
  expect(state && hostPortsOf(state)).toEqual([
    { hostPort: 80, containerPort: 8080, protocol: "TCP", hostIP: "", podIPs: ["10.0.0.1"] },
    { hostPort: 53, containerPort: 53, protocol: "UDP", hostIP: "127.0.0.1", podIPs: ["10.0.0.1"] },
  ]);
  expect(state && localPodOf(state)).toMatchObject({ labels: { app: "web" }, ready: true });
  expect(trimPod(pod(true, { hostNetwork: true })).hostPorts).toEqual([]);
});
