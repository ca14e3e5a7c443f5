import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, waitFor } from "@axoneme/base";
import { type Handler, RpcServer } from "@axoneme/grpc";
import { GetFlowsResponseSchema, Observer } from "@axoneme/proto";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeEach, expect, test } from "vitest";
import { serveCrowd } from "../../../test/support/crowd-server.ts";
import { FlowHub } from "../src/server/hub.ts";
import { everything } from "../src/shared/model.ts";
import { queryOf } from "../src/shared/questions.ts";
import { flow } from "./rows.ts";

let dir = "";
let server: RpcServer | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "axon-hub-"));
});
afterEach(async () => {
  await server?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const source = (name: string) => ({ name, options: { target: { path: join(dir, name) } } });
const span = { since: 1, until: Date.now(), limit: 10 };

/** A Hubble server with one flow in its store. */
async function serve(name: string): Promise<void> {
  const pod = (podName: string) => ({
    namespace: "shop",
    podName,
    labels: [`k8s:app=${podName}`, "k8s:=broken"],
  });
  const answer = create(GetFlowsResponseSchema, {
    responseTypes: {
      case: "flow",
      value: {
        uuid: "one",
        time: timestampFromMs(1000),
        source: pod("web"),
        destination: pod("cart"),
        l4: { protocol: { case: "TCP", value: { sourcePort: 40_000, destinationPort: 80 } } },
      },
    },
  });
  const getFlows: Handler = async (call) => {
    await call.request();
    await call.write(toBinary(GetFlowsResponseSchema, answer));
  };
  server = new RpcServer({
    methods: new Map([[`/${Observer.typeName}/GetFlows`, getFlows]]),
    log: silentLogger,
  });
  await server.listenUnix(join(dir, name));
}

test("the past is what those tell that answer; nobody at all is an error", async () => {
  await serve("here.sock");
  const hub = new FlowHub([source("here.sock"), source("gone.sock")], silentLogger);
  const { flows, map } = await hub.past(span, everything);
  expect(flows.rows.map(({ id }) => id)).toEqual(["one"]);
  expect(map.edges.map(({ id }) => id)).toEqual(["w:shop/web>w:shop/cart"]);
  await expect(new FlowHub([source("gone.sock")], silentLogger).past(span, everything)).rejects.toThrow(
    "gone.sock",
  );
});

test("labels that are none do not keep a flow from being asked about", () => {
  const row = flow("shop/web", "shop/cart");
  const odd = { ...row, source: { ...row.source, labels: ["k8s:app=web", "k8s:=x", "=y", ""] } };
  expect(queryOf(odd)?.source.labels).toEqual({ "k8s:app": "web" });
});

test("more than it can take is lost, and every flow is counted as one or the other", async () => {
  const path = join(dir, "flood.sock");
  const crowd = await serveCrowd({ path, namespaces: 2, workloadsEach: 5, podsEach: 2, rate: 5_000_000 });
  const hub = new FlowHub([source("flood.sock")], silentLogger);
  hub.start();
  try {
    await waitFor(() => crowd.told().lost > 0, { timeoutMs: 20_000, what: "a reader that falls behind" });
    crowd.rest();
    await waitFor(() => hub.health().counted === crowd.told().sent, {
      timeoutMs: 20_000,
      what: "the last of the flows",
    });
    expect(hub.health().sources[0]?.lost).toBe(crowd.told().lost);
  } finally {
    await hub.stop();
    await crowd.close();
  }
});
