import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Health } from "@axoneme/app";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type ApiHandler, ApiServer, action } from "../src/api-server.ts";
import { Meters } from "../src/metrics/meters.ts";
import { quiet } from "./logger.ts";

const dir = mkdtempSync(join(tmpdir(), "axon-api-"));
const done: string[] = [];
const routes = new Map<string, ApiHandler>([
  ["/v1/things", ({ rest }) => ({ json: { rest } })],
  [
    action("/v1/flush"),
    ({ rest }) => {
      done.push(rest);
      return { json: { flushed: rest } };
    },
  ],
]);
const server = new ApiServer("api", { path: join(dir, "api.sock") }, routes, new Meters(), quiet);

beforeAll(() => server.start(new Health().reporter("api")));
afterAll(async () => {
  await server.stop();
  rmSync(dir, { recursive: true });
});

function call(method: string, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ method, path, socketPath: join(dir, "api.sock") }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    sent.on("error", reject);
    sent.end();
  });
}

it("what only tells answers to GET, what does something to POST; nothing is done by reading", async () => {
  expect(await call("GET", "/v1/things/a%2Fb")).toEqual({ status: 200, body: '{"rest":"a/b"}' });
  const post = await call("POST", "/v1/things/a");
  expect([post.status, JSON.parse(post.body)]).toMatchObject([
    405,
    { code: "method_not_allowed", message: "POST is not supported: use GET" },
  ]);
  expect((await call("GET", "/v1/flush/ct")).status).toBe(405);
  expect((await call("DELETE", "/v1/flush/ct")).status).toBe(405);
  expect(done).toEqual([]);
  expect(await call("POST", "/v1/flush/ct")).toEqual({ status: 200, body: '{"flushed":"ct"}' });
  expect(done).toEqual(["ct"]);
  expect((await call("POST", "/v1/none")).status).toBe(404);
});
