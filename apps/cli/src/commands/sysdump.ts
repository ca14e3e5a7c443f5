import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { promisify } from "node:util";
import { Command, InvalidArgumentError, Option } from "commander";
import { type AgentOptions, addAgentOptions, chooseLab, findAgents } from "../agents.ts";
import { AgentClient } from "../client.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { withCluster } from "../install/session.ts";
import { type OutputOptions, outputOption, printData } from "../output.ts";
import { agentItems } from "../sysdump/agent-items.ts";
import { clusterItems } from "../sysdump/cluster-items.ts";
import { type CollectOptions, collect } from "../sysdump/collect.ts";
import { type DumpEntry, type DumpItem, jsonText } from "../sysdump/item.ts";
import { machineItems } from "../sysdump/machine-items.ts";
import { examples } from "./help.ts";

interface SysdumpOptions extends AgentOptions, OutputOptions {
  readonly kubeconfig?: string;
  readonly quick?: boolean;
  readonly flows: number;
  readonly outputFile?: string;
}

/** What is printed, and stands in the archive as manifest.json. */
interface Manifest {
  readonly file: string;
  readonly version: string;
  readonly time: string;
  readonly isComplete: boolean;
  readonly entries: readonly DumpEntry[];
}

const limits = { timeoutMs: 30_000, mostBytes: 64 << 20, width: 4 };

/** `axon sysdump`: one archive with what somebody needs who is to help. */
export function sysdumpCommand(context: Context): Command {
  return addAgentOptions(new Command("sysdump"))
    .description(
      "collect into one archive what is needed to help. Never Secrets, ConfigMaps or values of environment variables",
    )
    .option("--kubeconfig <file>", "read the cluster's objects with this; a lab's is found by itself")
    .option("--quick", "leave out what grows with the cluster")
    .addOption(
      new Option("--flows <n>", "the newest flows of each agent").default(5000).argParser((text) => {
        const flows = Number(text);
        if (!Number.isInteger(flows) || flows < 0 || flows > 1_000_000)
          throw new InvalidArgumentError("a number from 0 to 1000000");
        return flows;
      }),
    )
    .option("--output-file <file>", "the archive (default: axoneme-sysdump-<time>.tar.gz)")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        ["axon sysdump", "of the lab or the node this runs on, into the working directory"],
        ["axon sysdump --quick --node node1", "of one node, small"],
        ["axon sysdump -o json | jq '.entries[] | select(.error)'", "what could not be had"],
      ),
    )
    .action((options: SysdumpOptions) => dump(context, options));
}

async function dump(context: Context, options: SysdumpOptions): Promise<void> {
  const time = new Date(context.now()).toISOString();
  const file = resolve(options.outputFile ?? `axoneme-sysdump-${time.replace(/[:.]/g, "-")}.tar.gz`);
  const parent = await mkdtemp(join(tmpdir(), "axon-sysdump-"));
  const directory = join(parent, basename(file).replace(/\.(tar\.gz|tgz)$/, ""));
  try {
    await mkdir(directory, { mode: 0o700 });
    const entries = await collectAll(context, options, directory);
    const manifest: Manifest = {
      file,
      version: context.version,
      time,
      isComplete: !context.signal.aborted && entries.every(({ error }) => error === undefined),
      entries,
    };
    await writeFile(join(directory, "manifest.json"), jsonText(manifest), { mode: 0o600 });
    await pack(parent, basename(directory), file);
    if (options.output === "table") await context.stdout.write(await summary(manifest, file));
    else await printData(context, options.output, manifest);
    if (context.signal.aborted) context.setExitCode(exitCode.interrupted);
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

async function collectAll(
  context: Context,
  options: SysdumpOptions,
  directory: string,
): Promise<DumpEntry[]> {
  const clients = agentsOf(context, options).map((agent) => new AgentClient(agent));
  const { signal } = context;
  const agents = clients.flatMap((client) =>
    agentItems(client, {
      folder: `nodes/${client.agent.node === "" ? "this" : client.agent.node}`,
      isQuick: options.quick === true,
      flows: options.flows,
    }),
  );
  const work = async (items: readonly DumpItem[]): Promise<DumpEntry[]> =>
    collect(items, directory, { ...limits, signal, onEntry: progress(context, items.length) });
  try {
    const entries = await work([...machineItems(), ...agents]);
    return [...entries, ...(await clusterEntries(context, options, work))];
  } finally {
    for (const client of clients) client.close();
  }
}

/** Without an agent there is still the cluster and the machine to tell of. */
function agentsOf(context: Context, options: SysdumpOptions): ReturnType<typeof findAgents> {
  try {
    return findAgents(context, options);
  } catch (error) {
    if (error instanceof CliError && error.exit === exitCode.unreachable) return [];
    throw error;
  }
}

async function clusterEntries(
  context: Context,
  options: SysdumpOptions,
  work: (items: readonly DumpItem[]) => Promise<DumpEntry[]>,
): Promise<DumpEntry[]> {
  const lab = options.agent === undefined ? chooseLab(context, options.lab) : undefined;
  const ofLab = lab && join(context.env["AXON_RUN_DIR"] ?? "/run/axon", lab, "kubeconfig");
  const kubeconfig = options.kubeconfig ?? ofLab;
  try {
    return await withCluster(context, kubeconfig === undefined ? {} : { kubeconfig }, (client) =>
      work(clusterItems(client)),
    );
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    return [{ path: "cluster", bytes: 0, error: error.message }];
  }
}

/** A line on a terminal that counts; nothing elsewhere. */
function progress({ stderr }: Context, total: number): CollectOptions["onEntry"] {
  if (!stderr.isTty) return () => undefined;
  return ({ path }, done) => {
    const end = done === total ? "\r\u001b[K" : "";
    void stderr.write(`\r\u001b[K${done}/${total} ${path}${end}`);
  };
}

/** A compressed archive only its owner reads: it holds names and addresses of everything. */
async function pack(parent: string, folder: string, file: string): Promise<void> {
  try {
    await writeFile(file, "", { mode: 0o600, flag: "w" });
    await chmod(file, 0o600);
    await promisify(execFile)("tar", ["-czf", file, "-C", parent, "--", folder]);
  } catch (cause) {
    throw new CliError(exitCode.failed, {
      what: "cannot write the archive",
      object: file,
      cause,
      fix: "name another place with --output-file",
    });
  }
}

async function summary({ entries, isComplete }: Manifest, file: string): Promise<string> {
  const failed = entries.filter(({ error }) => error !== undefined);
  const { size } = await stat(file);
  const lines = failed.map(({ path, error = "" }) => `not there: ${path}: ${error}`);
  const kept = entries.filter(({ bytes }) => bytes > 0).length;
  const note = isComplete ? "" : ", not complete";
  return [...lines, `${file}: ${kept} files, ${Math.ceil(size / 1024)} KiB${note}`, ""].join("\n");
}
