/** The page over a cluster of 3,000 pods: everything can be seen, and nothing grows. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Emitter, silentLogger, waitFor } from "@axoneme/base";
import { TlsHolder } from "@axoneme/grpc";
import { type PeerChange, startRelay } from "@axoneme/observe";
import { issue } from "@axoneme/pki";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Running, root } from "./support/command.ts";
import { serveCrowd } from "./support/crowd-server.ts";

const dir = mkdtempSync(join(tmpdir(), "axon-ui-"));
const path = join(dir, "hubble.sock");
const crowd = { path, namespaces: 10, workloadsEach: 50, podsEach: 6, rate: 5000 };
let server: Awaited<ReturnType<typeof serveCrowd>> | undefined;
let ui: Running | undefined;
let browser: Browser | undefined;
let page: Page;

beforeAll(async () => {
  server = await serveCrowd(crowd);
  const args = [join(root, "dist/ui.mjs"), "--server", `unix://${path}`, "--listen", "127.0.0.1:0"];
  ui = new Running(process.execPath, args, { timeoutMs: 300_000 });
  const running = ui;
  await waitFor(() => running.stdout.includes("\n"), { what: "the page's server" });
  browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  await page.goto(running.stdout.split("\n")[0] ?? "");
});

/** The page's server over a relay with mutual TLS, which reaches one of its two nodes. */
async function overRelay(): Promise<{ address: string; stop: () => Promise<void> }> {
  const ca = await issue({ commonName: "ca", use: "ca", validMs: 3_600_000 });
  const signed = (commonName: string, use: "server" | "client") =>
    issue({ commonName, sans: [commonName], use, validMs: 3_600_000 }, ca);
  const [own, client] = [await signed("relay.example", "server"), await signed("ui.example", "client")];
  const holder = new TlsHolder();
  holder.offer({ cert: own.certificate, key: own.key, ca: ca.certificate });
  const list = [
    { name: "near", address: path },
    { name: "gone", address: join(dir, "gone.sock") },
  ];
  const peers = { list: () => list, changes: new Emitter<PeerChange>() };
  const about = { clientTls: undefined, version: "test", nodeName: "relay", log: silentLogger };
  const relay = await startRelay({ ...about, peers });
  const port = await relay.listenTcp("127.0.0.1:0", holder);
  const files = { ca: ca.certificate, cert: client.certificate, key: client.key };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  const tls = Object.keys(files).flatMap((name) => [`--tls-${name}`, join(dir, name)]);
  const server = [`--server`, `tls://127.0.0.1:${port}`, "--tls-server-name", "relay.example", ...tls];
  // Of one node there should be an agent here, and is not.
  const agent = ["--agent", join(dir, "here", "agent.sock")];
  const args = ["ui", ...server, ...agent, "--listen", "127.0.0.1:0"];
  const running = new Running(join(root, "bin/axon"), args, { timeoutMs: 300_000 });
  const stop = async (): Promise<void> => {
    running.process.kill("SIGTERM");
    await running.ended;
    await relay.stop();
  };
  await waitFor(() => running.stdout.includes("\n"), { what: `the page's server (${running.stderr})` });
  return { address: running.stdout.split("\n")[0] ?? "", stop };
}

afterAll(async () => {
  await browser?.close();
  ui?.process.kill("SIGTERM");
  await ui?.ended;
  await server?.close();
  rmSync(dir, { recursive: true, force: true });
});

it("draws namespaces first, workloads of one that is chosen, and all of them when asked", async () => {
  const cards = page.locator(".card");
  await page.locator(".card.namespace").first().waitFor({ timeout: 20_000 });
  await waitFor(async () => (await cards.count()) === crowd.namespaces, {
    what: "a card for each namespace",
  });
  await page.locator(".card.namespace", { hasText: "team-3" }).click();
  await waitFor(async () => (await page.locator(".card.workload").count()) >= crowd.workloadsEach, {
    timeoutMs: 20_000,
    what: "the workloads of the namespace",
  });
  expect(new URL(page.url()).searchParams.get("namespace")).toBe("team-3");
  await page.getByRole("combobox", { name: "Namespace" }).selectOption("");
  await page.getByRole("combobox", { name: "Draw" }).selectOption("workload");
  await page.getByRole("button", { name: "Fit View" }).click();
  await waitFor(async () => (await cards.count()) === crowd.namespaces * crowd.workloadsEach, {
    timeoutMs: 20_000,
    what: "a card for each workload",
  });
  mkdirSync(join(root, "build/test/ui"), { recursive: true });
  await page.screenshot({ path: join(root, "build/test/ui/large.png") });
});

it("holds a bounded number of rows, and draws only those in sight", async () => {
  const list = page.locator("#flows ul");
  await waitFor(async () => (await list.getAttribute("aria-label"))?.startsWith("2000 "), {
    timeoutMs: 30_000,
    what: "a full table",
  });
  expect(await list.locator("li").count()).toBeLessThan(80);
  await page.getByText("more flows came too fast to be listed").waitFor();
});

it("finds one pod among them", async () => {
  await page.getByLabel("Find").fill("service-7-3");
  const rows = page.getByRole("region", { name: "Flows" }).getByRole("listitem");
  await rows.first().waitFor();
  for (const text of await rows.allTextContents()) expect(text).toContain("service-7-3");
});

it("shows what a relay has, and which nodes it does not reach", async () => {
  const { address, stop } = await overRelay();
  try {
    await page.goto(address);
    await page.locator(".card.namespace").first().waitFor({ timeout: 20_000 });
    await page.getByRole("button", { name: "3 nodes, 2 in trouble" }).waitFor({ timeout: 20_000 });
    await page.getByRole("button", { name: "gone, here in trouble" }).click();
    const panel = page.getByRole("complementary", { name: "Nodes" });
    const [gone, near] = [
      panel.getByRole("row", { name: /^gone/ }),
      panel.getByRole("row", { name: /^near/ }),
    ];
    await gone.getByRole("cell", { name: "no answer" }).waitFor();
    await near.getByRole("cell", { name: "well" }).waitFor();
    await panel.getByText("the relay does not reach it").waitFor();
    await panel.getByText("its agent does not answer").waitFor();
    await page.screenshot({ path: join(root, "build/test/ui/relay.png") });
  } finally {
    await stop();
  }
});
