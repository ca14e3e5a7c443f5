import { FakeClock } from "@axoneme/base";
import type { Pod, Probe } from "kubernetes-types/core/v1";
import { describe, expect, it } from "vitest";
import { condition } from "../../src/controllers/objects.ts";
import {
  backingOff,
  type ContainerRecord,
  crashDelay,
  newContainer,
  nextStep,
  type RestartPolicy,
  running,
  terminated,
} from "../../src/node/container.ts";
import { containerEnvironment, expand, fieldValue } from "../../src/node/environment.ts";
import { parseLogQuery } from "../../src/node/logquery.ts";
import { podStatus } from "../../src/node/podstatus.ts";
import { counted, noResults, ProbeLoop } from "../../src/node/probe.ts";
import { Slots } from "../../src/node/slots.ts";

const epoch = Date.parse("2026-01-01T00:00:00Z");
const at = (ms: number): string => new Date(epoch + ms).toISOString();

function start(record: ContainerRecord, ms: number): ContainerRecord {
  return running(record, { pid: 1, startedAt: at(ms), containerId: "axon://1" }, true, true);
}

function end(record: ContainerRecord, ms: number, exitCode: number): ContainerRecord {
  const startedAt = record.state.is === "running" ? record.state.startedAt : at(ms);
  return terminated(record, {
    exitCode,
    reason: "Error",
    startedAt,
    finishedAt: at(ms),
    containerId: "axon://1",
  });
}

describe("restarts", () => {
  it("come at once the first time, then after 10 s doubling to 5 minutes", () => {
    expect([1, 2, 3, 4, 7, 8, 20].map(crashDelay)).toEqual([
      0, 10_000, 20_000, 40_000, 300_000, 300_000, 300_000,
    ]);
  });

  it.each<[RestartPolicy, number, string]>([
    ["Always", 0, "start"],
    ["Always", 1, "start"],
    ["OnFailure", 0, "nothing"],
    ["OnFailure", 1, "start"],
    ["Never", 1, "nothing"],
  ])("with %s after exit %d: %s", (policy, exitCode, wanted) => {
    const record = end(start(newContainer("c", "main", "host"), 0), 1000, exitCode);
    expect(nextStep(record, policy, epoch + 1000).do).toBe(wanted);
  });

  it("show the last end while they wait, and count", () => {
    let record = end(start(newContainer("c", "main", "host"), 0), 1000, 7);
    record = end(start(record, 1000), 2000, 7);
    expect(nextStep(record, "Always", epoch + 2000)).toEqual({ do: "wait", ms: 10_000 });
    record = backingOff(record, 10_000);
    expect(record.state).toMatchObject({ is: "waiting", reason: "CrashLoopBackOff" });
    expect(record.last?.exitCode).toBe(7);
    expect(nextStep(record, "Always", epoch + 11_999)).toEqual({ do: "wait", ms: 1 });
    expect(nextStep(record, "Always", epoch + 12_000)).toEqual({ do: "start" });
    expect(start(record, 12_000).restartCount).toBe(2);
  });

  it("forget the crashes of a container that then ran for ten minutes", () => {
    let record = newContainer("c", "main", "host");
    for (let i = 0; i < 5; i++) record = end(start(record, i), i + 1, 1);
    expect(record.crashes).toBe(5);
    record = end(start(record, 10), 10 + 600_000, 1);
    expect(nextStep(record, "Always", epoch + 10 + 600_000)).toEqual({ do: "start" });
  });

  it("run an init container again only when it failed, and a sidecar always", () => {
    const init = end(start(newContainer("i", "init", "host"), 0), 1000, 0);
    expect(nextStep(init, "Always", epoch + 5000).do).toBe("nothing");
    const sidecar = end(start(newContainer("s", "sidecar", "host"), 0), 1000, 0);
    expect(nextStep(sidecar, "Never", epoch + 5000).do).toBe("start");
  });
});

describe("a pod's status", () => {
  const pod: Pod = {
    metadata: { name: "p", namespace: "n", uid: "u" },
    spec: { containers: [{ name: "c" }], restartPolicy: "Never" },
  };
  const of = (containers: ContainerRecord[], hasSandbox = true) =>
    podStatus({
      pod,
      containers,
      podIps: ["10.0.0.5", "fd00::5"],
      hostIps: ["172.30.0.11"],
      startedAt: at(0),
      hasSandbox,
      now: epoch,
    });

  it("is Pending until it has a network and its init containers are done", () => {
    expect(of([newContainer("c", "main", "host")], false).phase).toBe("Pending");
    const status = of([start(newContainer("i", "init", "host"), 0), newContainer("c", "main", "host")]);
    expect(status.phase).toBe("Pending");
    expect(condition(status.conditions, "Initialized")?.status).toBe("False");
  });

  it("is Running and Ready with both addresses", () => {
    const status = of([start(newContainer("c", "main", "host"), 0)]);
    expect(status).toMatchObject({
      phase: "Running",
      podIP: "10.0.0.5",
      podIPs: [{ ip: "10.0.0.5" }, { ip: "fd00::5" }],
      hostIP: "172.30.0.11",
    });
    expect(status.conditions?.map(({ type, status: value }) => `${type}=${value}`)).toEqual([
      "PodScheduled=True",
      "PodReadyToStartContainers=True",
      "Initialized=True",
      "ContainersReady=True",
      "Ready=True",
    ]);
  });

  it("names the containers that are not ready", () => {
    const status = of([{ ...start(newContainer("c", "main", "host"), 0), ready: false }]);
    expect(condition(status.conditions, "Ready")).toMatchObject({
      status: "False",
      message: "containers with unready status: [c]",
    });
  });

  it("is Succeeded or Failed by the exit codes, also after its network is gone", () => {
    expect(of([end(start(newContainer("c", "main", "host"), 0), 1, 0)], false).phase).toBe("Succeeded");
    expect(of([end(start(newContainer("c", "main", "host"), 0), 1, 3)], false).phase).toBe("Failed");
  });

  it("is Failed when an init container failed for good", () => {
    expect(
      of([end(start(newContainer("i", "init", "host"), 0), 1, 1), newContainer("c", "main", "host")]).phase,
    ).toBe("Failed");
  });
});

describe("a container's environment", () => {
  const sources = {
    pod: {
      metadata: { name: "p", namespace: "n", uid: "u", labels: { app: "x" } },
      spec: { containers: [], nodeName: "node1" },
    } as Pod,
    podIps: ["10.0.0.5", "fd00::5"],
    hostIps: ["172.30.0.11"],
    configMap: async (name: string) => (name === "cm" ? { A: "1", B: "2" } : undefined),
    secret: async () => undefined,
  };

  it("resolves fields, config maps and references to earlier variables", async () => {
    const env = await containerEnvironment(
      {
        name: "c",
        envFrom: [{ configMapRef: { name: "cm" }, prefix: "CM_" }],
        env: [
          { name: "IPS", valueFrom: { fieldRef: { fieldPath: "status.podIPs" } } },
          { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
          { name: "URL", value: "http://$(NODE):$(CM_A)/$$(NODE)/$(WHAT)" },
        ],
      },
      sources,
    );
    expect(env).toMatchObject({
      HOSTNAME: "p",
      CM_B: "2",
      IPS: "10.0.0.5,fd00::5",
      URL: "http://node1:1/$(NODE)/$(WHAT)",
    });
  });

  it("refuses what is missing, unless it is optional", async () => {
    const reference = (optional: boolean) => ({
      name: "c",
      env: [{ name: "X", valueFrom: { configMapKeyRef: { name: "cm", key: "nope", optional } } }],
    });
    await expect(containerEnvironment(reference(false), sources)).rejects.toThrow("key nope of configMap cm");
    expect(await containerEnvironment(reference(true), sources)).not.toHaveProperty("X");
  });

  it("knows label subscripts and refuses unknown fields", () => {
    expect(fieldValue("metadata.labels['app']", sources)).toBe("x");
    expect(() => fieldValue("status.nothing", sources)).toThrow("status.nothing");
    expect(expand("$(A)$$$(B)", { A: "a" })).toBe("a$$(B)");
  });
});

describe("probes", () => {
  const probe: Probe = { periodSeconds: 1, failureThreshold: 2, successThreshold: 2 };

  it("change their verdict only at a threshold of results in a row", () => {
    const verdicts = [true, true, false, true, false, false, true, true].reduce(
      ({ count, seen }, ok) => {
        const next = counted(count, ok, probe);
        return { count: next, seen: [...seen, next.passing] };
      },
      { count: noResults, seen: [] as (boolean | undefined)[] },
    ).seen;
    expect(verdicts).toEqual([undefined, true, true, true, true, false, false, true]);
  });

  it("wait their initial delay, then check each period until stopped", async () => {
    const clock = new FakeClock();
    const verdicts: boolean[] = [];
    let checks = 0;
    const loop = new ProbeLoop({
      probe: { ...probe, initialDelaySeconds: 5 },
      clock,
      check: async () => ({ ok: ++checks > 2, message: "no" }),
      onVerdict: (passing) => void verdicts.push(passing),
    });
    loop.start();
    await clock.advanceAsync(4_999);
    expect(checks).toBe(0);
    await clock.advanceAsync(3_001);
    expect({ checks, verdicts }).toEqual({ checks: 4, verdicts: [false, true] });
    loop.stop();
    await clock.advanceAsync(10_000);
    expect(checks).toBe(4);
  });
});

describe("a log query", () => {
  it("reads kubectl's parameters", () => {
    const query = new URLSearchParams(
      "follow=true&tailLines=5&sinceSeconds=10&timestamps=1&previous=true&limitBytes=x",
    );
    expect(parseLogQuery(query, 100_000)).toEqual({
      follow: true,
      previous: true,
      timestamps: true,
      tailLines: 5,
      since: 90_000,
    });
  });
});

describe("slots", () => {
  it("let no more than their number run at once, and survive failures", async () => {
    const slots = new Slots(3);
    let now = 0;
    let most = 0;
    const task = async (i: number): Promise<number> => {
      most = Math.max(most, ++now);
      await Promise.resolve();
      now--;
      if (i % 4 === 0) throw new Error("no");
      return i;
    };
    const results = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => slots.run(() => task(i))));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(15);
    expect({ most, now }).toEqual({ most: 3, now: 0 });
  });
});
