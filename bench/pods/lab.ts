import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A lab brought up for a benchmark, with the CLI and kubectl as a user has them. */
export class BenchLab {
  readonly name: string;
  readonly #root: string;

  private constructor(root: string, name: string) {
    this.#root = root;
    this.name = name;
  }

  /** @param options further words for `axon lab up`. */
  static async up(root: string, name: string, options: readonly string[] = []): Promise<BenchLab> {
    const lab = new BenchLab(root, name);
    await lab.down();
    await lab.axon("lab", "up", "--name", name, "--nodes", "2", ...options);
    return lab;
  }

  /** A lab that somebody else brings up. */
  static at(root: string, name: string): BenchLab {
    return new BenchLab(root, name);
  }

  async down(): Promise<void> {
    await this.axon("lab", "down", "--name", this.name).catch(() => undefined);
  }

  /** Runs the CLI; rejects with its words. */
  async axon(...args: string[]): Promise<string> {
    const { stdout } = await run(join(this.#root, "bin/axon"), args, { env: this.#env() });
    return stdout;
  }

  /** Runs kubectl; `stdin` for `-f -`. */
  async kubectl(args: readonly string[], stdin = ""): Promise<string> {
    const child = run("kubectl", args, { env: this.#env() });
    child.child.stdin?.end(stdin);
    return (await child).stdout;
  }

  /** Makes pods that do nothing but hold a network, and waits for them. */
  async pods(pods: readonly { name: string; node: string }[]): Promise<void> {
    const manifest = pods.map(
      ({ name, node }) => `---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: ${name} } }
spec: { nodeName: ${node}, containers: [{ name: c, image: host, command: [sleep, infinity] }] }
`,
    );
    await this.kubectl(["apply", "-f", "-"], manifest.join(""));
    await this.kubectl(["wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s"]);
  }

  /** Where a pod's network is, and its addresses. */
  async pod(name: string): Promise<{ netns: string; ipv4: string; ipv6: string }> {
    const path = "{.metadata.uid} {.status.podIPs[0].ip} {.status.podIPs[1].ip}";
    const text = await this.kubectl(["get", "pod", name, "-o", `jsonpath=${path}`]);
    const [uid = "", ipv4 = "", ipv6 = ""] = text.split(" ");
    return { netns: `/run/axon/${this.name}/netns/pod-${uid}`, ipv4, ipv6 };
  }

  #env(): NodeJS.ProcessEnv {
    return { ...process.env, AXON_LAB: this.name, KUBECONFIG: `/run/axon/${this.name}/kubeconfig` };
  }
}
