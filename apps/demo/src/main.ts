/**
 * The story of `make demo`: a two-node lab comes up, pods talk, policies cut one off, flows say why. Everything is done
 * with the commands a user has: `axon` and `kubectl`.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { errorText } from "@axoneme/base";
import { Checks } from "./checks.ts";
import { addressPool, application, ciliumNetworkPolicy, frontDoor, networkPolicy } from "./manifests.ts";
import { Shell } from "./shell.ts";

const root = join(import.meta.dirname, "..");
const axon = join(root, "bin/axon");
const probe = join(root, "build/bin/axon-probe");
const lab = "demo";
const kubeconfig = `/run/axon/${lab}/kubeconfig`;
/** The namespace that is the nodes' physical network, and the world behind it. */
const outside = `/run/axon/${lab}/netns/net`;
const keep = process.argv.includes("--keep");

const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
const env = { KUBECONFIG: kubeconfig, AXON_LAB: lab };
const shell = new Shell(env, interrupted.signal);
const checks = new Checks(shell, probe);
const started = performance.now();

function say(text: string): void {
  console.log(`\n[${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s] ${text}`);
}

/** The address a jsonpath gives, or a sentence about what is missing. */
async function address(kind: string, name: string, path: string): Promise<string> {
  const text = await shell.run("kubectl", ["get", kind, "-n", "shop", name, "-o", `jsonpath={${path}}`]);
  if (text === "") throw new Error(`${kind} ${name} has no ${path}`);
  return text;
}

async function webOn(node: string): Promise<{ name: string; v4: string; v6: string }> {
  const path = `{range .items[?(@.spec.nodeName=="${node}")]}{.metadata.name} {.status.podIPs[0].ip} {.status.podIPs[1].ip}{end}`;
  const text = await shell.run("kubectl", [
    "get",
    "pods",
    "-n",
    "shop",
    "-l",
    "app=web",
    "-o",
    `jsonpath=${path}`,
  ]);
  const [name = "", v4 = "", v6 = ""] = text.trim().split(" ");
  if (v6 === "") throw new Error(`the web pod on ${node} has no two addresses: "${text}"`);
  return { name, v4, v6 };
}

async function start(): Promise<void> {
  say("Bringing up a cluster of two nodes");
  if (existsSync(kubeconfig)) await shell.show(axon, ["lab", "down", "--name", lab]);
  if ((await shell.show(axon, ["lab", "up", "--nodes", "2", "--name", lab])) !== 0)
    throw new Error("the lab did not come up");
}

async function deploy(): Promise<void> {
  say("Starting pods with kubectl");
  await shell.run("kubectl", ["apply", "-f", "-"], application(probe, ["node1", "node2"]));
  await shell.run("kubectl", ["rollout", "status", "-n", "shop", "daemonset/web", "--timeout=30s"]);
  await shell.run("kubectl", [
    "wait",
    "-n",
    "shop",
    "--for=condition=Ready",
    "pod",
    "--all",
    "--timeout=30s",
  ]);
  await shell.show("kubectl", ["get", "pods", "-n", "shop", "-o", "wide"]);
}

async function connect(): Promise<void> {
  say("Everybody reaches everybody");
  const [near, far, service] = await Promise.all([
    webOn("node1"),
    webOn("node2"),
    address("service", "web", ".spec.clusterIP"),
  ]);
  await checks.reach("pod to pod on the same node, IPv4", "client", ["tcp", near.v4, "8080"], "reached");
  await checks.reach("pod to pod on the same node, IPv6", "client", ["tcp", near.v6, "8080"], "reached");
  await checks.reach("pod to pod on the other node, IPv4", "client", ["tcp", far.v4, "8080"], "reached");
  await checks.reach("pod to pod on the other node, IPv6", "client", ["udp", far.v6, "8080"], "reached");
  await checks.reach("pod to Service", "client", ["tcp", service, "80"], "reached");
  await checks.reach("pod to the world, masqueraded", "client", ["ping", "192.0.2.1"], "reached");
  await checks.reach(
    "the intruder, while there is no policy",
    "intruder",
    ["tcp", near.v4, "8080"],
    "reached",
  );
}

async function openUp(): Promise<void> {
  say(
    "Opening the shop to the world: a LoadBalancer address, announced on the network, and a port on every node",
  );
  const nodes = await Promise.all(
    ["node1", "node2"].map((name) =>
      shell.run("kubectl", ["get", "node", name, "-o", "jsonpath={.status.addresses[0].address}"]),
    ),
  );
  const network = (nodes[0] ?? "").split(".").slice(0, 3).join(".");
  await shell.run("kubectl", ["apply", "-f", "-"], addressPool(network));
  await shell.run("kubectl", ["apply", "-f", "-"], frontDoor);
  await shell.run("kubectl", [
    "wait",
    "-n",
    "shop",
    "--for=jsonpath={.status.loadBalancer.ingress[0].ip}",
    "service/front",
    "--timeout=10s",
  ]);
  const vip = await address("service", "front", ".status.loadBalancer.ingress[0].ip");
  await checks.reachFromOutside(
    "the world to the LoadBalancer address",
    outside,
    ["tcp", vip, "80"],
    "reached",
  );
  for (const [i, node] of nodes.entries()) {
    const what = `the world to the NodePort of node${i + 1}`;
    await checks.reachFromOutside(what, outside, ["tcp", node, "30080"], "reached");
  }
  await checks.reach("pod to the LoadBalancer address", "client", ["tcp", vip, "80"], "reached");
  await shell.show(axon, ["service", "list", "--namespace", "shop"]);
  await shell.show(axon, ["service", "trace", "world", `${vip}:80`]);
}

async function isolate(): Promise<void> {
  say("Applying a NetworkPolicy and a CiliumNetworkPolicy");
  await shell.run("kubectl", ["apply", "-f", "-"], networkPolicy);
  await shell.run("kubectl", ["apply", "-f", "-"], ciliumNetworkPolicy);
  const [near, far, service] = await Promise.all([
    webOn("node1"),
    webOn("node2"),
    address("service", "web", ".spec.clusterIP"),
  ]);
  await checks.reach("the intruder, from the other node", "intruder", ["tcp", near.v4, "8080"], "cut off");
  await checks.reach("the intruder, on the same node", "intruder", ["tcp", far.v4, "8080"], "cut off");
  await checks.reach("the intruder, through the Service", "intruder", ["tcp", service, "80"], "cut off");
  await checks.reach("the client on the allowed port", "client", ["tcp", near.v4, "8080"], "reached");
  await checks.reach("the client through the Service", "client", ["tcp", service, "80"], "reached");
  await checks.reach("the client to the world", "client", ["ping", "192.0.2.1"], "cut off");
}

interface FlowLine {
  flow?: {
    verdict?: string;
    source?: { pod_name?: string };
    ingress_denied_by?: { name?: string }[];
    egress_denied_by?: { name?: string }[];
    ingress_allowed_by?: { name?: string }[];
  };
}

async function flows(...filters: string[]): Promise<FlowLine[]> {
  const text = await shell.run(axon, [
    "hubble",
    "observe",
    "--namespace",
    "shop",
    "--last",
    "100",
    "-o",
    "json",
    ...filters,
  ]);
  return text.split("\n").flatMap((line) => (line.trim() === "" ? [] : [JSON.parse(line) as FlowLine]));
}

function policyOf(
  lines: readonly FlowLine[],
  pod: string,
  field: "ingress_denied_by" | "egress_denied_by" | "ingress_allowed_by",
): string {
  for (const { flow } of lines) {
    const name = flow?.source?.pod_name === pod ? flow[field]?.[0]?.name : undefined;
    if (name !== undefined) return name;
  }
  return "no flow names a policy";
}

async function observe(): Promise<void> {
  say("The flows that show it");
  await shell.show(axon, ["hubble", "observe", "--namespace", "shop", "--verdict", "DROPPED", "--last", "6"]);
  await shell.show(axon, [
    "hubble",
    "observe",
    "--namespace",
    "shop",
    "--type",
    "policy-verdict",
    "--verdict",
    "FORWARDED",
    "--last",
    "4",
  ]);
  const dropped = await flows("--verdict", "DROPPED");
  const forwarded = await flows("--verdict", "FORWARDED", "--type", "policy-verdict");
  checks.record(
    "the policy named in the intruder's drop",
    "web-only-from-client",
    policyOf(dropped, "intruder", "ingress_denied_by"),
  );
  checks.record(
    "the policy named in the client's drop",
    "client-only-to-web",
    policyOf(dropped, "client", "egress_denied_by"),
  );
  checks.record(
    "the policy that let the client in",
    "web-only-from-client",
    policyOf(forwarded, "client", "ingress_allowed_by"),
  );
}

async function finish(): Promise<void> {
  if (keep) {
    say(`The lab goes on running. Talk to it:
  export KUBECONFIG=${kubeconfig} AXON_LAB=${lab} PATH=${join(root, "bin")}:$PATH
  kubectl get pods -A -o wide
  axon status; axon endpoint list; axon hubble observe --follow
  axon lab down --name ${lab}      # when you are done`);
    return;
  }
  say("Cleaning up");
  // Also after Ctrl-C: the clean-up has a shell that the interrupt does not stop.
  const code = await new Shell(env, new AbortController().signal).show(axon, ["lab", "down", "--name", lab]);
  checks.record("nothing is left behind", "0", String(code));
}

async function main(): Promise<number> {
  let error: unknown;
  try {
    for (const chapter of [start, deploy, connect, openUp, isolate, observe]) await chapter();
  } catch (cause) {
    error = cause;
  }
  await finish();
  say("What was checked");
  console.log(checks.table());
  if (interrupted.signal.aborted) return 130;
  if (error !== undefined) console.error(`\ndemo: ${errorText(error)}`);
  const good = error === undefined && checks.failed === 0;
  console.log(
    `\n${good ? "The demo is what it should be." : "The demo is NOT what it should be."} ${Math.round((performance.now() - started) / 1000)} s`,
  );
  return good ? 0 : 1;
}

process.exitCode = await main();
