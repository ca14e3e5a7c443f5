import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AxonError, waitFor } from "@axoneme/base";
import { built, run } from "../command.ts";
import { CriClient } from "./client.ts";

export interface ContainerdOptions {
  /** All of it is in here. */
  readonly dir: string;
  /** The node's network namespace. */
  readonly netns: string;
  /** A cgroup v2 of its own inside the node's; what it starts is in there. */
  readonly cgroup: string;
  readonly confDir: string;
  readonly binDir: string;
  readonly sandboxImage: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Debian's containerd and runc as the runtime of one node of a lab, beside any other containerd of the machine. */
export class Containerd {
  readonly #options: ContainerdOptions;
  #pid: number | undefined;
  #client: CriClient | undefined;

  private constructor(options: ContainerdOptions) {
    this.#options = options;
  }

  static async start(options: ContainerdOptions): Promise<Containerd> {
    mkdirSync(join(options.cgroup, "containerd"), { recursive: true });
    mkdirSync(options.dir, { recursive: true, mode: 0o711 });
    // Containers see what is mounted here later, as on a node whose mounts are shared; those of this machine need not be.
    await run("mount", ["--bind", options.dir, options.dir]);
    await run("mount", ["--make-shared", options.dir]);
    writeFileSync(join(options.dir, "config.toml"), configOf(options));
    const containerd = new Containerd(options);
    await containerd.#launch();
    return containerd;
  }

  /** A directory for this process, after those of test runs that were killed have been taken away. */
  static async freshDir(): Promise<string> {
    for (const name of readdirSync(tmpdir())) {
      const [, pid] = /^axon-cri-(\d+)$/.exec(name) ?? [];
      if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
      await unmountBelow(join(tmpdir(), name));
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    }
    const dir = join(tmpdir(), `axon-cri-${process.pid}`);
    mkdirSync(dir, { mode: 0o711 });
    return dir;
  }

  get client(): CriClient {
    if (this.#client === undefined) throw new AxonError("test.containerd", "containerd does not run");
    return this.#client;
  }

  /** What containers say as their parent in every cgroup hierarchy. */
  get cgroupParent(): string {
    return this.#options.cgroup.slice(this.#options.cgroup.indexOf("/axon-"));
  }

  /** Loads an image from an archive. */
  async import(archive: string): Promise<void> {
    const args = ["-a", this.#socket, "-n", "k8s.io", "images", "import", "--no-unpack", archive];
    const { code, stderr } = await run("ctr", args);
    if (code !== 0) throw new AxonError("test.containerd", `ctr images import: ${stderr}`);
  }

  /** Ends it at once; its containers go on. */
  async kill(): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    const pid = this.#pid;
    if (pid === undefined) return;
    process.kill(pid, "SIGKILL");
    await waitFor(() => !existsSync(`/proc/${pid}`), { everyMs: 5, what: "containerd to be gone" });
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.#launch();
  }

  /** What it holds of sandboxes: namespaces, mounts, processes; all empty when it has none. */
  leftovers(): { namespaces: string[]; mounts: string[]; processes: number[] } {
    const netns = join(this.#options.dir, "state", "io.containerd.grpc.v1.cri", "netns");
    return {
      namespaces: existsSync(netns) ? readdirSync(netns) : [],
      mounts: mountsBelow(this.#options.dir),
      processes: pidsBelow(this.#options.cgroup).filter((pid) => pid !== this.#pid),
    };
  }

  /** Ends it and all it started, and takes away what that leaves. */
  async remove(): Promise<void> {
    await this.kill();
    writeFileSync(join(this.#options.cgroup, "cgroup.kill"), "1");
    await waitFor(() => pidsBelow(this.#options.cgroup).length === 0, {
      timeoutMs: 15_000,
      what: "containers to end",
    });
    await unmountBelow(this.#options.dir);
    await run("umount", ["-l", this.#options.dir]);
    for (const hierarchy of readdirSync("/sys/fs/cgroup"))
      removeGroups(join("/sys/fs/cgroup", hierarchy), this.cgroupParent);
    rmSync(this.#options.dir, { recursive: true, force: true });
  }

  get #socket(): string {
    return join(this.#options.dir, "c.sock");
  }

  async #launch(): Promise<void> {
    const { dir, netns, cgroup, env } = this.#options;
    const log = openSync(join(dir, "containerd.log"), "a");
    const line = ["--netns", netns, "--cgroup", join(cgroup, "containerd"), "--", "containerd"];
    const child = spawn(built("axon-exec"), [...line, "--config", join(dir, "config.toml")], {
      env: { PATH: process.env["PATH"], ...env },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    child.on("error", () => undefined);
    this.#pid = child.pid;
    let last: unknown;
    this.#client = await waitFor(
      async () => {
        try {
          return await openClient(this.#socket);
        } catch (error) {
          last = error;
          return undefined;
        }
      },
      { timeoutMs: 20_000, everyMs: 20, what: "containerd to serve" },
    ).catch((cause: unknown) => {
      const text = readFileSync(join(dir, "containerd.log"), "utf8").slice(-2000);
      throw new AxonError("test.containerd", `containerd does not serve (${String(last)}): ${text}`, {
        cause,
      });
    });
  }
}

/** A client of a runtime that serves: it listens before it has found its sandboxes again. */
async function openClient(socket: string): Promise<CriClient> {
  const client = await CriClient.open(socket);
  try {
    await client.call("listPodSandbox", {});
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
}

/** Plugins that this machine may lack what they need for are left out: they would only warn. */
function configOf({ dir, confDir, binDir, sandboxImage }: ContainerdOptions): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "${dir}/root"
state = "${dir}/state"
disabled_plugins = [${["aufs", "btrfs", "devmapper", "zfs"].map((name) => `"io.containerd.snapshotter.v1.${name}"`).join(", ")}]

[grpc]
address = "${dir}/c.sock"

[${cri}]
sandbox_image = "${sandboxImage}"
stream_server_address = "127.0.0.1"
netns_mounts_under_state_dir = true
disable_hugetlb_controller = true
tolerate_missing_hugetlb_controller = true
restrict_oom_score_adj = true

[${cri}.containerd]
snapshotter = "overlayfs"

[${cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[${cri}.containerd.runtimes.runc.options]
Root = "${dir}/runc"
SystemdCgroup = false

[${cri}.cni]
conf_dir = "${confDir}"
bin_dir = "${binDir}"
`;
}

async function unmountBelow(dir: string): Promise<void> {
  for (const mount of mountsBelow(dir)) await run("umount", ["-l", mount]);
}

function mountsBelow(dir: string): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .flatMap((line) => line.split(" ")[4] ?? [])
    .filter((point) => point.startsWith(`${dir}/`))
    .reverse();
}

function groupsBelow(path: string): string[] {
  if (!existsSync(path)) return [];
  const below = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...below.flatMap(({ name }) => groupsBelow(join(path, name))), path];
}

function pidsBelow(cgroup: string): number[] {
  return groupsBelow(cgroup).flatMap((group) =>
    readFileSync(join(group, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number),
  );
}

/** The groups of a cgroup v1 hierarchy that the runtime made for its containers, and those around them. */
function removeGroups(hierarchy: string, parent: string): void {
  if (existsSync(join(hierarchy, "cgroup.subtree_control"))) return;
  const [, lab = ""] = parent.split("/");
  if (!lab.startsWith("axon-")) throw new AxonError("test.cgroup", `${parent} is not a lab's`);
  for (const group of groupsBelow(join(hierarchy, lab))) rmdirSync(group);
}
