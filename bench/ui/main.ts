/**
 * The page over a cluster of 3,000 pods in a real Chromium: how long until 500 workloads can be used, how smoothly they
 * move, and how many flows a second the server adds up. Usage: node dist/bench-ui.mjs [flows a second], as 100000.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { delay, waitFor } from "@axoneme/base";
import { chromium, type Page } from "playwright-core";
import { type CrowdOptions, serveCrowd } from "../../test/support/crowd-server.ts";
import { formatTable } from "../net/index.ts";
import { type Measure, writeSummary } from "../summary.ts";

const root = process.cwd();
const offered = Number(process.argv[2] ?? 100_000);
const calm = 2000;
const panSeconds = 4;
const workloads = 500;
const cluster = { namespaces: 10, workloadsEach: 50, podsEach: 6 } as const;

/** A page's server over a cluster that makes so many flows a second. */
async function withPage<T>(rate: number, use: (address: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "axon-bench-ui-"));
  const crowd: CrowdOptions = { ...cluster, path: join(dir, "hubble.sock"), rate };
  const server = await serveCrowd(crowd);
  const child = spawn(
    process.execPath,
    [join(root, "dist/ui.mjs"), "--server", `unix://${crowd.path}`, "--listen", "127.0.0.1:0"],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  try {
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    return await use(line.toString().trim());
  } finally {
    child.kill("SIGTERM");
    await once(child, "exit");
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Milliseconds from the wish to see all workloads until each has its place, and the page answers. */
async function untilDrawn(page: Page): Promise<number> {
  const begin = performance.now();
  await page.getByRole("combobox", { name: "Draw" }).selectOption("workload");
  await page.getByRole("button", { name: "Fit View" }).click();
  await waitFor(async () => (await page.locator(".card.workload").count()) >= workloads, {
    timeoutMs: 60_000,
    everyMs: 20,
    what: "a card for each workload",
  });
  await page.evaluate(
    "new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))",
  );
  return performance.now() - begin;
}

/** Frames a second while a person moves the map about. */
async function panned(page: Page): Promise<number> {
  await page.evaluate(
    "window.frames60 = 0; (function tick() { window.frames60++; requestAnimationFrame(tick); })(); void 0",
  );
  const before = (await page.evaluate("window.frames60")) as number;
  const begin = performance.now();
  await page.mouse.move(700, 120);
  await page.mouse.down();
  for (let step = 0; performance.now() - begin < panSeconds * 1000; step++) {
    await page.mouse.move(700 + 200 * Math.sin(step / 10), 120 + 80 * Math.cos(step / 10));
  }
  await page.mouse.up();
  const after = (await page.evaluate("window.frames60")) as number;
  return ((after - before) * 1000) / (performance.now() - begin);
}

const inBrowser = await withPage(calm, async (address) => {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  try {
    const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
    const begin = performance.now();
    await page.goto(address);
    await page.locator(".card").first().waitFor();
    const first = performance.now() - begin;
    // Everybody has been heard of.
    await delay(4000);
    return { first, drawn: await untilDrawn(page), fps: await panned(page) };
  } finally {
    await browser.close();
  }
});

const taken = await withPage(offered, async (address) => {
  const rates: number[] = [];
  for (let second = 0; second < 8; second++) {
    await delay(1000);
    const health = (await (await fetch(`${address}api/health`)).json()) as { rate: number };
    rates.push(health.rate);
  }
  return Math.max(...rates);
});

console.log(
  formatTable([
    ["the page over 3,000 pods", "", ""],
    ["from the address to the first card", "ms", inBrowser.first.toFixed(0)],
    ["until 500 workloads are drawn", "ms", inBrowser.drawn.toFixed(0)],
    ["while the map is moved", "frames/s", inBrowser.fps.toFixed(1)],
    [`flows that the server adds up, of ${offered} offered`, "1/s", String(taken)],
  ]),
);
const measures: Measure[] = [
  {
    measure: "the page: 500 workloads laid out and drawn, s",
    ours: (inBrowser.drawn / 1000).toFixed(2),
    peer: "",
    value: inBrowser.drawn / 1000,
    bar: { atMost: 2 },
  },
  {
    measure: "the page: frames a second while the map is moved",
    ours: inBrowser.fps.toFixed(1),
    peer: "",
    value: inBrowser.fps,
    bar: { atLeast: 58 },
  },
  {
    measure: "the page's server: flows a second",
    ours: String(taken),
    peer: "",
    value: taken,
    bar: { atLeast: 100_000 },
  },
];
writeSummary(root, "ui", measures);
