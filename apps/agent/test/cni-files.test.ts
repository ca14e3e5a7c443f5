/** What the agent puts into the runtime's directories, and takes out again. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Health } from "@axoneme/app";
import { AxonError, waitFor } from "@axoneme/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { conflist, conflistName } from "../src/cni/conflist.ts";
import { installPlugin, placeFile, putOthersAside, removeCni, writeConflist } from "../src/cni/files.ts";
import { CniInstaller, type InstallerDeps } from "../src/cni/installer.ts";
import { quiet } from "./logger.ts";

let root = "";
const at = (...parts: string[]): string => join(root, ...parts);
const read = (...parts: string[]): string => readFileSync(at(...parts), "utf8");

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "axon-cni-files-"));
  writeFileSync(at("plugin"), "the plugin");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("the configuration", () => {
  it("is one that runtimes of every age understand", () => {
    const list = JSON.parse(conflist("/run/a/cni.sock")) as Record<string, unknown>;
    expect(list).toEqual({
      cniVersion: "0.3.1",
      cniVersions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
      name: "axoneme",
      plugins: [
        {
          type: "axoneme-cni",
          axonSocket: "/run/a/cni.sock",
          capabilities: { portMappings: true, bandwidth: true },
        },
      ],
    });
  });

  it("is the first by name, readable by all, and leaves nothing beside it", () => {
    writeConflist(at("net.d"), "one");
    writeFileSync(at("net.d", "05-cilium.conflist"), "theirs");
    expect(writeConflist(at("net.d"), "two")).toBe(true);
    expect(writeConflist(at("net.d"), "two")).toBe(false);
    expect(readdirSync(at("net.d")).sort()).toEqual([conflistName, "05-cilium.conflist"]);
    expect(read("net.d", conflistName)).toBe("two");
    expect(statSync(at("net.d", conflistName)).mode & 0o777).toBe(0o644);
  });

  it("that cannot be written names the file and what it needs", () => {
    writeFileSync(at("file"), "");
    const write = () => placeFile(at("file", "x"), Buffer.from("y"), 0o644);
    expect(write).toThrow(AxonError);
    expect(write).toThrow(/file\/x cannot be written: it must be writable for the agent, and have room/);
  });
});

describe("the plugin", () => {
  it("is installed, executable, and as loopback where there is none", () => {
    expect(installPlugin(at("bin"), at("plugin"))).toBe(true);
    expect(installPlugin(at("bin"), at("plugin"))).toBe(false);
    for (const name of ["axoneme-cni", "loopback"]) {
      expect(read("bin", name)).toBe("the plugin");
      expect(statSync(at("bin", name)).mode & 0o777).toBe(0o755);
    }
  });

  it("of another build takes the old one's place under a file that runs", () => {
    installPlugin(at("bin"), at("plugin"));
    const before = statSync(at("bin", "axoneme-cni")).ino;
    writeFileSync(at("plugin"), "a newer plugin");
    expect(installPlugin(at("bin"), at("plugin"))).toBe(true);
    expect(read("bin", "axoneme-cni")).toBe("a newer plugin");
    expect(statSync(at("bin", "axoneme-cni")).ino).not.toBe(before);
  });
});

describe("removal", () => {
  it("takes what was ours and nothing else", () => {
    writeConflist(at("net.d"), "ours");
    writeFileSync(at("net.d", "10-other.conf"), "theirs");
    installPlugin(at("bin"), at("plugin"));
    writeFileSync(at("bin", "bridge"), "theirs");
    removeCni({ confDir: at("net.d"), binDir: at("bin") });
    removeCni({ confDir: at("net.d"), binDir: at("bin") });
    expect(readdirSync(at("net.d"))).toEqual(["10-other.conf"]);
    expect(readdirSync(at("bin"))).toEqual(["bridge"]);
  });

  it("leaves a loopback that was there before us", () => {
    installPlugin(at("bin"), at("plugin"));
    writeFileSync(at("bin", "loopback"), "theirs");
    removeCni({ confDir: "", binDir: at("bin") });
    expect(read("bin", "loopback")).toBe("theirs");
  });

  it("brings back what was put aside", () => {
    writeConflist(at("net.d"), "ours");
    writeFileSync(at("net.d", "10-other.conf"), "theirs");
    writeFileSync(at("net.d", "README"), "a text");
    expect(putOthersAside(at("net.d"))).toEqual(["10-other.conf"]);
    expect(readdirSync(at("net.d")).sort()).toEqual([conflistName, "10-other.conf.axoneme_bak", "README"]);
    removeCni({ confDir: at("net.d"), binDir: "" });
    expect(readdirSync(at("net.d")).sort()).toEqual(["10-other.conf", "README"]);
  });

  it("of what was never installed is nothing", () => {
    expect(() => removeCni({ confDir: at("no"), binDir: at("no") })).not.toThrow();
  });
});

describe("the installer", () => {
  const health = new Health();
  let installer: CniInstaller | undefined;
  afterEach(() => installer?.stop());

  function start(deps: Partial<InstallerDeps>): void {
    installer = new CniInstaller({
      confDir: at("net.d"),
      binDir: at("bin"),
      wanted: () => true,
      exclusive: false,
      conflist: "ours",
      plugin: () => at("plugin"),
      status: () => Promise.resolve(),
      everyMs: [2, 2],
      log: quiet,
      ...deps,
    });
    installer.start(health.reporter("cni-config"));
  }
  const state = () => health.modules().find(({ name }) => name === "cni-config");
  const written = (): boolean => {
    try {
      return read("net.d", conflistName) === "ours";
    } catch {
      return false;
    }
  };

  it("installs the plugin at once and the configuration when STATUS succeeds", async () => {
    let isReady = false;
    let asked = 0;
    start({
      status: () => {
        asked++;
        return isReady ? Promise.resolve() : Promise.reject(new AxonError("test.no", "not synced"));
      },
    });
    await waitFor(() => asked > 3, { what: "STATUS to be asked" });
    expect(read("bin", "axoneme-cni")).toBe("the plugin");
    expect(written()).toBe(false);
    expect(state()).toMatchObject({ state: "degraded", message: expect.stringContaining("not synced") });
    isReady = true;
    await waitFor(written, { what: "the configuration" });
    await waitFor(() => state()?.state === "ok", { what: "health" });
  });

  it("writes it again when somebody takes it away or changes it, others' files untouched", async () => {
    start({});
    await waitFor(written, { what: "the configuration" });
    writeFileSync(at("net.d", "10-other.conf"), "theirs");
    rmSync(at("net.d", conflistName));
    await waitFor(written, { what: "the configuration again" });
    writeFileSync(at("net.d", conflistName), "changed");
    await waitFor(written, { what: "the configuration once more" });
    expect(read("net.d", "10-other.conf")).toBe("theirs");
  });

  it("with cniExclusive puts others aside, also later ones", async () => {
    start({ exclusive: true });
    await waitFor(written, { what: "the configuration" });
    writeFileSync(at("net.d", "10-other.conf"), "theirs");
    await waitFor(() => readdirSync(at("net.d")).includes("10-other.conf.axoneme_bak"), {
      what: "the other",
    });
  });

  it("leaves the runtime to another network until it is wanted, and gives it back at once", async () => {
    mkdirSync(at("net.d"));
    writeFileSync(at("net.d", "10-other.conf"), "theirs");
    let isWanted = false;
    start({ exclusive: true, wanted: () => isWanted, everyMs: [60_000, 60_000] });
    await waitFor(() => state()?.state === "ok", { what: "health" });
    expect(read("bin", "axoneme-cni")).toBe("the plugin");
    expect(readdirSync(at("net.d"))).toEqual(["10-other.conf"]);
    isWanted = true;
    installer?.wantedChanged();
    await waitFor(written, { what: "the configuration" });
    expect(readdirSync(at("net.d")).sort()).toEqual([conflistName, "10-other.conf.axoneme_bak"]);
    isWanted = false;
    installer?.wantedChanged();
    expect(readdirSync(at("net.d"))).toEqual(["10-other.conf"]);
    expect(read("bin", "axoneme-cni")).toBe("the plugin");
  });

  it("does not write what is not wanted any more when STATUS answers", async () => {
    let isWanted = true;
    let answer: () => void = () => undefined;
    let asked = false;
    const status = (): Promise<void> =>
      new Promise((resolve) => {
        asked = true;
        answer = resolve;
      });
    start({ wanted: () => isWanted, status });
    await waitFor(() => asked, { what: "STATUS to be asked" });
    isWanted = false;
    answer();
    await waitFor(() => state()?.state === "ok", { what: "health" });
    expect(written()).toBe(false);
  });

  it("does nothing where it is not asked to", () => {
    start({ confDir: "", binDir: "" });
    expect(state()?.state).toBe("ok");
    expect(readdirSync(root)).toEqual(["plugin"]);
  });
});
