import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ApiServer } from "../../src/apiserver/index.ts";
import { configMap, pod, TestServer, widgetCrd } from "./harness.ts";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.stop());

const api = "/api/v1/namespaces/default";

async function eventually(what: string, check: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`not within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("writing objects", () => {
  test("creation sets what the server owns and ignores what clients claim", async () => {
    const { status, body } = await server.post(
      `${api}/configmaps`,
      configMap(
        "made",
        { a: "b" },
        { uid: "mine", generation: 7, creationTimestamp: "2000-01-01T00:00:00Z" },
      ),
    );
    expect(status).toBe(201);
    expect(body.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
    expect(body.metadata.generation).toBeUndefined();
    expect(Date.parse(body.metadata.creationTimestamp)).toBeGreaterThan(Date.now() - 60_000);
    expect(body.metadata.managedFields[0]).toMatchObject({
      operation: "Update",
      fieldsV1: { "f:data": { "f:a": {} } },
    });
  });

  test("generateName, and a name that is there already", async () => {
    const made = await server.post(`${api}/configmaps`, { metadata: { generateName: "x-" } });
    expect(made.body.metadata.name).toMatch(/^x-[a-z0-9]{5}$/);
    const again = await server.post(`${api}/configmaps`, configMap(made.body.metadata.name));
    expect(again.body).toMatchObject({ code: 409, reason: "AlreadyExists", details: { kind: "configmaps" } });
  });

  test("errors have the shape clients parse", async () => {
    expect((await server.get(`${api}/pods/none`)).body).toEqual({
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: 'pods "none" not found',
      reason: "NotFound",
      details: { name: "none", group: "", kind: "pods" },
      code: 404,
    });
    const bad = await server.post(`${api}/pods`, pod("Bad_Name"));
    expect(bad.body).toMatchObject({
      code: 422,
      reason: "Invalid",
      details: { kind: "Pod", causes: [{ field: "metadata.name", reason: "FieldValueInvalid" }] },
    });
    expect((await server.post(`${api}/pods`, "{nope")).body.reason).toBe("BadRequest");
    expect((await server.get("/apis/no.such/v1/things")).status).toBe(404);
    expect((await server.request("PUT", `${api}/pods`, {})).status).toBe(405);
    expect((await server.post(`${api}/pods`, { ...configMap("x") })).status).toBe(400);
    expect(
      (await server.request("POST", `${api}/pods`, "x", { "content-type": "application/cbor" })).status,
    ).toBe(415);
  });

  test("updates: stale revision 409, none given wins, nothing changed writes nothing", async () => {
    const made = (await server.post(`${api}/configmaps`, configMap("up", { a: "1" }))).body;
    const changed = (await server.request("PUT", `${api}/configmaps/up`, { ...made, data: { a: "2" } })).body;
    expect(changed.metadata.resourceVersion).not.toBe(made.metadata.resourceVersion);
    const stale = await server.request("PUT", `${api}/configmaps/up`, { ...made, data: { a: "3" } });
    expect(stale.body).toMatchObject({ code: 409, reason: "Conflict" });
    const same = await server.request("PUT", `${api}/configmaps/up`, changed);
    expect(same.body.metadata.resourceVersion).toBe(changed.metadata.resourceVersion);
    const blind = await server.request("PUT", `${api}/configmaps/up`, configMap("up", { a: "4" }));
    expect(blind.body.data).toEqual({ a: "4" });
    expect(blind.body.metadata.uid).toBe(made.metadata.uid);
  });

  test("generation counts changes of the spec, not of status or labels", async () => {
    const policy = { metadata: { name: "np" }, spec: { podSelector: {}, policyTypes: ["Ingress"] } };
    const url = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    expect((await server.post(url, policy)).body.metadata.generation).toBe(1);
    expect(
      (await server.patch(`${url}/np`, "merge", { metadata: { labels: { a: "b" } } })).body.metadata
        .generation,
    ).toBe(1);
    expect(
      (await server.patch(`${url}/np`, "merge", { spec: { egress: [{}], policyTypes: ["Egress"] } })).body
        .metadata.generation,
    ).toBe(2);
  });

  test("status is written through its own door only", async () => {
    await server.post(`${api}/pods`, { ...pod("st"), status: { phase: "Running" } });
    expect((await server.get(`${api}/pods/st`)).body.status.phase).toBe("Pending");
    await server.patch(`${api}/pods/st`, "merge", { status: { phase: "Running" } });
    expect((await server.get(`${api}/pods/st`)).body.status.phase).toBe("Pending");
    const written = await server.patch(`${api}/pods/st/status`, "merge", {
      status: { phase: "Running" },
      spec: { nodeName: "x" },
    });
    expect([written.body.status.phase, written.body.spec.nodeName]).toEqual(["Running", undefined]);
  });

  test("dryRun=All changes nothing", async () => {
    const dry = await server.post(`${api}/services?dryRun=All`, {
      metadata: { name: "dry" },
      spec: { type: "NodePort", ports: [{ port: 1 }] },
    });
    expect([dry.status, typeof dry.body.spec.ports[0].nodePort]).toEqual([201, "number"]);
    expect((await server.get(`${api}/services/dry`)).status).toBe(404);
  });

  test("without credentials: 401, except for health and version", async () => {
    const anonymous = (path: string) =>
      server.request("GET", path, undefined, { authorization: "Bearer nobody" });
    expect((await anonymous(`${api}/pods`)).body).toMatchObject({ code: 401, reason: "Unauthorized" });
    for (const path of ["/healthz", "/livez", "/readyz", "/version"])
      expect((await anonymous(path)).status).toBe(200);
  });
});

describe("deletion", () => {
  test("finalizers hold an object until they are gone, and none may be added meanwhile", async () => {
    await server.post(`${api}/configmaps`, configMap("held", {}, { finalizers: ["example.com/hold"] }));
    const deleted = await server.request("DELETE", `${api}/configmaps/held`);
    expect(deleted.body.metadata.deletionTimestamp).toBeDefined();
    const added = await server.patch(`${api}/configmaps/held`, "merge", {
      metadata: { finalizers: ["example.com/hold", "example.com/more"] },
    });
    expect(added.status).toBe(422);
    await server.patch(`${api}/configmaps/held`, "merge", { metadata: { finalizers: [] } });
    expect((await server.get(`${api}/configmaps/held`)).status).toBe(404);
  });

  test("propagation policies leave their finalizers for the garbage collector", async () => {
    await server.post(`${api}/configmaps`, configMap("fg"));
    const deleted = await server.request("DELETE", `${api}/configmaps/fg`, {
      propagationPolicy: "Foreground",
    });
    expect(deleted.body.metadata.finalizers).toEqual(["foregroundDeletion"]);
    await server.patch(`${api}/configmaps/fg`, "json", [{ op: "remove", path: "/metadata/finalizers" }]);
    expect((await server.get(`${api}/configmaps/fg`)).status).toBe(404);
  });

  test("preconditions", async () => {
    const made = (await server.post(`${api}/configmaps`, configMap("pre"))).body;
    expect(
      (await server.request("DELETE", `${api}/configmaps/pre`, { preconditions: { uid: "other" } })).status,
    ).toBe(409);
    expect(
      (await server.request("DELETE", `${api}/configmaps/pre`, { preconditions: { uid: made.metadata.uid } }))
        .body.status,
    ).toBe("Success");
  });

  test("a pod on a node waits for its kubelet; one that is not, or has ended, does not", async () => {
    await server.post(`${api}/pods`, pod("loose"));
    await server.request("DELETE", `${api}/pods/loose`);
    expect((await server.get(`${api}/pods/loose`)).status).toBe(404);

    await server.post(`${api}/pods`, pod("bound", { nodeName: "n", terminationGracePeriodSeconds: 20 }));
    const deleted = (await server.request("DELETE", `${api}/pods/bound`)).body.metadata;
    expect(deleted.deletionGracePeriodSeconds).toBe(20);
    const shorter = (await server.request("DELETE", `${api}/pods/bound`, { gracePeriodSeconds: 5 })).body
      .metadata;
    expect(Date.parse(deleted.deletionTimestamp) - Date.parse(shorter.deletionTimestamp)).toBe(15_000);
    const longer = (await server.request("DELETE", `${api}/pods/bound?gracePeriodSeconds=60`)).body.metadata;
    expect(longer.deletionTimestamp).toBe(shorter.deletionTimestamp);
    await server.request("DELETE", `${api}/pods/bound?gracePeriodSeconds=0`);
    expect((await server.get(`${api}/pods/bound`)).status).toBe(404);
  });

  test("deletecollection obeys selectors", async () => {
    await server.post(`${api}/configmaps`, configMap("c1", {}, { labels: { go: "yes" } }));
    await server.post(`${api}/configmaps`, configMap("c2"));
    await server.request("DELETE", `${api}/configmaps?labelSelector=go%3Dyes`);
    expect((await server.get(`${api}/configmaps/c1`)).status).toBe(404);
    expect((await server.get(`${api}/configmaps/c2`)).status).toBe(200);
  });

  test("a namespace takes no new objects once it is Terminating, and goes when it is empty", async () => {
    await server.post("/api/v1/namespaces", { metadata: { name: "going" } });
    const url = "/api/v1/namespaces/going";
    await server.post(`${url}/pods`, pod("p", { nodeName: "n" }));
    await server.post(`${url}/configmaps`, configMap("c"));
    expect((await server.request("DELETE", url)).body.status.phase).toBe("Terminating");
    const refused = await server.post(`${url}/configmaps`, configMap("late"));
    expect(refused.body).toMatchObject({
      code: 403,
      reason: "Forbidden",
      details: { causes: [{ reason: "NamespaceTerminating" }] },
    });
    await eventually(
      "the pod is asked to end",
      async () => (await server.get(`${url}/pods/p`)).body.metadata?.deletionTimestamp !== undefined,
    );
    expect((await server.get(url)).status).toBe(200);
    await server.request("DELETE", `${url}/pods/p?gracePeriodSeconds=0`);
    await eventually("the namespace is gone", async () => (await server.get(url)).status === 404);
    expect((await server.post(`${url}/configmaps`, configMap("x"))).body.message).toBe(
      'namespaces "going" not found',
    );
  });

  test("evictions ask the disruption budgets", async () => {
    const url = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    await server.post(url, {
      metadata: { name: "pdb" },
      spec: { minAvailable: 1, selector: { matchLabels: { guarded: "yes" } } },
    });
    await server.post(`${api}/pods`, pod("guarded", { nodeName: "n" }, { labels: { guarded: "yes" } }));
    await server.patch(`${api}/pods/guarded/status`, "merge", { status: { phase: "Running" } });
    const evict = () =>
      server.post(`${api}/pods/guarded/eviction`, {
        apiVersion: "policy/v1",
        kind: "Eviction",
        metadata: { name: "guarded" },
      });
    expect((await evict()).status).toBe(429);
    await server.patch(`${url}/pdb/status`, "merge", { status: { disruptionsAllowed: 1 } });
    expect((await evict()).status).toBe(201);
    expect((await server.get(`${api}/pods/guarded`)).body.metadata.deletionTimestamp).toBeDefined();
  });
});

describe("defaults and rules of built-in kinds", () => {
  test("pods", async () => {
    const { body } = await server.post(
      `${api}/pods`,
      pod("def", {
        containers: [
          {
            name: "c",
            image: "x:1",
            ports: [{ containerPort: 80 }],
            resources: { limits: { cpu: "1", memory: "1Gi" } },
          },
        ],
      }),
    );
    expect(body.spec).toMatchObject({
      restartPolicy: "Always",
      dnsPolicy: "ClusterFirst",
      serviceAccountName: "default",
      terminationGracePeriodSeconds: 30,
    });
    expect(body.spec.containers[0]).toMatchObject({
      imagePullPolicy: "IfNotPresent",
      ports: [{ protocol: "TCP" }],
      resources: { requests: { cpu: "1" } },
    });
    expect(body.status).toEqual({ phase: "Pending", qosClass: "Guaranteed" });
  });

  test.each([
    ["spec.containers", { containers: [] }],
    ["spec.containers[0].image", { containers: [{ name: "c" }] }],
    [
      "spec.containers[1].name",
      {
        containers: [
          { name: "c", image: "x" },
          { name: "c", image: "x" },
        ],
      },
    ],
    [
      "spec.containers[0].ports[0].containerPort",
      { containers: [{ name: "c", image: "x", ports: [{ containerPort: 70_000 }] }] },
    ],
    ["spec.restartPolicy", { containers: [{ name: "c", image: "x" }], restartPolicy: "Sometimes" }],
    [
      "spec.containers[0].volumeMounts[0].name",
      { containers: [{ name: "c", image: "x", volumeMounts: [{ name: "v", mountPath: "/v" }] }] },
    ],
  ])("a pod whose %s is wrong is refused", async (field, spec) => {
    const { body } = await server.post(`${api}/pods`, pod("wrong", spec));
    expect(body.code).toBe(422);
    expect(body.details.causes.map((cause: { field: string }) => cause.field)).toContain(field);
  });

  test("the spec of a pod is fixed but for its image", async () => {
    await server.post(`${api}/pods`, pod("fixed"));
    const patch = (container: object) =>
      server.patch(`${api}/pods/fixed`, "strategic-merge", {
        spec: { containers: [{ name: "c", ...container }] },
      });
    expect((await patch({ image: "other" })).status).toBe(200);
    expect((await patch({ command: ["x"] })).body).toMatchObject({ code: 422, reason: "Invalid" });
  });

  test("a wrong type is a malformed request", async () => {
    const { body } = await server.post(
      `${api}/pods`,
      pod("typed", { terminationGracePeriodSeconds: "soon" }),
    );
    expect(body).toMatchObject({ code: 400, reason: "BadRequest" });
    expect(body.message).toMatch(/terminationGracePeriodSeconds/);
  });

  test("services get addresses and ports, and give them back", async () => {
    const service = (name: string, spec: object) =>
      server.post(`${api}/services`, { metadata: { name }, spec: { ports: [{ port: 80 }], ...spec } });
    const plain = (await service("plain", {})).body.spec;
    expect(plain).toMatchObject({
      type: "ClusterIP",
      sessionAffinity: "None",
      internalTrafficPolicy: "Cluster",
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
    });
    expect(plain.ports).toEqual([{ port: 80, protocol: "TCP", targetPort: 80 }]);
    expect(plain.clusterIPs).toEqual([plain.clusterIP]);
    const dual = (await service("dual", { ipFamilyPolicy: "PreferDualStack" })).body.spec;
    expect(dual.ipFamilies).toEqual(["IPv4", "IPv6"]);
    expect(dual.clusterIPs[1]).toMatch(/^fd96::/);
    expect((await service("six", { ipFamilies: ["IPv6"] })).body.spec.clusterIP).toMatch(/^fd96::/);
    expect((await service("headless", { clusterIP: "None" })).body.spec.clusterIPs).toEqual(["None"]);
    expect(
      (await service("outside", { type: "ExternalName", externalName: "example.com", ports: [] })).body.spec
        .clusterIP,
    ).toBeUndefined();
    expect((await service("fixed-ip", { clusterIP: "10.96.3.3" })).body.spec.clusterIP).toBe("10.96.3.3");
    expect((await service("same-ip", { clusterIP: "10.96.3.3" })).body.message).toMatch(/already allocated/);
    expect((await service("far-ip", { clusterIP: "10.1.1.1" })).body.message).toMatch(
      /not in the valid range/,
    );
    await server.request("DELETE", `${api}/services/fixed-ip`);
    expect((await service("same-ip", { clusterIP: "10.96.3.3" })).status).toBe(201);
    const port = { port: 1, nodePort: 31_000 };
    expect((await service("np1", { type: "NodePort", ports: [port] })).status).toBe(201);
    expect((await service("np2", { type: "NodePort", ports: [port] })).body.message).toMatch(
      /provided port is already allocated/,
    );
    expect(
      (await service("np3", { type: "NodePort", ports: [{ port: 1, nodePort: 1000 }] })).body.message,
    ).toMatch(/valid range/);
    await server.patch(`${api}/services/np1`, "merge", { spec: { type: "ClusterIP" } });
    expect((await server.get(`${api}/services/np1`)).body.spec.ports[0].nodePort).toBeUndefined();
    expect((await service("np2", { type: "NodePort", ports: [port] })).status).toBe(201);
    const kept = await server.request("PUT", `${api}/services/np2`, {
      metadata: { name: "np2" },
      spec: { type: "NodePort", ports: [{ port: 1 }] },
    });
    expect(kept.body.spec.ports[0].nodePort).toBe(31_000);
  });

  test("the service of the server itself stands in default", async () => {
    expect((await server.get(`${api}/services/kubernetes`)).body.spec.clusterIP).toBe("10.96.0.1");
    const slice = (await server.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"))
      .body;
    expect(slice.endpoints[0].addresses).toEqual(["127.0.0.1"]);
    expect(slice.ports[0].port).toBe(server.server.port());
  });

  test("deployments must select their own template", async () => {
    const spec = {
      selector: { matchLabels: { a: "1" } },
      template: { metadata: { labels: { a: "2" } }, spec: { containers: [{ name: "c", image: "x" }] } },
    };
    const { body } = await server.post("/apis/apps/v1/namespaces/default/deployments", {
      metadata: { name: "d" },
      spec,
    });
    expect(body.message).toMatch(/`selector` does not match template `labels`/);
  });

  test("secrets turn stringData into data", async () => {
    const { body } = await server.post(`${api}/secrets`, { metadata: { name: "s" }, stringData: { a: "ü" } });
    expect([body.data, body.stringData, body.type]).toEqual([{ a: "w7w=" }, undefined, "Opaque"]);
  });

  test("network policies get their policyTypes, and bad peers are refused", async () => {
    const url = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    const { body } = await server.post(url, {
      metadata: { name: "types" },
      spec: { podSelector: {}, egress: [{ ports: [{ port: 53 }] }] },
    });
    expect(body.spec).toMatchObject({
      policyTypes: ["Ingress", "Egress"],
      egress: [{ ports: [{ protocol: "TCP" }] }],
    });
    const bad = await server.post(url, {
      metadata: { name: "bad" },
      spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/99" } }] }] },
    });
    expect(bad.body.details.causes[0].field).toBe("spec.ingress[0].from[0].ipBlock.cidr");
  });
});

describe("custom resources", () => {
  const widgets = "/apis/example.com/v1/namespaces/default/widgets";

  test("a definition is established at once; a schema that is not structural is refused", async () => {
    const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    const { body } = await server.post(crds, widgetCrd);
    expect(
      body.status.conditions.map((each: { type: string; status: string }) => `${each.type}=${each.status}`),
    ).toEqual(["NamesAccepted=True", "Established=True"]);
    expect(body.status.storedVersions).toEqual(["v1"]);
    const odd = structuredClone(widgetCrd) as {
      metadata: { name: string };
      spec: { names: { plural: string; kind: string }; versions: { schema: object }[] };
    };
    odd.metadata.name = "odds.example.com";
    odd.spec.names = { plural: "odds", kind: "Odd" };
    for (const version of odd.spec.versions)
      version.schema = { openAPIV3Schema: { type: "object", properties: { spec: { properties: {} } } } };
    expect((await server.post(crds, odd)).body.details.causes[0].field).toMatch(/properties\[spec\]\.type/);
  });

  test("defaults, int-or-string, unknown fields, lists by key", async () => {
    const { body, headers } = await server.post(widgets, {
      metadata: { name: "w" },
      spec: { size: 1, port: "http", odd: 1, free: { any: { thing: 1 } } },
    });
    expect(body.spec).toEqual({
      size: 1,
      port: "http",
      color: "red",
      replicas: 1,
      free: { any: { thing: 1 } },
    });
    expect(String(headers["warning"])).toMatch(/unknown field \\"spec.odd\\"/);
    const twice = { spec: { items: [{ name: "a" }, { name: "a" }] } };
    expect((await server.patch(`${widgets}/w`, "merge", twice)).body.details.causes[0]).toMatchObject({
      reason: "FieldValueDuplicate",
      field: "spec.items[1]",
    });
    const wrong = await server.patch(`${widgets}/w`, "merge", {
      spec: { port: 1.5, color: "green", size: "big" },
    });
    expect(wrong.body.details.causes.map((cause: { field: string }) => cause.field).sort()).toEqual([
      "spec.color",
      "spec.port",
      "spec.size",
    ]);
    expect((await server.patch(`${widgets}/w`, "strategic-merge", {})).status).toBe(415);
  });

  test("generation and status behave as the subresource says", async () => {
    const before = (await server.get(`${widgets}/w`)).body.metadata.generation;
    expect(
      (await server.patch(`${widgets}/w/status`, "merge", { status: { x: 1 } })).body.metadata.generation,
    ).toBe(before);
    expect(
      (await server.patch(`${widgets}/w`, "merge", { spec: { size: 2 } })).body.metadata.generation,
    ).toBe(before + 1);
  });

  test("server-side apply merges lists by the keys of the schema", async () => {
    const config = (items: object[]) => ({
      apiVersion: "example.com/v1",
      kind: "Widget",
      metadata: { name: "w" },
      spec: { items },
    });
    await server.patch(`${widgets}/w?fieldManager=one&force=true`, "apply", config([{ name: "a", v: "a1" }]));
    const { body } = await server.patch(
      `${widgets}/w?fieldManager=two`,
      "apply",
      config([{ name: "b", v: "a2" }]),
    );
    expect(body.spec.items).toEqual([
      { name: "a", v: "a1" },
      { name: "b", v: "a2" },
    ]);
    const clash = await server.patch(
      `${widgets}/w?fieldManager=two`,
      "apply",
      config([{ name: "a", v: "a9" }]),
    );
    expect(clash.body).toMatchObject({
      code: 409,
      details: { causes: [{ reason: "FieldManagerConflict", field: '.spec.items[name="a"].v' }] },
    });
    expect((await server.patch(`${widgets}/w`, "apply", config([]))).status).toBe(400);
  });

  test("deleting the definition deletes its objects and its URLs", async () => {
    await server.request(
      "DELETE",
      "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com",
    );
    await eventually("the resource is unknown", async () => (await server.get(widgets)).status === 404);
    await server.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widgetCrd);
    expect((await server.get(widgets)).body.items).toEqual([]);
  });
});

describe("a restart", () => {
  test("keeps objects, kinds, revisions, addresses and credentials", async () => {
    await server.post("/apis/example.com/v1/namespaces/default/widgets", {
      metadata: { name: "kept" },
      spec: { size: 1 },
    });
    const before = (await server.get(`${api}/services`)).body;
    const token = server.auth.headers.authorization;
    const ca = server.server.ca;
    await server.restart();
    expect(server.server.ca).toBe(ca);
    expect(server.auth.headers.authorization).toBe(token);
    const after = (await server.get(`${api}/services`)).body;
    // Only the server's own endpoints may have moved (to its new port).
    expect(after.items).toEqual(before.items);
    expect((await server.get("/apis/example.com/v1/namespaces/default/widgets/kept")).body.spec.color).toBe(
      "red",
    );
    const taken = after.items.find((each: { metadata: { name: string } }) => each.metadata.name === "plain")
      .spec.clusterIP;
    expect(
      (
        await server.post(`${api}/services`, {
          metadata: { name: "thief" },
          spec: { clusterIP: taken, ports: [{ port: 1 }] },
        })
      ).body.message,
    ).toMatch(/already allocated/);
    // A watch from a revision before the last change of its kind cannot be served any more; from the latest it can.
    const old = await server.watch(`${api}/services?watch=true&resourceVersion=2`);
    expect((await old.next())?.object).toMatchObject({ code: 410 });
    const latest = await server.watch(
      `${api}/services?watch=true&resourceVersion=${before.metadata.resourceVersion}`,
    );
    await server.post(`${api}/services`, { metadata: { name: "fresh" }, spec: { ports: [{ port: 1 }] } });
    expect(await latest.names(1)).toEqual(["ADDED fresh"]);
    latest.close();
  });
});

describe("starting", () => {
  test("one server at a time has a state directory", async () => {
    await expect(ApiServer.start({ stateDir: server.dir })).rejects.toThrow(
      /is in use by the API server of process/,
    );
    expect((await server.get("/healthz")).status).toBe(200);
  });

  test("an address that is taken is named, and the directory is free again", async () => {
    const dir = mkdtempSync(join(tmpdir(), "ax-apiserver-"));
    const listen = [{ host: "127.0.0.1", port: server.server.port() }];
    await expect(ApiServer.start({ stateDir: dir, listen })).rejects.toThrow(
      /cannot listen on 127\.0\.0\.1:\d+/,
    );
    const second = await ApiServer.start({ stateDir: dir });
    await second.stop();
    rmSync(dir, { recursive: true });
  });

  test("nodes register with their status", async () => {
    const status = {
      conditions: [{ type: "Ready", status: "True" }],
      addresses: [{ type: "InternalIP", address: "10.0.0.1" }],
    };
    const { body } = await server.post("/api/v1/nodes", {
      metadata: { name: "self" },
      spec: { podCIDRs: ["10.1.0.0/24", "fd00::/64"] },
      status,
    });
    expect(body.status.addresses).toEqual(status.addresses);
    expect(body.spec.podCIDR).toBe("10.1.0.0/24");
    const wide = await server.get("/api/v1/nodes/self", {
      accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    });
    expect(wide.body.rows[0].cells.slice(0, 3)).toEqual(["self", "Ready", "<none>"]);
  });
});
