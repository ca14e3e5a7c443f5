/** The page in a real browser, over a real lab. Screenshots are left in build/test/ui. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Running, root } from "./support/command.ts";
import { labName, port, TestLab, type TestPod } from "./support/lab.ts";

const shots = join(root, "build/test/ui");
const policy = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "only-web", namespace: "default" },
  spec: {
    podSelector: { matchLabels: { app: "cart" } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "web" } } }] }],
  },
};

/** Is a colour of the theme seen at most a few pixels from a point of the page? */
async function isSeen(page: Page, at: { x: number; y: number }, colour: string): Promise<boolean> {
  const clip = { x: at.x - 6, y: at.y - 6, width: 13, height: 13 };
  const png = (await page.screenshot({ clip })).toString("base64");
  return page.evaluate(
    `(async () => {
      const image = new Image();
      image.src = "data:image/png;base64,${png}";
      await image.decode();
      const pen = new OffscreenCanvas(13, 13).getContext("2d");
      pen.drawImage(image, 0, 0);
      const probe = document.body.appendChild(document.createElement("i"));
      probe.style.color = "var(${colour})";
      const wanted = getComputedStyle(probe).color.match(/[0-9]+/g).map(Number);
      probe.remove();
      const { data } = pen.getImageData(0, 0, 13, 13);
      for (let i = 0; i < data.length; i += 4)
        if (wanted.every((value, part) => Math.abs(value - data[i + part]) < 12)) return true;
      return false;
    })()`,
  );
}

describe("the page", () => {
  const name = labName("it-ui");
  let lab: TestLab | undefined;
  let server: Running | undefined;
  let browser: Browser | undefined;
  let address = "";
  let cart: TestPod;
  let web: TestPod;
  let intruder: TestPod;

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  async function serve(listen: string): Promise<void> {
    server = new Running(join(root, "bin/axon"), ["ui", "--lab", name, "--listen", listen], {
      timeoutMs: 600_000,
    });
    const running = server;
    await waitFor(() => running.stdout.includes("\n"), { what: `the page's server (${running.stderr})` });
    address = running.stdout.trim();
  }

  async function open(query = "", size = { width: 1400, height: 900 }): Promise<Page> {
    if (browser === undefined) throw new Error("no browser");
    const page = await browser.newPage({ viewport: size });
    const problems: string[] = [];
    page.on("pageerror", ({ message }) => problems.push(message));
    page.on("console", (message) => {
      // What the browser says of a connection that we cut is expected.
      if (message.type() === "error" && !message.text().includes("ERR_")) problems.push(message.text());
    });
    page.on("close", () => expect(problems).toEqual([]));
    await page.goto(`${address}${query}`);
    return page;
  }

  /** One connection that is let through, one that is not. */
  async function traffic(): Promise<void> {
    await the().reached(web, ["tcp", cart.v4, port]);
    const { code } = await the().probe(intruder, ["tcp", cart.v4, port, "--timeout", "300"]);
    expect(code).not.toBe(0);
  }

  const shot = (page: Page, file: string) => page.screenshot({ path: join(shots, `${file}.png`) });
  const flows = (page: Page) => page.getByRole("region", { name: "Flows" }).getByRole("listitem");

  beforeAll(async () => {
    mkdirSync(shots, { recursive: true });
    lab = await TestLab.up(name);
    [cart, web, intruder] = (await lab.pods(
      { name: "cart", node: "node1" },
      { name: "web", node: "node2" },
      { name: "intruder", node: "node2" },
    )) as [TestPod, TestPod, TestPod];
    await lab.apply(policy);
    await lab.cutOff(intruder, ["tcp", cart.v4, port]);
    await serve("127.0.0.1:0");
    browser = await chromium.launch({
      executablePath: "/usr/bin/chromium",
      // Runs as root, in a machine of its own.
      args: ["--no-sandbox", "--disable-dev-shm-usage"],
    });
  });

  afterAll(async () => {
    await browser?.close();
    server?.process.kill("SIGTERM");
    await server?.ended;
    await TestLab.down(lab, name);
  });

  it("shows the map and the flows, and what happens while one looks", async () => {
    const page = await open();
    await page.getByText("live", { exact: true }).waitFor();
    await traffic();
    for (const workload of ["cart", "web", "intruder"])
      await page.locator(".card", { hasText: workload }).waitFor({ timeout: 10_000 });
    await page.locator(".edge.dropped").first().waitFor({ state: "attached" });
    await flows(page).filter({ hasText: "policy denied" }).first().waitFor();
    await shot(page, "light");
    const listed = async () =>
      Number.parseInt((await page.locator("#flows ul").getAttribute("aria-label")) ?? "0", 10);
    const before = await listed();
    await traffic();
    await waitFor(async () => (await listed()) > before, { what: "newer flows in the table" });
    await page.emulateMedia({ colorScheme: "dark" });
    await shot(page, "dark");
    await page.close();
  });

  it("keeps the filter in its address: a link shows another person the same", async () => {
    const page = await open();
    await page.getByLabel("Verdict").selectOption("dropped");
    await page.getByLabel("Find").fill("intruder");
    await waitFor(() => new URL(page.url()).search === "?verdict=dropped&text=intruder", {
      what: page.url(),
    });
    await traffic();
    await flows(page).first().waitFor();
    const other = await open(new URL(page.url()).search);
    expect(await other.getByLabel("Verdict").inputValue()).toBe("dropped");
    await flows(other).first().waitFor();
    for (const text of await flows(other).allTextContents()) expect(text).toContain("policy denied");
    await other.close();
    await page.close();
  });

  it("answers what a dropped edge is about", async () => {
    const page = await open();
    await traffic();
    const edge = page.getByRole("button", {
      name: /^default\/intruder to default\/cart, TCP\/8080, dropped/,
    });
    await edge.waitFor({ state: "attached" });
    // By keyboard, as somebody without a pointer does.
    await edge.focus();
    await shot(page, "keyboard");
    await page.keyboard.press("Enter");
    const details = page.getByRole("complementary", { name: "Details" });
    await details.getByRole("heading", { name: "default/intruder → default/cart" }).waitFor();
    await details.getByText("TCP/8080").first().waitFor();
    await details.getByText("default/only-web").first().waitFor();
    // The rule and its policy, as the engine explains them in the browser.
    await details.getByText("NetworkPolicy only-web, spec", { exact: true }).click();
    await details.getByText("app: web").first().waitFor();
    await shot(page, "why");
    await details.getByRole("button", { name: "Edit and preview" }).click();
    const outcome = details.getByRole("status", { name: "What it would do" });
    await outcome.getByText("1 newly allowed").waitFor();
    await outcome.getByText("default/intruder → default/cart TCP/8080").waitFor();
    await shot(page, "preview");
    const editor = details.getByRole("textbox", { name: "Policy" });
    await editor.fill((await editor.inputValue()).replace("8080", "8081"));
    await outcome.getByText("0 newly allowed").waitFor();
    await editor.fill("a: [");
    await outcome.locator(".bad").waitFor();
    await page.keyboard.press("Escape");
    await details.waitFor({ state: "detached" });
    await page.close();
  });

  it("draws what is dropped where the pointer finds it, and is walked through by arrow keys", async () => {
    const page = await open();
    await traffic();
    const boxOf = async (workload: string) => {
      const card = page.locator(".card", { hasText: workload });
      await card.waitFor();
      return (await card.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 };
    };
    await boxOf("cart");
    // Where its only edge begins; the map may still move cards.
    const edge = async () => {
      const from = await boxOf("intruder");
      return { x: from.x + from.width + 8, y: from.y + from.height / 2 };
    };
    const isEdge = async (colour: string) => isSeen(page, await edge(), colour);
    await waitFor(() => isEdge("--dropped"), { timeoutMs: 20_000, what: "the dropped edge in the picture" });
    const { x, y } = await edge();
    await page.mouse.click(x, y);
    const details = page.getByRole("complementary", { name: "Details" });
    await details.getByRole("heading", { name: "default/intruder → default/cart" }).waitFor();
    await waitFor(() => isEdge("--accent"), { timeoutMs: 20_000, what: "the edge that was chosen" });
    await page.keyboard.press("Escape");
    await page.locator(".card", { hasText: "intruder" }).focus();
    await page.keyboard.press("ArrowRight");
    expect(await page.locator(".card:focus").textContent()).toBe("cart");
    await page.keyboard.press("Enter");
    await waitFor(() => new URL(page.url()).searchParams.get("group") === "w:default/cart", {
      what: page.url(),
    });
    await page.close();
  });

  it("tells how nodes and their agents are", async () => {
    const page = await open();
    await page.getByRole("button", { name: /^2 nodes/ }).click();
    const panel = page.getByRole("complementary", { name: "Nodes" });
    const row = panel.getByRole("row", { name: /^node1/ });
    // The pod, and the node itself.
    await row.getByRole("cell", { name: /^2 of 2$/ }).waitFor();
    const cells = await row.getByRole("cell").allTextContents();
    // All but the programs is known of every node; a lab balances what comes from outside at a device that it names.
    expect(cells.filter((text) => text === "–")).toEqual([]);
    expect(cells.join(" ")).toMatch(/: (xdp|tcx)/);
    await shot(page, "nodes");
    await page.emulateMedia({ colorScheme: "dark" });
    await shot(page, "nodes-dark");
    await page.keyboard.press("Escape");
    await panel.waitFor({ state: "detached" });
    await page.close();
  });

  it("names the program behind a flow, and finds flows by it", async () => {
    const page = await open("?text=axon-probe");
    await traffic();
    await flows(page).first().click();
    const details = page.getByRole("complementary", { name: "Details" });
    await details
      .getByText(/axon-probe/)
      .first()
      .waitFor();
    await details
      .getByText(/process [0-9]+ of user 0/)
      .first()
      .waitFor();
    await shot(page, "program");
    await page.close();
  });

  it("shows the past", async () => {
    await traffic();
    const page = await open();
    await page.getByLabel("Time").selectOption("5");
    await page.getByText("past", { exact: true }).waitFor();
    await page.locator(".card", { hasText: "intruder" }).waitFor();
    const count = await flows(page).count();
    expect(count).toBeGreaterThan(0);
    expect(new URL(page.url()).searchParams.has("since")).toBe(true);
    await page.close();
  });

  it("is used on a phone", async () => {
    const page = await open("", { width: 390, height: 800 });
    await traffic();
    await flows(page).first().click();
    await page.getByRole("complementary", { name: "Details" }).waitFor();
    expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
    await shot(page, "phone");
    await page.getByRole("button", { name: /^2 nodes/ }).click();
    await page.getByRole("complementary", { name: "Nodes" }).waitFor();
    expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
    await shot(page, "phone-nodes");
    const close = page.getByRole("button", { name: "Close the nodes" });
    const { x = 0, width = 0 } = (await close.boundingBox()) ?? {};
    expect(x + width).toBeLessThanOrEqual(390);
    await close.click();
    await page.close();
  });

  it("goes on by itself when its server comes back", async () => {
    const page = await open();
    await page.getByText("live", { exact: true }).waitFor();
    const { host } = new URL(address);
    server?.process.kill("SIGTERM");
    await server?.ended;
    await page.getByText("connection lost, trying again").waitFor();
    await serve(host);
    await page.getByText("live", { exact: true }).waitFor({ timeout: 20_000 });
    await traffic();
    await page.locator(".card", { hasText: "intruder" }).waitFor();
    await page.close();
  });

  it("is not served under other names, and not outside of its folder", async () => {
    const get = (path: string, headers: Record<string, string> = {}) =>
      fetch(`${address}${path}`, { headers });
    expect((await get("api/health")).status).toBe(200);
    expect((await get("..%2f..%2fpackage.json")).status).toBe(404);
    expect((await get("api/past?since=5&until=1")).status).toBe(400);
    const page = await get("");
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
  });
});
