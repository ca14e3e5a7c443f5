import { KubeClient, type KubeError, type Pod, resources } from "@axoneme/kube";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeApi, type Interceptor, type Seen } from "./fakeapi.ts";

let api: FakeApi;
let client: KubeClient;
beforeEach(async () => {
  api = await new FakeApi().listen();
  client = new KubeClient(api.config, { deadlineMs: 3000 });
});
afterEach(async () => {
  await client.close();
  await api.close();
});

const pods = () => client.resource(resources.pods);
const last = (): Seen => api.seen.at(-1) as Seen;
const pod = (name: string): Pod => ({ metadata: { name, namespace: "n" } });

/** Answers everything with this body. */
function ending(body: string, status = 200): Interceptor {
  return (_seen, response) => {
    response.writeHead(status);
    response.end(body);
    return true;
  };
}

async function errorOf(promise: Promise<unknown>): Promise<KubeError> {
  return promise.then(
    () => expect.fail("no error"),
    (error: unknown) => error as KubeError,
  );
}

describe("requests", () => {
  test("create, get, update, delete", async () => {
    const created = await pods().create(pod("a"));
    expect(JSON.parse(last().body)).toMatchObject({ apiVersion: "v1", kind: "Pod" });
    expect((await pods().get("a", { namespace: "n" })).metadata?.uid).toBe(created.metadata?.uid);
    const changed = await pods().update({ ...created, spec: { containers: [] } });
    expect(changed.metadata?.resourceVersion).not.toBe(created.metadata?.resourceVersion);
    expect((await errorOf(pods().update(created))).conflict).toBe(true);
    expect((await errorOf(pods().create(pod("a")))).alreadyExists).toBe(true);
    await pods().delete("a", {
      namespace: "n",
      preconditions: { uid: "u" },
      propagationPolicy: "Foreground",
    });
    expect(JSON.parse(last().body)).toMatchObject({
      preconditions: { uid: "u" },
      propagationPolicy: "Foreground",
    });
    expect(await pods().deleteIfExists("a", { namespace: "n" })).toBe(false);
    expect(await pods().find("a", { namespace: "n" })).toBeUndefined();
  });

  test("calls after each other share a connection, deletions too", async () => {
    let connections = 0;
    api.server.on("connection", () => {
      connections++;
    });
    for (const name of ["a", "b", "c"]) {
      await pods().create(pod(name));
      await pods().delete(name, { namespace: "n" });
      expect(await pods().deleteIfExists(name, { namespace: "n" })).toBe(false);
    }
    // A second one is opened when the next call comes before the end of the last answer was seen.
    expect(connections).toBeLessThanOrEqual(2);
  });

  test.each([
    ["merge", "application/merge-patch+json"],
    ["json", "application/json-patch+json"],
    ["strategic", "application/strategic-merge-patch+json"],
  ] as const)("patch of type %s", async (type, contentType) => {
    api.intercept = ending("{}");
    await pods().patch("a", { metadata: {} }, { type, namespace: "n", fieldManager: "me", dryRun: true });
    expect(last().method).toBe("PATCH");
    expect(last().headers["content-type"]).toBe(contentType);
    expect(last().url.search).toBe("?fieldManager=me&dryRun=All");
  });

  test("server-side apply, to the object and to its status", async () => {
    api.intercept = ending("{}");
    await pods().apply(pod("a"), { fieldManager: "me", force: true });
    expect(last().headers["content-type"]).toBe("application/apply-patch+yaml");
    expect(last().url.search).toBe("?fieldManager=me&force=true");
    await pods().applyStatus(pod("a"), { fieldManager: "me" });
    expect(last().url.pathname).toBe("/api/v1/namespaces/n/pods/a/status");
    await pods().updateStatus(pod("a"));
    expect([last().method, last().url.pathname]).toEqual(["PUT", "/api/v1/namespaces/n/pods/a/status"]);
  });

  test("paths of groups, cluster-wide kinds and prefixed servers; names are escaped", async () => {
    api.intercept = ending("{}");
    await client.resource(resources.ciliumnodes).get("x");
    expect(last().url.pathname).toBe("/apis/cilium.io/v2/ciliumnodes/x");
    const prefixed = new KubeClient({ ...api.config, server: `${api.url}/clusters/c1/` });
    await prefixed.resource(resources.leases).get("a/b", { namespace: "n" });
    expect(last().url.pathname).toBe("/clusters/c1/apis/coordination.k8s.io/v1/namespaces/n/leases/a%2Fb");
    await prefixed.close();
  });

  test("what cannot be meant is refused before it is sent", async () => {
    await expect(pods().get("a")).rejects.toThrow('pods "a" needs a namespace');
    await expect(pods().delete("", { namespace: "n" })).rejects.toThrow("an empty name");
    await expect(pods().update({})).rejects.toThrow("without metadata.name");
    expect(api.seen).toEqual([]);
  });
});

describe("errors", () => {
  test("name the verb, the object and the server", async () => {
    const error = await errorOf(pods().get("a", { namespace: "n" }));
    expect(error.message).toBe(`cannot get pods n/a at ${api.url}: told to answer 404 (404 NotFound)`);
    expect([error.code, error.status, error.reason, error.notFound]).toEqual([
      "kube.notFound",
      404,
      "NotFound",
      true,
    ]);
  });

  test("an answer that is no Status keeps its text", async () => {
    api.intercept = ending("<h1>Bad\n Gateway</h1>", 502);
    const error = await errorOf(pods().list());
    expect(error.message).toContain("<h1>Bad Gateway</h1> (502 Unknown)");
    expect(error.transient).toBe(true);
  });

  test("an answer that is no JSON", async () => {
    api.intercept = ending("<html>");
    expect((await errorOf(pods().list())).code).toBe("kube.protocol");
  });

  test("nobody listens", async () => {
    const nobody = new KubeClient({ ...api.config, server: "http://127.0.0.1:1" });
    const error = await errorOf(nobody.resource(resources.nodes).get("n1"));
    expect(error.message).toBe("cannot get nodes n1 at http://127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1");
    expect([error.code, error.status, error.transient]).toEqual(["kube.unreachable", 0, true]);
    await nobody.close();
  });

  test("no answer in time", async () => {
    api.intercept = () => true;
    const error = await errorOf(pods().get("a", { namespace: "n", deadlineMs: 50 }));
    expect(error.code).toBe("kube.deadline");
    expect(error.message).toContain("no answer within 50 ms");
  });

  test("a body beyond the limit", async () => {
    api.intercept = ending(`"${"x".repeat(10_000)}"`);
    const small = new KubeClient(api.config, { maxBodyBytes: 1000 });
    expect((await errorOf(small.resource(resources.pods).list())).code).toBe("kube.tooLarge");
    await small.close();
  });

  test("aborted by the caller", async () => {
    api.intercept = () => true;
    const abort = new AbortController();
    const failed = errorOf(pods().list({ signal: abort.signal }));
    abort.abort();
    expect((await failed).code).toBe("kube.aborted");
  });
});

describe("asking again", () => {
  function refuse(times: number, status: number, headers: Record<string, string>): void {
    let left = times;
    api.intercept = (_seen, response) => left-- > 0 && FakeApi.status(response, status, "Busy", headers);
  }

  test("after 429 and 503 with Retry-After, writes too", async () => {
    refuse(2, 429, { "retry-after": "0" });
    await pods().create(pod("a"));
    refuse(1, 503, { "retry-after": "0" });
    await pods().list();
    expect(api.seen).toHaveLength(5);
  });

  test("not after a failure without Retry-After, nor when the wait is too long", async () => {
    refuse(1, 500, {});
    expect((await errorOf(pods().create(pod("a")))).status).toBe(500);
    refuse(1, 429, { "retry-after": "3600" });
    const error = await errorOf(pods().create(pod("a")));
    expect([error.tooManyRequests, error.retryAfterS]).toEqual([true, 3600]);
  });

  test("a read whose kept connection turns out dead; not a write", async () => {
    let resets = 1;
    api.intercept = (_seen, response) => {
      if (resets-- <= 0) return false;
      response.socket?.destroy();
      return true;
    };
    await pods().list();
    resets = 1;
    expect((await errorOf(pods().create(pod("a")))).code).toBe("kube.unreachable");
    expect(api.seen.map((seen) => seen.method)).toEqual(["GET", "GET", "POST"]);
  });
});

describe("discovery", () => {
  const things = {
    name: "things",
    singularName: "thing",
    kind: "Thing",
    namespaced: true,
    shortNames: ["th"],
    verbs: [],
  };
  const answers: Record<string, unknown> = {
    "/api": { versions: ["v1"] },
    "/apis": {
      groups: [{ name: "x.io", versions: [{ groupVersion: "x.io/v1", version: "v1" }] }],
    },
    "/api/v1": { groupVersion: "v1", resources: [] },
    "/apis/x.io/v1": { groupVersion: "x.io/v1", resources: [things, { ...things, name: "things/status" }] },
  };

  test("finds kinds and names, and keeps what it learnt", async () => {
    api.intercept = (seen, response) => {
      const answer = answers[seen.url.pathname];
      if (answer === undefined) return FakeApi.status(response, 404, "NotFound");
      response.end(JSON.stringify(answer));
      return true;
    };
    const wanted = { group: "x.io", version: "v1", plural: "things", kind: "Thing", namespaced: true };
    expect(await client.discovery.kind("x.io/v1", "Thing")).toEqual(wanted);
    for (const name of ["things", "thing", "th", "Thing", "things.x.io"]) {
      expect(await client.discovery.named(name)).toEqual(wanted);
    }
    expect(api.seen.filter((seen) => seen.url.pathname === "/apis/x.io/v1")).toHaveLength(1);
    await expect(client.discovery.named("nonsense")).rejects.toThrow('serves no resource "nonsense"');
    await expect(client.discovery.kind("x.io/v1", "No")).rejects.toThrow("serves no kind No in x.io/v1");
  });
});
