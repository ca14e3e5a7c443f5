import { execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import type { CniTemplate, LabUpOptions } from "../../src/index.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../../../..");
const run = promisify(execFile);

/** Bundles the supervisor of these sources and returns the command that runs it. */
export async function supervisorOfSources(): Promise<readonly string[]> {
  const outfile = join(root, "build/test/lab.mjs");
  await build({
    entryPoints: [join(root, "apps/lab/src/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    logLevel: "warning",
    external: ["*.node", "bufferutil", "utf-8-validate"],
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
  return [process.execPath, outfile];
}

/** A real CNI network of Debian's plugins: a veth pair a pod, addresses out of a file. */
const ptpNetwork: CniTemplate = {
  cniVersion: "1.0.0",
  name: "ptp-{{node}}",
  plugins: [
    {
      type: "ptp",
      ipam: {
        type: "host-local",
        dataDir: "{{nodeDir}}/host-local",
        ranges: [[{ subnet: "{{podCIDR4}}" }], [{ subnet: "{{podCIDR6}}" }]],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    },
  ],
  path: ["/usr/lib/cni"],
  runInNode: true,
};

/** A lab without agent and operator, on {@link ptpNetwork}. */
export function plainLab(
  name: string,
  supervisorCommand: readonly string[],
): LabUpOptions & { name: string } {
  return { name, agentCommand: null, operatorCommand: null, cni: ptpNetwork, supervisorCommand };
}

/** kubectl against a lab. */
export class Kubectl {
  readonly #kubeconfig: string;

  constructor(kubeconfig: string) {
    this.#kubeconfig = kubeconfig;
  }

  async run(...args: string[]): Promise<string> {
    const { stdout } = await run("kubectl", ["--kubeconfig", this.#kubeconfig, ...args], { timeout: 60_000 });
    return stdout;
  }

  /** The result as JSON. */
  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.run(...args, "-o", "json")) as T;
  }

  async apply(...objects: object[]): Promise<string> {
    const child = run("kubectl", ["--kubeconfig", this.#kubeconfig, "apply", "-f", "-"], { timeout: 60_000 });
    child.child.stdin?.end(JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
    return (await child).stdout;
  }

  /** Exit code, stdout and stderr, whatever they are. */
  async attempt(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    try {
      const { stdout, stderr } = await run("kubectl", ["--kubeconfig", this.#kubeconfig, ...args], {
        timeout: 60_000,
      });
      return { code: 0, stdout, stderr };
    } catch (error) {
      const failed = error as { code?: number; stdout?: string; stderr?: string };
      return { code: failed.code ?? -1, stdout: failed.stdout ?? "", stderr: failed.stderr ?? "" };
    }
  }
}
