import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { AxonError } from "@axoneme/base";
import { launch } from "@axoneme/netlink";

/** Programs of the peers and the Debian packages they are in. */
const needed: Readonly<Record<string, string>> = { "iptables-nft-restore": "iptables", nft: "nftables" };

const path = `${process.env["PATH"] ?? ""}${delimiter}/usr/sbin${delimiter}/sbin`;

/**
 * @param more programs that are needed beside these, in packages of their names.
 * @throws AxonError `bench.peers` naming the packages that are missing.
 */
export function checkPeers(more: readonly string[] = []): void {
  const there = (program: string) => path.split(delimiter).some((dir) => existsSync(join(dir, program)));
  const all = [...Object.entries(needed), ...more.map((name) => [name, name] as const)];
  const missing = all.flatMap(([program, name]) => (there(program) ? [] : [name]));
  if (missing.length === 0) return;
  const text = `the peers need ${missing.join(" and ")}: apt-get install --no-install-recommends ${missing.join(" ")}`;
  throw new AxonError("bench.peers", text);
}

/** Runs a program in a namespace with `parts` on its stdin; returns milliseconds. Rejects with its words. */
export async function runIn(
  netns: string,
  command: readonly string[],
  parts: readonly string[],
): Promise<number> {
  const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, command);
  const begin = performance.now();
  const child = spawn(file, args, { stdio: ["pipe", "ignore", "pipe"], env: { ...process.env, PATH: path } });
  let complaint = "";
  child.stderr.on("data", (text: Buffer) => {
    complaint = (complaint + text.toString()).slice(0, 2000);
  });
  // A program that ends early says why itself.
  child.stdin.on("error", () => undefined);
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve(performance.now() - begin);
      else reject(new AxonError("bench.peers", `${command.join(" ")} failed (${code}): ${complaint.trim()}`));
    });
  });
  for (let i = 0; i < parts.length; i += 4096) {
    const text = parts.slice(i, i + 4096).join("");
    if (!child.stdin.write(text) && child.stdin.writable)
      await Promise.race([new Promise((resolve) => child.stdin.once("drain", resolve)), ended]);
  }
  child.stdin.end();
  return ended;
}
