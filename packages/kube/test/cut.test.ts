import type { ServerResponse } from "node:http";
import { waitFor } from "@axoneme/base";
import { KubeClient, ListWatch, resources } from "@axoneme/kube";
import { afterEach, describe, expect, test } from "vitest";
import { FakeApi, type Seen } from "./fakeapi.ts";
import { Recorder } from "./recorder.ts";

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const namespaceOf = (seen: Seen): string => seen.target?.namespace ?? "";
const isWatch = (seen: Seen): boolean => seen.url.searchParams.get("watch") === "true";

/** A history with every kind of change, and characters of two and four bytes. */
async function prepared(): Promise<{ api: FakeApi; client: KubeClient; since: number }> {
  const api = await new FakeApi().listen();
  const client = new KubeClient(api.config, { connections: 32 });
  open.push(api, client);
  api.put("pods", "n", "a", "1");
  const since = api.version;
  api.put("pods", "n", "b", "ü🐙");
  api.put("pods", "n", "a", "2");
  api.remove("pods", "n", "b");
  api.put("pods", "n", "c", "x");
  api.put("pods", "n", "b", "again");
  return { api, client, since };
}

const expected = [
  "add n/a@11",
  "synced",
  "add n/b@12",
  "update n/a@13",
  "delete n/b@14",
  "add n/c@15",
  "add n/b@16",
];

/** The bytes of a whole HTTP response as it goes over the wire: head, chunks of `size`, no end. */
function recorded(body: Buffer, size: number): Buffer {
  const parts: Buffer[] = [
    Buffer.from("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"),
  ];
  for (let at = 0; at < body.length; at += size) {
    const chunk = body.subarray(at, at + size);
    parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from("\r\n"));
  }
  return Buffer.concat(parts);
}

/** Runs one ListWatch whose first list shows version `since` and whose first watch is answered by `first`. */
async function run(
  { api, client, since }: Awaited<ReturnType<typeof prepared>>,
  first: (response: ServerResponse) => void,
): Promise<{ log: string[]; problems: string[]; lists: number }> {
  const before = api.seen.length;
  const state = { cut: false, lists: 0 };
  api.intercept = (seen, response) => {
    if (!isWatch(seen)) {
      state.lists++;
      const object = {
        metadata: { name: "a", namespace: "n", uid: "uid-1", resourceVersion: String(since) },
        data: "1",
      };
      response.end(JSON.stringify({ metadata: { resourceVersion: String(since) }, items: [object] }));
      return true;
    }
    if (state.cut) return false;
    state.cut = true;
    first(response);
    return true;
  };
  const recorder = new Recorder();
  const watch = new ListWatch(client, resources.pods, { namespace: "n", backoffMs: 1, maxBackoffMs: 2 });
  watch.start(recorder);
  await waitFor(() => watch.resourceVersion === "16", { what: "the last event", everyMs: 1 });
  await watch.stop();
  expect(namespaceOf(api.seen[before] as Seen)).toBe("n");
  return { log: recorder.log, problems: recorder.problems, lists: state.lists };
}

describe("a watch cut at any byte loses nothing and repeats nothing", () => {
  test.each([
    ["one event a chunk is not promised: one big chunk", 1 << 20],
    ["chunks of seven bytes", 7],
  ])("%s", { timeout: 60_000 }, async (_title, size) => {
    const setup = await prepared();
    const body = Buffer.from(setup.api.eventLines("pods", "n", setup.since));
    const wire = recorded(body, size);
    // With small chunks the framing repeats; every byte of its first events is enough.
    const last = size > 100 ? wire.length : Math.min(wire.length, 500);
    for (let at = 0; at <= last; at++) {
      const { log, problems, lists } = await run(setup, (response) => {
        // Bytes as they are, then the end of the connection: beneath node's HTTP.
        response.socket?.end(wire.subarray(0, at));
      });
      expect({ at, log, problems, lists }).toEqual({ at, log: expected, problems: [], lists: 1 });
    }
  });

  test("an orderly end in the middle of a line, at any byte", { timeout: 60_000 }, async () => {
    const setup = await prepared();
    const body = Buffer.from(setup.api.eventLines("pods", "n", setup.since));
    for (let at = 0; at <= body.length; at++) {
      const { log, problems, lists } = await run(setup, (response) => {
        response.writeHead(200);
        response.end(body.subarray(0, at));
      });
      expect({ at, log, problems, lists }).toEqual({ at, log: expected, problems: [], lists: 1 });
    }
  });

  test("any chunk size, down to single bytes", async () => {
    const setup = await prepared();
    for (const size of [1, 2, 3, 5, 64]) {
      setup.api.chunkBytes = size;
      const { log, lists } = await run(setup, (response) => {
        response.writeHead(200);
        const body = Buffer.from(setup.api.eventLines("pods", "n", setup.since));
        for (let at = 0; at < body.length; at += size) response.write(body.subarray(at, at + size));
      });
      expect(log).toEqual(expected);
      expect(lists).toBe(1);
    }
  });
});
