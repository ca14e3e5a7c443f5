import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";

/** A private namespace with one end of a veth, whose other end is in a second private namespace. */
export interface TestNetwork {
  readonly netnsFd: number;
  /** Interface in that namespace. */
  readonly ifindex: number;
  /** Sends pings from the namespace to the peer; resolves to how many were answered. */
  ping(count: number, intervalMs: number): Promise<number>;
  /** Removes one interface, and with it its peer. */
  removeInterface(): void;
  remove(): void;
}

function ip(...args: string[]): string {
  return execFileSync("ip", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function exited(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let out = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.on("error", reject);
    child.on("close", () => resolve(out));
  });
}

/** IPv4 only, neighbours fixed: the packets are those of the test and no others. */
export function testNetwork(name: string): TestNetwork {
  const [near, far] = [`axt-${name}-${process.pid}-a`, `axt-${name}-${process.pid}-b`];
  for (const ns of [near, far]) {
    ip("netns", "add", ns);
    ip("netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  }
  const macs = { near: "02:00:00:00:00:0a", far: "02:00:00:00:00:0b" };
  ip(
    "-n",
    near,
    "link",
    "add",
    "v0",
    "address",
    macs.near,
    "type",
    "veth",
    "peer",
    "name",
    "v1",
    "address",
    macs.far,
  );
  ip("-n", near, "link", "set", "v1", "netns", far);
  ip("-n", near, "address", "add", "10.99.0.1/24", "dev", "v0");
  ip("-n", far, "address", "add", "10.99.0.2/24", "dev", "v1");
  ip("-n", near, "link", "set", "v0", "up");
  ip("-n", far, "link", "set", "v1", "up");
  ip("-n", near, "neigh", "replace", "10.99.0.2", "lladdr", macs.far, "dev", "v0");
  ip("-n", far, "neigh", "replace", "10.99.0.1", "lladdr", macs.near, "dev", "v1");
  const ifindex = Number(/^(\d+):/.exec(ip("-n", near, "-o", "link", "show", "v0"))?.[1]);
  const netnsFd = openSync(`/var/run/netns/${near}`, "r");
  return {
    netnsFd,
    ifindex,
    async ping(count, intervalMs) {
      const seconds = (intervalMs / 1000).toFixed(3);
      const args = [
        "netns",
        "exec",
        near,
        "ping",
        "-q",
        "-c",
        String(count),
        "-i",
        seconds,
        "-W",
        "1",
        "10.99.0.2",
      ];
      const out = await exited(spawn("ip", args, { stdio: ["ignore", "pipe", "ignore"] }));
      return Number(/(\d+) received/.exec(out)?.[1]);
    },
    removeInterface: () => void ip("-n", near, "link", "del", "v0"),
    remove() {
      closeSync(netnsFd);
      for (const ns of [near, far]) ip("netns", "del", ns);
    },
  };
}
