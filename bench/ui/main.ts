/**
 * The page over a cluster of 3,000 pods in a real Chromium: how long until 500 workloads can be used, how smoothly they
 * move, and how many flows a second the server adds up. Usage: node dist/bench-ui.mjs [flows a second], as 120000.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { delay, waitFor } from "@axoneme/base";
import { type Browser, chromium, type Page } from "playwright-core";
import type { Health } from "../../apps/ui/src/shared/model.ts";
import { type Crowd, type CrowdOptions, serveCrowd } from "../../test/support/crowd-server.ts";
import { formatTable } from "../net/index.ts";
import { type Measure, writeSummary } from "../summary.ts";

const root = process.cwd();
const load = loadavg()
  .map((value) => value.toFixed(1))
  .join(" ");
const offered = Number(process.argv[2] ?? 120_000);
const calm = 2000;
const panSeconds = 4;
const floodSeconds = 8;
const workloads = 500;
const cluster = { namespaces: 10, workloadsEach: 50, podsEach: 6 } as const;

/** A page's server over a cluster that makes so many flows a second. */
async function withPage<T>(
  rate: number,
  use: (address: string, pid: number, crowd: Crowd) => Promise<T>,
): Promise<T> {
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
    return await use(line.toString().trim(), child.pid ?? 0, server);
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

interface Motion {
  /** Frames a second. */
  readonly fps: number;
  /** Milliseconds from a frame's begin until the page has handed it over: half of the frames, and 95 of 100, take less. */
  readonly half: number;
  readonly most: number;
  /** Milliseconds of a CPU that the page's thread took for a frame, on average: the same however busy the machine is. */
  readonly cpu: number;
}

/** The thread that runs the page: the first of the busiest renderer. Nanoseconds of CPU so far. */
async function pageCpu(browser: Browser): Promise<() => number> {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const renderers = processInfo.filter(({ type }) => type === "renderer");
  const { id } = renderers.reduce((a, b) => (b.cpuTime > a.cpuTime ? b : a));
  return () => Number(readFileSync(`/proc/${id}/task/${id}/schedstat`, "utf8").split(" ")[0]);
}

/** Counts frames, and what each takes: input, scripts, style, layout and paint are done when the message comes. */
const countFrames = `
  window.work = [];
  (function tick() {
    requestAnimationFrame((begin) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => { window.work.push(performance.now() - begin); port1.close(); };
      port2.postMessage(0);
      tick();
    });
  })(); void 0`;

/** What a movement of so many seconds looks like. */
async function moving(
  page: Page,
  cpu: () => number,
  step: (number: number) => Promise<void>,
): Promise<Motion> {
  await page.evaluate("window.work.length = 0");
  const before = cpu();
  const begin = performance.now();
  for (let number = 0; performance.now() - begin < panSeconds * 1000; number++) await step(number);
  const work = ((await page.evaluate("window.work")) as number[]).sort((a, b) => a - b);
  const at = (share: number): number => work[Math.floor(work.length * share)] ?? 0;
  return {
    fps: (work.length * 1000) / (performance.now() - begin),
    half: at(0.5),
    most: at(0.95),
    cpu: (cpu() - before) / 1e6 / work.length,
  };
}

/** A person moves the map about, and goes into it and out again. */
async function moved(browser: Browser, page: Page): Promise<{ panned: Motion; zoomed: Motion }> {
  const cpu = await pageCpu(browser);
  await page.evaluate(countFrames);
  await page.mouse.move(700, 220);
  await page.mouse.down();
  const panned = await moving(page, cpu, (step) =>
    page.mouse.move(700 + 200 * Math.sin(step / 10), 220 + 80 * Math.cos(step / 10)),
  );
  await page.mouse.up();
  const zoomed = await moving(page, cpu, (step) => page.mouse.wheel(0, step % 80 < 40 ? -40 : 40));
  return { panned, zoomed };
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
    return { first, drawn: await untilDrawn(page), ...(await moved(browser, page)) };
  } finally {
    await browser.close();
  }
});

/** What the server makes of a flood: flows a second, CPU of each, and whether each is accounted for. */
const flood = await withPage(offered, async (address, pid, crowd) => {
  // What starts compiles its code, and is sent what was before.
  await delay(3000);
  const cpu = (): number => Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1000;
  const health = async () => (await (await fetch(`${address}api/health`)).json()) as Health;
  const before = { cpu: cpu(), health: await health(), at: performance.now() };
  await delay(floodSeconds * 1000);
  const after = { cpu: cpu(), health: await health(), at: performance.now() };
  const flows = after.health.counted - before.health.counted;
  crowd.rest();
  const told = crowd.told();
  await waitFor(async () => (await health()).counted >= told.sent, { what: "the last of the flows" });
  const { counted, sources } = await health();
  return {
    rate: (flows * 1000) / (after.at - before.at),
    micros: (after.cpu - before.cpu) / flows,
    told,
    seen: { counted, lost: sources.reduce((sum, one) => sum + one.lost, 0) },
  };
});

const ms = (value: number): string => value.toFixed(1);
console.log(`load of the machine before: ${load}`);
console.log(
  formatTable([
    ["the page over 3,000 pods", "", ""],
    ["from the address to the first card", "ms", inBrowser.first.toFixed(0)],
    ["until 500 workloads are drawn", "ms", inBrowser.drawn.toFixed(0)],
    ...(["panned", "zoomed"] as const).flatMap((how) => [
      [`while the map is ${how}`, "frames/s", inBrowser[how].fps.toFixed(1)],
      ["  the page's thread, for a frame", "ms CPU", ms(inBrowser[how].cpu)],
      [
        "  a frame's work, half and 95 of 100",
        "ms",
        `${ms(inBrowser[how].half)}, ${ms(inBrowser[how].most)}`,
      ],
    ]),
    [`flows that the server adds up, of ${offered} offered`, "1/s", flood.rate.toFixed(0)],
    ["  CPU of its one thread for a flow", "us", flood.micros.toFixed(2)],
    ["  offered: sent, lost for want of a reader", "", `${flood.told.sent}, ${flood.told.lost}`],
    ["  of them added up, known as lost", "", `${flood.seen.counted}, ${flood.seen.lost}`],
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
  ...(["panned", "zoomed"] as const).flatMap((how): Measure[] => {
    const { fps, most } = inBrowser[how];
    return [
      {
        measure: `the page: frames a second while the map is ${how}`,
        ours: fps.toFixed(1),
        peer: "",
        value: fps,
        bar: { atLeast: 58 },
      },
      {
        measure: `the page: a frame's work while ${how}, 95 of 100, ms`,
        ours: most.toFixed(1),
        peer: "",
        value: most,
        bar: { atMost: 16 },
      },
    ];
  }),
  {
    measure: "the page's server: flows a second",
    ours: flood.rate.toFixed(0),
    peer: "",
    value: flood.rate,
    bar: { atLeast: 100_000 },
  },
  {
    measure: "the page's server: flows a second that one core would take",
    ours: (1e6 / flood.micros).toFixed(0),
    peer: "",
    value: 1e6 / flood.micros,
    bar: { atLeast: 100_000 },
  },
];
writeSummary(root, "ui", measures);
