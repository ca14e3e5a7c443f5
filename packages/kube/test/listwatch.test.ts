import type { ServerResponse } from "node:http";
import { memoryLogger, waitFor } from "@axoneme/base";
import {
  KubeClient,
  type KubeError,
  ListWatch,
  type ListWatchOptions,
  type Pod,
  resources,
} from "@axoneme/kube";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeApi, type Seen } from "./fakeapi.ts";
import { Recorder } from "./recorder.ts";

let api: FakeApi;
let client: KubeClient;
const running: { stop(): Promise<void> }[] = [];

beforeEach(async () => {
  api = await new FakeApi().listen();
  client = new KubeClient(api.config);
});
afterEach(async () => {
  for (const watch of running.splice(0)) await watch.stop();
  await client.close();
  await api.close();
});

const isWatch = (seen: Seen): boolean => seen.url.searchParams.get("watch") === "true";
const isList = (seen: Seen): boolean => seen.method === "GET" && !isWatch(seen);
const watches = (): Seen[] => api.seen.filter(isWatch);
const lists = (): Seen[] => api.seen.filter(isList);

function start<S = Pod>(
  options: ListWatchOptions<Pod, S> = {},
): { watch: ListWatch<Pod, S>; recorder: Recorder<Pod>; errors: unknown[] } {
  const errors: unknown[] = [];
  const onError = (error: unknown): void => void errors.push(error);
  const watch = new ListWatch<Pod, S>(client, resources.pods, {
    backoffMs: 1,
    maxBackoffMs: 5,
    onError,
    ...options,
  });
  const recorder = new Recorder<Pod>();
  watch.start(recorder as never);
  running.push(watch);
  return { watch, recorder, errors };
}

/** Answers the first `times` requests that match in another way. */
function once(match: (seen: Seen) => boolean, act: (response: ServerResponse) => void, times = 1): void {
  let left = times;
  api.intercept = (seen, response) => {
    if (!match(seen) || left === 0) return false;
    left--;
    act(response);
    return true;
  };
}

describe("list", () => {
  test("pages are followed and delivered before synced", async () => {
    for (let i = 0; i < 7; i++) api.put("pods", "n", `p${i}`);
    const { watch, recorder } = start({ pageSize: 3 });
    await watch.synced;
    expect(lists().map((seen) => seen.url.searchParams.get("limit"))).toEqual(["3", "3", "3"]);
    expect(recorder.log).toHaveLength(8);
    expect(recorder.log.at(-1)).toBe("synced");
    expect(watch.store.get("p6", "n")?.metadata?.name).toBe("p6");
    expect(watch.store.size).toBe(7);
  });

  test("an expired continue token starts the list over, and nothing is told twice", async () => {
    for (let i = 0; i < 5; i++) api.put("pods", "n", `p${i}`);
    let expired = 0;
    api.intercept = (seen) => {
      if (!seen.url.searchParams.has("continue") || expired++ >= 2) return false;
      api.expireTokens();
      api.remove("pods", "n", "p0"); // on a page already seen: it must not stay
      return false;
    };
    const { watch, recorder } = start({ pageSize: 2 });
    await watch.synced;
    expect(expired).toBeGreaterThan(2);
    const told = recorder.log.map((line) => line.split("@")[0]);
    expect(told).toEqual(["add n/p1", "add n/p2", "add n/p3", "add n/p4", "synced"]);
    expect(recorder.problems).toEqual([]);
  });

  test("selectors and the namespace go to the server", async () => {
    const { watch } = start({ namespace: "n", labelSelector: "app=x", fieldSelector: "spec.nodeName=n1" });
    await waitFor(() => watch.watching);
    for (const { url } of api.seen) {
      expect(url.pathname).toBe("/api/v1/namespaces/n/pods");
      expect(url.searchParams.get("labelSelector")).toBe("app=x");
      expect(url.searchParams.get("fieldSelector")).toBe("spec.nodeName=n1");
    }
  });

  test("trim decides what is kept; managedFields go by default", async () => {
    api.put("pods", "n", "p", "payload");
    const { watch } = start<string>({ trim: (pod) => `${pod.metadata?.name}` });
    await watch.synced;
    expect([...watch.store.values()]).toEqual(["p"]);
  });
});

describe("watch", () => {
  test("asks for bookmarks, and for an end in a time that varies", async () => {
    const { watch } = start({ timeoutS: 100 });
    for (let i = 0; i < 4; i++) {
      await waitFor(() => watches().length === i + 1 && api.watchers.size === 1);
      api.put("pods", "n", `p${i}`);
      await waitFor(() => watch.store.size === i + 1);
      api.cutWatches();
    }
    const seconds = watches().map((seen) => Number(seen.url.searchParams.get("timeoutSeconds")));
    for (const value of seconds) expect(value).toBeGreaterThanOrEqual(100);
    for (const value of seconds) expect(value).toBeLessThanOrEqual(200);
    expect(new Set(seconds).size).toBeGreaterThan(1);
    expect(watches()[0]?.url.searchParams.get("allowWatchBookmarks")).toBe("true");
  });

  test("goes on from a bookmark", async () => {
    const { watch } = start({ namespace: "n" });
    await waitFor(() => api.watchers.size === 1);
    api.put("pods", "other", "p");
    api.bookmark();
    await waitFor(() => watch.resourceVersion === String(api.version));
    api.compact();
    api.cutWatches();
    await waitFor(() => watches().length === 2);
    expect(watches()[1]?.url.searchParams.get("resourceVersion")).toBe(String(api.version));
    expect(lists()).toHaveLength(1);
  });

  test("410 when the watch is opened: a list finds what was missed, deletions included", async () => {
    for (const name of ["kept", "gone", "changed", "remade"]) api.put("pods", "n", name, "1");
    const { watch, recorder, errors } = start();
    await waitFor(() => api.watchers.size === 1);
    api.intercept = (seen, response) => isWatch(seen) && watches().length === 2 && missedMeanwhile(response);
    api.cutWatches();
    await waitFor(() => watch.health().relists === 1);
    await waitFor(() => watch.watching);
    expect(recorder.log.slice(5).sort()).toEqual(
      [
        "add n/new@17",
        "add n/remade@19",
        "delete n/gone@12",
        "delete n/remade@14",
        "update n/changed@16",
      ].sort(),
    );
    expect(recorder.problems).toEqual([]);
    expect(errors).toHaveLength(1); // the cut; an expired version is no failure
  });

  function missedMeanwhile(response: ServerResponse): boolean {
    api.remove("pods", "n", "gone");
    api.remove("pods", "n", "nothing");
    api.put("pods", "n", "changed", "2");
    api.put("pods", "n", "new");
    api.remove("pods", "n", "remade");
    api.put("pods", "n", "remade", "2");
    api.compact();
    return FakeApi.status(response, 410, "Expired");
  }

  test.each(["Expired", "Gone"])("an ERROR event %s leads to a list", async (reason) => {
    api.put("pods", "n", "a");
    once(isWatch, (response) => {
      api.remove("pods", "n", "a");
      const object = { kind: "Status", status: "Failure", code: 410, reason, message: "too old" };
      response.write(`${JSON.stringify({ type: "ERROR", object })}\n`);
    });
    const { watch, recorder } = start();
    await waitFor(() => watch.health().relists === 1 && watch.watching);
    expect(recorder.log).toEqual(["add n/a@11", "synced", "delete n/a@11"]);
  });

  test("watches that end at once without a word, an ERROR cut short say, lead to a list", async () => {
    api.put("pods", "n", "a");
    once(
      isWatch,
      (response) => {
        api.remove("pods", "n", "a");
        response.writeHead(200).end('{"type":"ERROR","object":{"kind":"Status","code":410}}'); // no newline
      },
      1000,
    );
    const { watch, recorder } = start();
    await waitFor(() => watch.health().relists >= 1);
    expect(recorder.log).toEqual(["add n/a@11", "synced", "delete n/a@11"]);
  });

  test("a server that answers 410 for ever is not hammered", async () => {
    api.intercept = (seen, response) => isWatch(seen) && FakeApi.status(response, 410, "Expired");
    const { watch } = start({ backoffMs: 100, maxBackoffMs: 100 });
    const began = performance.now();
    await waitFor(() => watches().length >= 4);
    expect(performance.now() - began).toBeGreaterThan(95);
    expect(watch.stale).toBe(false);
  });

  test.each([
    ["no JSON", "this is not JSON\n"],
    ["no event", '{"type":"ADDED"}\n'],
    ["an unknown type", '{"type":"SYNC","object":{"metadata":{"resourceVersion":"1"}}}\n'],
    ["no version", '{"type":"ADDED","object":{"metadata":{"name":"x"}}}\n'],
    ["a line without end", `{"type":"ADDED","object":"${"x".repeat(5000)}`],
  ])("garbage (%s) is reported and mended by a list", async (_title, line) => {
    once(isWatch, (response) => void response.write(line));
    const { watch, recorder, errors } = start({ maxLineBytes: 4096 });
    await waitFor(() => watch.health().relists === 1 && watch.watching);
    api.put("pods", "n", "after");
    await waitFor(() => watch.store.size === 1);
    expect(errors).toHaveLength(1);
    expect((errors[0] as KubeError).code).toBe("kube.protocol");
    expect(recorder.problems).toEqual([]);
  });

  test("events that tell nothing new are counted, not passed on", async () => {
    api.put("pods", "n", "a");
    const { watch, recorder } = start();
    await waitFor(() => api.watchers.size === 1);
    const held = api.objects("pods", "n")[0];
    for (const { response } of api.watchers) {
      for (const type of ["ADDED", "MODIFIED"]) response.write(`${JSON.stringify({ type, object: held })}\n`);
    }
    await waitFor(() => watch.health().duplicates === 2);
    expect(recorder.log).toEqual(["add n/a@11", "synced"]);
  });

  test("a server that went back in time is listed again", async () => {
    api.put("pods", "n", "a");
    const old = api.objects("pods", "n")[0];
    api.put("pods", "n", "a", "2");
    const { watch, recorder } = start();
    await waitFor(() => api.watchers.size === 1);
    for (const { response } of api.watchers)
      response.write(`${JSON.stringify({ type: "MODIFIED", object: old })}\n`);
    await waitFor(() => watch.health().relists === 1);
    expect(watch.health().rewinds).toBe(1);
    expect(recorder.log).toEqual(["add n/a@12", "synced"]);
  });
});

describe("failures", () => {
  test("silence makes it connect again", async () => {
    const { watch, errors } = start({ silenceMs: 60 });
    await waitFor(() => watches().length >= 3);
    expect((errors[0] as KubeError).code).toBe("kube.silent");
    expect(lists()).toHaveLength(1);
    expect(watch.health().restarts).toBeGreaterThanOrEqual(1);
  });

  test("bookmarks are no silence", async () => {
    const { errors } = start({ silenceMs: 300 });
    await waitFor(() => api.watchers.size === 1);
    const timer = setInterval(() => api.bookmark(), 20);
    const began = performance.now();
    await waitFor(() => performance.now() - began > 700);
    clearInterval(timer);
    expect(errors).toEqual([]);
    expect(watches()).toHaveLength(1);
  });

  test("an outage keeps the store, marks it stale, and ends", async () => {
    api.put("pods", "n", "a");
    const { watch } = start();
    await waitFor(() => watch.watching);
    expect(watch.stale).toBe(false);
    api.intercept = (_seen, response) => FakeApi.status(response, 500, "InternalError");
    api.cutWatches();
    await waitFor(() => watch.health().failures >= 4);
    expect(watch.stale).toBe(true);
    expect(watch.store.size).toBe(1);
    expect(watch.health().lastError).toContain("cannot watch pods at http://127.0.0.1:");
    api.put("pods", "n", "b");
    api.intercept = () => false;
    await waitFor(() => watch.store.size === 2);
    expect(watch.stale).toBe(false);
    expect(lists()).toHaveLength(1);
  });

  test("Retry-After is waited for", async () => {
    once(isWatch, (response) => FakeApi.status(response, 429, "TooManyRequests", { "retry-after": "1" }));
    const { watch } = start();
    await watch.synced;
    const began = performance.now();
    await waitFor(() => watches().length === 2);
    expect(performance.now() - began).toBeGreaterThan(900);
  });

  test("Retry-After is bounded", async () => {
    once(isWatch, (response) =>
      FakeApi.status(response, 503, "ServiceUnavailable", { "retry-after": "86400" }),
    );
    const { watch } = start({ maxRetryAfterMs: 50 });
    await waitFor(() => watch.watching, { timeoutMs: 2000 });
  });

  test("waiting times grow and start anew after progress", async () => {
    api.intercept = (seen, response) => isWatch(seen) && FakeApi.status(response, 500, "InternalError");
    const log = memoryLogger();
    const { watch } = start({ backoffMs: 8, maxBackoffMs: 10_000, log });
    const waits = (): number[] => log.records.map((record) => Number(record.fields["waitMs"]));
    await waitFor(() => waits().length >= 5);
    expect(waits()[4]).toBeGreaterThan(16 * 4 - 1);
    api.intercept = () => false;
    await waitFor(() => watch.watching);
    api.put("pods", "n", "a");
    await waitFor(() => watch.store.size === 1);
    const count = waits().length;
    api.cutWatches();
    await waitFor(() => waits().length > count);
    expect(waits().at(-1)).toBeLessThanOrEqual(8);
  });

  test("a handler that throws stops nothing", async () => {
    const watch = new ListWatch(client, resources.pods);
    running.push(watch);
    const seen: string[] = [];
    watch.start({
      onAdd(pod) {
        seen.push(pod.metadata?.name ?? "");
        if (seen.length === 1) throw new Error("mine");
      },
    });
    await waitFor(() => api.watchers.size === 1);
    api.put("pods", "n", "a");
    api.put("pods", "n", "b");
    await waitFor(() => seen.length === 2);
    expect(watch.store.size).toBe(2);
    expect(watch.health().lastError).toBe("mine");
    expect(watches()).toHaveLength(1);
  });
});

describe("life", () => {
  test("stop ends the watch and refuses those who wait", async () => {
    api.intercept = (_seen, response) => FakeApi.status(response, 500, "InternalError");
    const { watch } = start();
    await watch.stop();
    await expect(watch.synced).rejects.toThrow("the ListWatch of pods was stopped");
    expect(() => watch.start()).toThrow("runs already");
  });

  test("no handler is called after stop, even from within a burst", async () => {
    const { watch } = start();
    await waitFor(() => api.watchers.size === 1);
    const recorder = new Recorder<Pod>();
    const second = new ListWatch(client, resources.pods);
    running.push(second);
    let stopping: Promise<void> | undefined;
    second.start({
      onAdd: (pod) => {
        recorder.onAdd(pod);
        stopping ??= second.stop();
      },
    });
    await waitFor(() => api.watchers.size === 2);
    api.put("pods", "n", "a");
    api.put("pods", "n", "b");
    await waitFor(() => watch.store.size === 2);
    await stopping;
    expect(recorder.log).toHaveLength(1);
  });

  test("a client that closes ends the watch for good only when stopped", async () => {
    const { watch } = start();
    await waitFor(() => watch.watching);
    await client.close();
    await waitFor(() => watch.stale);
    await watch.stop();
    expect(watch.watching).toBe(false);
  });
});
