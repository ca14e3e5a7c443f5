/** The page over a cluster of 3,000 pods: everything can be seen, and nothing grows. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
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
  await page.goto(running.stdout.trim());
});

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
