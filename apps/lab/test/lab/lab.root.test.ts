import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { waitFor } from "@axoneme/base";
import { connectIn } from "@axoneme/netlink";
import type { Pod } from "kubernetes-types/core/v1";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isClean, type LabHandle, labDown, labPaths, labStatus, labUp, leftovers } from "../../src/index.ts";
import { cgroupPids } from "../../src/lab/cgroup.ts";
import { hostRoots } from "../../src/lab/config.ts";
import { Kubectl, plainLab, supervisorOfSources } from "../support/lab.ts";

const name = `t-lab-${process.pid}`;
const labels = { app: "web" };

function webPod(command: string, extra: object = {}): object {
  return {
    terminationGracePeriodSeconds: 1,
    containers: [{ name: "c", image: "host", command: ["sh", "-c", command], ...extra }],
  };
}

describe("a lab with two nodes and a plain CNI network", () => {
  let supervisor: readonly string[];
  let lab: LabHandle;
  let kubectl: Kubectl;

  beforeAll(async () => {
    supervisor = await supervisorOfSources();
    lab = await labUp(plainLab(name, supervisor));
    kubectl = new Kubectl(lab.kubeconfig);
  });

  afterAll(async () => {
    await labDown({ name });
    expect(await leftovers(name)).toEqual({
      namespaces: [],
      mounts: [],
      links: [],
      cgroups: [],
      pins: [],
      processes: [],
      files: [],
    });
  });

  const pods = async (selector = "app=web"): Promise<Pod[]> =>
    (await kubectl.json<{ items: Pod[] }>("get", "pods", "-l", selector)).items;

  it("has its nodes ready with both addresses, and the world behind the bridge", async () => {
    const nodes = await kubectl.run(
      "get",
      "nodes",
      "-o",
      "jsonpath={range .items[*]}{.status.addresses[*].address}{'\\n'}{end}",
    );
    expect(nodes).toMatch(
      /172\.30\.\d+\.11 fd00:172:30:.*:11 node1\n172\.30\.\d+\.12 fd00:172:30:.*:12 node2/,
    );
    const paths = labPaths(name, hostRoots());
    for (const host of ["192.0.2.1", "2001:db8::1"]) {
      // Nobody listens there, which only the world itself can say.
      await expect(connectIn(paths.netns("node1"), { host, port: 9 })).rejects.toThrow("ECONNREFUSED");
    }
  });

  it("is left alone by a second up, and refuses one with other settings", async () => {
    const pid = readFileSync(labPaths(name, hostRoots()).supervisorPid, "utf8");
    await labUp(plainLab(name, supervisor));
    expect(readFileSync(labPaths(name, hostRoots()).supervisorPid, "utf8")).toBe(pid);
    await expect(labUp({ ...plainLab(name, supervisor), nodes: 3 })).rejects.toMatchObject({
      code: "lab.exists",
    });
  });

  it("rolls out a deployment on both nodes, with addresses and endpoints of both families", async () => {
    const template = { metadata: { labels }, spec: webPod("echo hello from $HOSTNAME; exec sleep 1000") };
    await kubectl.apply(
      {
        apiVersion: "apps/v1",
        kind: "Deployment",
        metadata: { name: "web" },
        spec: { replicas: 4, selector: { matchLabels: labels }, template },
      },
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "web" },
        spec: {
          selector: labels,
          ipFamilyPolicy: "RequireDualStack",
          ports: [{ port: 80, targetPort: 8080 }],
        },
      },
    );
    await kubectl.run("rollout", "status", "deployment/web", "--timeout=30s");
    await kubectl.run("wait", "--for=condition=Available", "deployment/web", "--timeout=5s");
    const list = await pods();
    expect(new Set(list.map((pod) => pod.spec?.nodeName))).toEqual(new Set(["node1", "node2"]));
    expect(list.every((pod) => pod.status?.podIPs?.length === 2)).toBe(true);
    const slices = await waitFor(
      async () => {
        const text = await kubectl.run(
          "get",
          "endpointslices",
          "-l",
          "kubernetes.io/service-name=web",
          "-o",
          "jsonpath={range .items[*]}{.addressType}:{range .endpoints[?(@.conditions.ready==true)]}x{end} {end}",
        );
        return text.includes("xxxx") && text.split("xxxx").length === 3 ? text : undefined;
      },
      { timeoutMs: 10_000, everyMs: 100, what: "four endpoints in each family" },
    );
    expect(slices.trim().split(" ").sort()).toEqual(["IPv4:xxxx", "IPv6:xxxx"]);
  });

  it("serves logs: whole, the tail, followed", async () => {
    const [pod] = await pods();
    const podName = pod?.metadata?.name ?? "";
    expect(await kubectl.run("logs", podName)).toBe(`hello from ${podName}\n`);
    await kubectl.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "count" },
      spec: webPod("for i in 1 2 3 4 5; do echo $i; sleep 0.1; done", {}),
    });
    await kubectl.run("wait", "--for=condition=Ready", "pod/count", "--timeout=10s");
    expect((await kubectl.run("logs", "-f", "count")).startsWith("1\n2\n3\n4\n5\n")).toBe(true);
    await waitFor(async () => (await kubectl.attempt("logs", "count", "--previous")).code === 0, {
      timeoutMs: 10_000,
      everyMs: 100,
      what: "a restart",
    });
    expect(await kubectl.run("logs", "count", "--previous", "--tail=1")).toBe("5\n");
    await kubectl.run("delete", "pod", "count", "--now");
  });

  it("runs commands in a pod: output, exit code, standard input", async () => {
    const [pod] = await pods();
    const podName = pod?.metadata?.name ?? "";
    const ip = pod?.status?.podIP ?? "none";
    const result = await kubectl.attempt(
      "exec",
      podName,
      "--",
      "sh",
      "-c",
      "hostname; ip -4 addr show eth0; echo oops >&2; exit 3",
    );
    expect(result.code).toBe(3);
    expect(result.stdout).toContain(podName);
    expect(result.stdout).toContain(ip);
    expect(result.stderr).toContain("oops");
    const child = spawn(
      "kubectl",
      ["--kubeconfig", lab.kubeconfig, "exec", "-i", podName, "--", "sort", "-r"],
      { stdio: ["pipe", "pipe", "ignore"] },
    );
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stdin.end("a\nc\nb\n");
    await once(child, "close");
    expect(output).toBe("c\nb\na\n");
  });

  it("restarts what fails its liveness probe, and keeps out of endpoints what is not ready", async () => {
    await kubectl.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "probed", labels: { app: "probed" } },
      spec: webPod("exec sleep 1000", {
        livenessProbe: { exec: { command: ["false"] }, periodSeconds: 1, failureThreshold: 1 },
        readinessProbe: { tcpSocket: { port: 9 }, periodSeconds: 1 },
      }),
    });
    await waitFor(
      async () => {
        const [pod] = await pods("app=probed");
        const status = pod?.status?.containerStatuses?.[0];
        return (status?.restartCount ?? 0) >= 1 && status?.ready === false;
      },
      { timeoutMs: 20_000, everyMs: 200, what: "a restart by the probe" },
    );
    await kubectl.run("delete", "pod", "probed", "--now");
  });

  it("runs stateful sets, daemon sets and jobs to their end", async () => {
    const metadata = (app: string) => ({ metadata: { labels: { app } } });
    await kubectl.apply(
      {
        apiVersion: "apps/v1",
        kind: "StatefulSet",
        metadata: { name: "db" },
        spec: {
          replicas: 2,
          serviceName: "db",
          selector: { matchLabels: { app: "db" } },
          template: { ...metadata("db"), spec: webPod("exec sleep 1000") },
        },
      },
      {
        apiVersion: "apps/v1",
        kind: "DaemonSet",
        metadata: { name: "ds" },
        spec: {
          selector: { matchLabels: { app: "ds" } },
          template: { ...metadata("ds"), spec: { ...webPod("exec sleep 1000"), hostNetwork: true } },
        },
      },
      {
        apiVersion: "batch/v1",
        kind: "Job",
        metadata: { name: "job" },
        spec: {
          completions: 3,
          parallelism: 2,
          template: { spec: { ...webPod("echo done"), restartPolicy: "Never" } },
        },
      },
    );
    await kubectl.run("rollout", "status", "statefulset/db", "--timeout=30s");
    await kubectl.run("rollout", "status", "daemonset/ds", "--timeout=30s");
    await kubectl.run("wait", "--for=condition=complete", "job/job", "--timeout=30s");
    const daemons = await pods("app=ds");
    expect(daemons.map((pod) => pod.status?.podIP).sort()).toEqual(
      daemons.map((pod) => pod.status?.hostIP).sort(),
    );
    await kubectl.run("delete", "statefulset/db", "daemonset/ds", "job/job");
    await waitFor(async () => (await pods("app in (db,ds)")).length === 0, {
      timeoutMs: 30_000,
      everyMs: 200,
      what: "owned pods to be collected",
    });
  });

  it("keeps pods running when the supervisor and the kubelets are killed, and takes them over without a restart", async () => {
    const before = await pods();
    const uids = before.map((pod) => pod.metadata?.uid).sort();
    const ids = before.map((pod) => pod.status?.containerStatuses?.[0]?.containerID).sort();
    const paths = labPaths(name, hostRoots());
    const groups = ["control", ...lab.nodes.map((node) => `${node}/kubelet`)];
    for (const pid of groups.flatMap((group) => cgroupPids(`${paths.cgroup}/${group}`)))
      process.kill(pid, "SIGKILL");
    await waitFor(async () => (await labStatus({ name })).state === "crashed", {
      what: "the supervisor to be gone",
    });
    await labUp(plainLab(name, supervisor));
    const after = await pods();
    expect(after.map((pod) => pod.metadata?.uid).sort()).toEqual(uids);
    expect(after.map((pod) => pod.status?.containerStatuses?.[0]?.containerID).sort()).toEqual(ids);
    expect(after.every((pod) => pod.status?.containerStatuses?.[0]?.restartCount === 0)).toBe(true);
    const [pod] = after;
    const podName = pod?.metadata?.name ?? "";
    await waitFor(async () => (await kubectl.attempt("exec", podName, "--", "true")).code === 0, {
      timeoutMs: 10_000,
      everyMs: 100,
      what: "the new kubelet to serve exec",
    });
    expect(await kubectl.run("logs", podName)).toBe(`hello from ${podName}\n`);
  });

  it("removes pods with their namespaces, cgroups and addresses when the deployment goes", async () => {
    await kubectl.run("delete", "deployment", "web");
    await waitFor(async () => (await pods()).length === 0, {
      timeoutMs: 30_000,
      everyMs: 200,
      what: "the pods to go",
    });
    const rest = await leftovers(name);
    expect(rest.namespaces.filter((path) => path.includes("/pod-"))).toEqual([]);
    expect(rest.cgroups.filter((path) => /\/pods\/./.test(path))).toEqual([]);
  });

  it("deletes a namespace with all that is in it", async () => {
    await kubectl.run("create", "namespace", "shop");
    await waitFor(
      async () => (await kubectl.attempt("get", "serviceaccount", "default", "-n", "shop")).code === 0,
      { everyMs: 100, what: "the default service account" },
    );
    await kubectl.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "p", namespace: "shop" },
      spec: webPod("exec sleep 1000"),
    });
    await kubectl.run("wait", "--for=condition=Ready", "pod/p", "-n", "shop", "--timeout=20s");
    await kubectl.run("delete", "namespace", "shop", "--timeout=30s");
    expect((await kubectl.attempt("get", "namespace", "shop")).code).not.toBe(0);
  });

  it("is refused to a down from inside, whose process is in the lab", async () => {
    expect(isClean(await leftovers(name))).toBe(false);
    const paths = labPaths(name, hostRoots());
    const own = readFileSync("/proc/self/cgroup", "utf8").match(/^0::(.*)$/m)?.[1] ?? "/";
    writeFileSync(`${paths.cgroup}/control/cgroup.procs`, String(process.pid));
    try {
      await expect(labDown({ name })).rejects.toMatchObject({ code: "lab.inside" });
    } finally {
      writeFileSync(`${hostRoots().cgroup2}${own}/cgroup.procs`, String(process.pid));
    }
    expect(existsSync(paths.state)).toBe(true);
  });
});
