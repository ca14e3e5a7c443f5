import type { ServerResponse } from "node:http";
import { waitFor } from "@axoneme/base";
import { KubeClient, ListWatch, resources } from "@axoneme/kube";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FakeApi, type Seen } from "./fakeapi.ts";
import { Recorder } from "./recorder.ts";

type Op =
  | { op: "put" | "remove"; name: string }
  | { op: "compact" | "bookmark" | "cut" | "expireTokens" | "breathe" };

const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ op: fc.constant("put" as const), name: fc.constantFrom("a", "b", "c", "d", "e") }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant("remove" as const),
      name: fc.constantFrom("a", "b", "c", "d", "e"),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constantFrom("compact", "bookmark", "cut", "expireTokens", "breathe") }),
  },
);

/** How one request is spoilt; the number says after how many bytes where that matters. */
type Fault = { kind: string; bytes: number };
const kinds = [
  "none",
  "none",
  "500",
  "503",
  "410",
  "reset",
  "cutWatch",
  "endWatch",
  "garbage",
  "errorEvent",
  "silent",
];
const fault: fc.Arbitrary<Fault> = fc.record({
  kind: fc.constantFrom(...kinds),
  bytes: fc.integer({ min: 0, max: 400 }),
});

const isWatch = (seen: Seen): boolean => seen.url.searchParams.get("watch") === "true";

function spoil({ kind, bytes }: Fault, seen: Seen, response: ServerResponse, api: FakeApi): boolean {
  switch (kind) {
    case "500":
      return FakeApi.status(response, 500, "InternalError");
    case "503":
      return FakeApi.status(response, 503, "ServiceUnavailable", { "retry-after": "0" });
    case "410":
      return FakeApi.status(response, 410, "Expired");
    case "reset":
      response.socket?.destroy();
      return true;
    case "garbage":
      // A garbled list ends; one that hangs is the deadline's affair.
      if (isWatch(seen)) response.write("<html>\n");
      else response.end("<html>\n");
      return true;
    case "silent":
      if (!isWatch(seen)) return false;
      response.writeHead(200);
      response.flushHeaders();
      return true;
    case "errorEvent":
      if (!isWatch(seen)) return false;
      response.write(
        `${JSON.stringify({ type: "ERROR", object: { code: 500, reason: "InternalError" } })}\n`,
      );
      return true;
    case "cutWatch":
    case "endWatch":
      return isWatch(seen) && partial(kind, bytes, seen, response, api);
    default:
      return false;
  }
}

/** The true events so far, but only the first bytes of them. */
function partial(kind: string, bytes: number, seen: Seen, response: ServerResponse, api: FakeApi): boolean {
  const since = Number(seen.url.searchParams.get("resourceVersion"));
  if (since < api.compacted) return false;
  response.writeHead(200);
  const body = Buffer.from(api.eventLines("pods", "n", since)).subarray(0, bytes);
  if (kind === "endWatch") response.end(body);
  else response.write(body, () => response.destroy());
  return true;
}

async function perform(step: Op, api: FakeApi): Promise<void> {
  if (step.op === "put") api.put("pods", "n", step.name, `v${api.version}`);
  else if (step.op === "remove") api.remove("pods", "n", step.name);
  else if (step.op === "compact") api.compact();
  else if (step.op === "bookmark") api.bookmark();
  else if (step.op === "cut") api.cutWatches();
  else if (step.op === "expireTokens") api.expireTokens();
  // Lets the sockets move on by some unknown amount.
  for (let turn = 0; turn < (step.op === "breathe" ? 20 : 1); turn++)
    await new Promise((resolve) => setImmediate(resolve));
}

test("whatever the server and the wire do, the copy converges and the events add up to it", {
  timeout: 120_000,
}, async () => {
  const property = fc.asyncProperty(
    fc.array(op, { minLength: 5, maxLength: 60 }),
    fc.array(fault, { maxLength: 12 }),
    async (ops, faults) => {
      const api = await new FakeApi().listen();
      const client = new KubeClient(api.config);
      const queue = [...faults];
      api.intercept = (seen, response) =>
        spoil(queue.shift() ?? { kind: "none", bytes: 0 }, seen, response, api);
      const options = { namespace: "n", pageSize: 2, backoffMs: 1, maxBackoffMs: 3, silenceMs: 40 };
      const watch = new ListWatch(client, resources.pods, options);
      const recorder = new Recorder();
      try {
        watch.start(recorder);
        for (const step of ops) await perform(step, api);
        const truth = (): string[] =>
          api.objects("pods", "n").map((o) => `${o.metadata.name}@${o.metadata.resourceVersion}`);
        const copy = (): string[] =>
          [...watch.store.values()].map((o) => `${o.metadata?.name}@${o.metadata?.resourceVersion}`).sort();
        await waitFor(() => recorder.synced > 0 && JSON.stringify(copy()) === JSON.stringify(truth()), {
          what: "the copy to equal the server's state",
        });
        expect(recorder.problems).toEqual([]);
        expect(recorder.synced).toBe(1);
        expect([...recorder.folded.values()].sort(byName)).toEqual([...watch.store.values()].sort(byName));
      } finally {
        await watch.stop();
        await client.close();
        await api.close();
      }
    },
  );
  await fc.assert(property, { numRuns: 60 });
});

function byName(a: { metadata?: { name?: string } }, b: { metadata?: { name?: string } }): number {
  return (a.metadata?.name ?? "") < (b.metadata?.name ?? "") ? -1 : 1;
}
