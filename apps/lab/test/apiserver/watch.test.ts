import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { configMap, pod, TestServer } from "./harness.ts";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start({ historySize: 100 });
});
afterAll(() => server.stop());

const maps = "/api/v1/namespaces/default/configmaps";

async function namespace(name: string): Promise<string> {
  await server.post("/api/v1/namespaces", { metadata: { name } });
  return `/api/v1/namespaces/${name}`;
}

describe("lists", () => {
  test("pages show the state at the first page, whatever happens meanwhile", async () => {
    const ns = await namespace("pages");
    for (const name of ["a", "b", "c", "d", "e"]) await server.post(`${ns}/configmaps`, configMap(name));
    const first = await server.get(`${ns}/configmaps?limit=2`);
    expect(first.body.metadata.remainingItemCount).toBe(3);
    await server.request("DELETE", `${ns}/configmaps/c`);
    await server.post(`${ns}/configmaps`, configMap("bb"));
    const second = await server.get(`${ns}/configmaps?limit=2&continue=${first.body.metadata.continue}`);
    const third = await server.get(`${ns}/configmaps?limit=2&continue=${second.body.metadata.continue}`);
    const names = [first, second, third].flatMap((page) =>
      page.body.items.map((each: { metadata: { name: string } }) => each.metadata.name),
    );
    expect(names).toEqual(["a", "b", "c", "d", "e"]);
    expect(third.body.metadata.continue).toBeUndefined();
    expect(second.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
    // A watch from the list's revision then tells exactly what the list does not have.
    const watch = await server.watch(
      `${ns}/configmaps?watch=1&resourceVersion=${first.body.metadata.resourceVersion}`,
    );
    expect(await watch.names(2)).toEqual(["DELETED c", "ADDED bb"]);
    watch.close();
  });

  test("a continue token of before a restart is answered 410, nonsense 400", async () => {
    const gone = Buffer.from(JSON.stringify({ id: "none", offset: 2 })).toString("base64url");
    expect((await server.get(`${maps}?limit=2&continue=${gone}`)).body).toMatchObject({
      code: 410,
      reason: "Expired",
    });
    expect((await server.get(`${maps}?limit=2&continue=%25%25`)).status).toBe(400);
  });

  test("resourceVersion: any, not older than, exact, from the future, not a number", async () => {
    const now = (await server.post(maps, configMap("exact"))).body.metadata.resourceVersion;
    const get = async (query: string) => (await server.get(`${maps}?${query}`)).status;
    expect(await get("resourceVersion=0")).toBe(200);
    expect(await get(`resourceVersion=${now}&resourceVersionMatch=NotOlderThan`)).toBe(200);
    expect(await get(`resourceVersion=${now}&resourceVersionMatch=Exact`)).toBe(200);
    expect(await get("resourceVersion=1&resourceVersionMatch=Exact")).toBe(410);
    expect(await get(`resourceVersion=${Number(now) + 1000}`)).toBe(504);
    expect(await get("resourceVersion=abc")).toBe(400);
    expect(await get("resourceVersionMatch=Exact")).toBe(400);
  });

  test.each([
    ["a=1", ["one", "both"]],
    ["a==1,b=2", ["both"]],
    ["a in (1,3)", ["one", "both", "three"]],
    ["a notin (1)", ["none", "three"]],
    ["a!=1", ["none", "three"]],
    ["a", ["one", "both", "three"]],
    ["!a", ["none"]],
  ])("label selector %s", async (selector, wanted) => {
    const ns = await namespace("labels");
    const labels = { one: { a: "1" }, both: { a: "1", b: "2" }, three: { a: "3" }, none: {} };
    for (const [name, each] of Object.entries(labels))
      await server.post(`${ns}/configmaps`, configMap(name, {}, { labels: each }));
    const found = await server.get(`${ns}/configmaps?labelSelector=${encodeURIComponent(selector)}`);
    expect(found.body.items.map((each: { metadata: { name: string } }) => each.metadata.name).sort()).toEqual(
      [...wanted].sort(),
    );
  });

  test("selectors that cannot be understood are 400", async () => {
    expect((await server.get(`${maps}?labelSelector=${encodeURIComponent("a in (")}`)).status).toBe(400);
    expect((await server.get(`${maps}?fieldSelector=data.x%3D1`)).body.message).toMatch(
      /field label not supported: data.x/,
    );
  });
});

describe("watches", () => {
  test("begin with what there is when no revision is named, and go on", async () => {
    const ns = await namespace("begin");
    await server.post(`${ns}/configmaps`, configMap("before"));
    const watch = await server.watch(`${ns}/configmaps?watch=true`);
    await server.post(`${ns}/configmaps`, configMap("after"));
    await server.patch(`${ns}/configmaps/after`, "merge", { data: { a: "1" } });
    await server.request("DELETE", `${ns}/configmaps/before`);
    expect(await watch.names(4)).toEqual(["ADDED before", "ADDED after", "MODIFIED after", "DELETED before"]);
    watch.close();
  });

  test("resume from a revision without loss or repetition", async () => {
    const ns = await namespace("resume");
    const first = await server.post(`${ns}/configmaps`, configMap("a"));
    await server.post(`${ns}/configmaps`, configMap("b"));
    const watch = await server.watch(
      `${ns}/configmaps?watch=true&resourceVersion=${first.body.metadata.resourceVersion}`,
    );
    await server.post(`${ns}/configmaps`, configMap("c"));
    expect(await watch.names(2)).toEqual(["ADDED b", "ADDED c"]);
    watch.close();
  });

  test("a revision that fell out of the window gets an ERROR event with 410", async () => {
    const ns = await namespace("window");
    const first = await server.post(`${ns}/configmaps`, configMap("w"));
    for (let i = 0; i < 150; i++)
      await server.patch(`${ns}/configmaps/w`, "merge", { data: { i: String(i) } });
    const watch = await server.watch(
      `${ns}/configmaps?watch=true&resourceVersion=${first.body.metadata.resourceVersion}`,
    );
    const event = await watch.next();
    expect(event).toMatchObject({ type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired" } });
    expect(await watch.next()).toBeUndefined();
  });

  test("with a selector, an object that comes to match is added and one that ceases to is deleted", async () => {
    const ns = await namespace("selected");
    const watch = await server.watch(`${ns}/configmaps?watch=true&labelSelector=on%3Dyes`);
    await server.post(`${ns}/configmaps`, configMap("x"));
    const label = (on: string | null) =>
      server.patch(`${ns}/configmaps/x`, "merge", { metadata: { labels: { on } } });
    await label("yes");
    await server.patch(`${ns}/configmaps/x`, "merge", { data: { a: "1" } });
    const left = await label("no");
    await label("yes");
    const events = [];
    for (let i = 0; i < 4; i++) events.push(await watch.next());
    expect(events.map((event) => event?.type)).toEqual(["ADDED", "MODIFIED", "DELETED", "ADDED"]);
    expect(events[2]?.object.metadata.labels.on).toBe("yes");
    expect(events[2]?.object.metadata.resourceVersion).toBe(left.body.metadata.resourceVersion);
    watch.close();
  });

  test("pods by node, as kubelets watch", async () => {
    const ns = await namespace("kubelet");
    const watch = await server.watch("/api/v1/pods?watch=true&fieldSelector=spec.nodeName%3Dn9");
    await server.post(`${ns}/pods`, pod("loose"));
    await server.post(`${ns}/pods/loose/binding`, { target: { kind: "Node", name: "n9" } });
    expect((await watch.next())?.object).toMatchObject({
      metadata: { name: "loose" },
      spec: { nodeName: "n9" },
    });
    watch.close();
  });

  test("a streaming list ends its initial events with a bookmark", async () => {
    const ns = await namespace("stream");
    await server.post(`${ns}/configmaps`, configMap("a"));
    await server.post(`${ns}/configmaps`, configMap("b"));
    const query =
      "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    const watch = await server.watch(`${ns}/configmaps?${query}`);
    expect(await watch.names(2)).toEqual(["ADDED a", "ADDED b"]);
    const mark = await watch.next();
    expect(mark?.type).toBe("BOOKMARK");
    expect(mark?.object.metadata.annotations).toEqual({ "k8s.io/initial-events-end": "true" });
    expect(Number(mark?.object.metadata.resourceVersion)).toBeGreaterThan(1);
    watch.close();
    expect((await server.get(`${ns}/configmaps?watch=true&sendInitialEvents=true`)).status).toBe(400);
  });

  test("timeoutSeconds ends the stream, with a bookmark where those are wanted", async () => {
    const watch = await server.watch(
      `${maps}?watch=true&resourceVersion=${(await server.get(maps)).body.metadata.resourceVersion}&timeoutSeconds=1&allowWatchBookmarks=true`,
    );
    expect((await watch.next())?.type).toBe("BOOKMARK");
    expect(await watch.next()).toBeUndefined();
  });

  test("of one object by its path", async () => {
    const ns = await namespace("single");
    const watch = await server.watch(`${ns}/configmaps/me?watch=true`);
    await server.post(`${ns}/configmaps`, configMap("other"));
    await server.post(`${ns}/configmaps`, configMap("me"));
    expect(await watch.names(1)).toEqual(["ADDED me"]);
    watch.close();
  });

  test("as tables and as metadata only", async () => {
    const ns = await namespace("forms");
    const table = await server.watch(`${ns}/configmaps?watch=true`, {
      accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
    });
    const meta = await server.watch(`${ns}/configmaps?watch=true`, {
      accept: "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    });
    await server.post(`${ns}/configmaps`, configMap("one", { a: "b" }));
    await server.post(`${ns}/configmaps`, configMap("two"));
    const [first, second] = [await table.next(), await table.next()];
    expect(first?.object.columnDefinitions.map((each: { name: string }) => each.name)).toEqual([
      "Name",
      "Data",
      "Age",
    ]);
    expect(first?.object.rows[0].cells.slice(0, 2)).toEqual(["one", 1]);
    expect(second?.object.columnDefinitions).toEqual([]);
    const seen = await meta.next();
    expect(seen?.object.kind).toBe("PartialObjectMetadata");
    expect(seen?.object.data).toBeUndefined();
    table.close();
    meta.close();
  });
});
