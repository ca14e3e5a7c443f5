/** Flows of all nodes through the relay, with the certificates that the operator makes; what agents did. */
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import type { Flow, FlowFilter, FlowProcess } from "@axoneme/flow";
import { resources } from "@axoneme/kube";
import { isClean, labDown, leftovers } from "@axoneme/lab";
import { type HubbleClient, openHubble } from "@axoneme/observe";
import { hubbleSecrets, issue, nodeSecret, nodeServerName } from "@axoneme/pki";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, type Outcome, run } from "./support/command.ts";
import { labName, port, TestLab, type TestPod } from "./support/lab.ts";

const name = labName("it-hubble");
const namespace = "kube-system";
let lab: TestLab;
let client: TestPod;
let server: TestPod;
let relay: HubbleClient;

beforeAll(async () => {
  lab = await TestLab.up(name, {
    nodes: 2,
    agentConfig: { hubbleHistory: "64MiB", hubbleHistoryDir: "{{nodeDir}}/history" },
  });
  [client, server] = (await lab.pods(
    { name: "client", node: "node1" },
    { name: "server", node: "node2" },
  )) as [TestPod, TestPod];
  relay = await openHubble({ target: { path: lab.paths.relaySocket } }, 5000);
  await waitFor(async () => (await relay.status()).num_connected_nodes === 2, {
    timeoutMs: 20_000,
    what: "the relay to reach both nodes",
  });
});

afterAll(async () => {
  relay?.close();
  await TestLab.down(lab, name);
});

const secrets = () => lab.client.resource(resources.secrets);
const secretText = async (secret: string, key: string): Promise<string> =>
  Buffer.from((await secrets().get(secret, { namespace })).data?.[key] ?? "", "base64").toString();

/** Serial number of the certificate that a node shows now. */
async function shown(node: string): Promise<string> {
  const program = `
    const socket = require("tls").connect(
      { host: "127.0.0.1", port: 4244, rejectUnauthorized: false, ALPNProtocols: ["h2"] },
      () => { console.log(socket.getPeerCertificate().serialNumber); process.exit(0); });
    socket.on("error", () => process.exit(1));`;
  const place = lab.node(node);
  const { stdout } = await run("build/bin/axon-exec", [
    "--netns",
    place.netns,
    "--",
    process.execPath,
    "-e",
    program,
  ]);
  return stdout.trim();
}

describe("the relay of a lab", () => {
  it("shows a connection on both of its nodes", async () => {
    const stop = new AbortController();
    const seen = new Set<string>();
    const following = (async () => {
      const filter = { source_pod: ["default/client"], destination_port: [port] };
      try {
        for await (const { flow, node_name } of relay.flows(
          { follow: true, whitelist: [filter] },
          stop.signal,
        )) {
          if (flow?.destination?.pod_name === "server") seen.add(node_name ?? "");
        }
      } catch {
        stop.abort();
      }
    })();
    await waitFor(
      async () => {
        await lab.reached(client, ["tcp", server.v4, port]);
        return [...seen].sort().join() === "node1,node2";
      },
      { timeoutMs: 20_000, everyMs: 200, what: "flows of both nodes" },
    );
    stop.abort();
    await following;
  });

  it("axon hubble asks it by itself", async () => {
    const status = (await lab.axon(["hubble", "status", "-o", "json"])) as { num_connected_nodes?: number };
    expect(status.num_connected_nodes).toBe(2);
    const { stdout } = await lab.axonRun(["hubble", "observe", "--to-pod", "default/server", "--last", "2"]);
    expect(stdout).toContain("default/client");
    const nodes = (await lab.axon(["hubble", "list", "nodes", "-o", "json"])) as {
      tls: object;
      address: string;
    }[];
    expect(nodes.map(({ tls }) => tls)).toEqual(
      ["node1", "node2"].map((node) => ({ enabled: true, server_name: nodeServerName(node, "default") })),
    );
    const { stdout: text } = await lab.axonRun(["status"]);
    expect(text).toContain(`unix://${lab.paths.relaySocket}`);
  });

  it("debug events say what each datapath did with the connection", async () => {
    const events = async (node: string): Promise<string> =>
      (await lab.axonRun(["hubble", "observe", "debug-events", "--node", node, "--all"])).stdout;
    const connection = `${client.v4}:\\d+ -> ${server.v4}:${port} TCP`.replaceAll(".", "\\.");
    const first = await events("node1");
    for (const said of ["DBG_CT_VERDICT .* conntrack: new,", "DBG_CT_CREATED4 .* conntrack entry created:"])
      expect(first).toMatch(new RegExp(`: default/client ${said} ${connection}`));
    const mark = new RegExp(`DBG_CT_CREATED4 mark (\\w+) .*: ${connection}`).exec(first)?.[1];
    // The nodes drain their rings at different moments.
    const delivered = new RegExp(
      `: default/server DBG_LOCAL_DELIVERY mark ${mark} .* delivered to local endpoint`,
    );
    await waitFor(async () => delivered.test(await events("node2")), {
      timeoutMs: 10_000,
      everyMs: 200,
      what: "the connection's delivery on node2, under the same mark",
    });
  });

  it("a node that goes is missing, and back when it comes, with the flows of before it was killed", async () => {
    const past = async (): Promise<readonly string[]> => {
      const found: string[] = [];
      const whitelist = [{ destination_pod: ["default/server"], node_name: ["node2"] }];
      const request = { since: "2026-01-01T00:00:00Z", until: before, whitelist };
      for await (const { flow } of relay.flows(request, AbortSignal.timeout(10_000)))
        if (flow?.source?.pod_name === "client") found.push(flow.uuid);
      return found;
    };
    const before = new Date().toISOString();
    const seen = await past();
    expect(seen.length).toBeGreaterThan(0);
    // Records are written in their order: what is written a second later has those before it.
    const dir = join(lab.paths.nodeDir("node2"), "history");
    const writtenMs = (): number =>
      Math.max(...readdirSync(dir).map((segment) => statSync(join(dir, segment)).mtimeMs));
    await waitFor(
      async () => {
        await lab.reached(client, ["tcp", server.v4, port]);
        return writtenMs() > Date.parse(before) + 1500;
      },
      { timeoutMs: 15_000, everyMs: 200, what: "the flows to be on disk" },
    );
    const pid = lab.agentPid("node2");
    if (pid !== undefined) process.kill(pid, "SIGKILL");
    await waitFor(async () => (await relay.status()).unavailable_nodes?.includes("node2"), {
      timeoutMs: 10_000,
      what: "node2 to be missing",
    });
    await waitFor(async () => (await relay.status()).num_connected_nodes === 2, {
      timeoutMs: 30_000,
      what: "node2 to be back",
    });
    expect(await past()).toEqual(seen);
  });

  it("flows name the programs at both ends: one that is gone by now, and one that is older than its agent", async () => {
    const script = `
      require("net").connect(${port}, "${server.v6}").on("connect", function () { this.end(); }).on("error", () => {});
      const udp = require("dgram").createSocket("udp4");
      udp.send("hello", ${port}, "${server.v4}");
      udp.on("message", () => udp.close());`;
    const client1 = `${client.cgroup}/process-test`;
    mkdirSync(client1, { recursive: true });
    const inPod = (...command: string[]): Promise<Outcome> =>
      run(built("axon-exec"), ["--netns", client.netns, "--cgroup", client1, "--", ...command]);
    const since = new Date().toISOString();
    expect(await inPod(process.execPath, "-e", script)).toMatchObject({ code: 0 });
    await inPod("curl", "-sg", "-m", "2", `http://[${server.v6}]:${port}/secret`);
    // Each node tells its flows when it has read them: none is there for having seen another.
    const names = (side: "source" | "destination", filter: FlowFilter) =>
      waitFor(
        async () => {
          const found: (FlowProcess & { flow: Flow })[] = [];
          for await (const { flow } of relay.flows({ since, whitelist: [filter] }, AbortSignal.timeout(5000)))
            if (flow?.[side]?.process !== undefined) found.push({ flow, ...flow[side].process });
          return found.length > 0 ? found : undefined;
        },
        { everyMs: 100, what: `a flow whose ${side} is of ${JSON.stringify(filter)}` },
      );
    const node = `${process.execPath.split("/").at(-1)}`;
    for (const protocol of ["tcp", "udp"]) {
      const asked = { protocol: [protocol], destination_port: [port] };
      const [first] = await names("source", { ...asked, source_process: [node] });
      expect(first).toMatchObject({ binary: process.execPath, container: "process-test" });
      expect(first).not.toHaveProperty("arguments");
      expect(Math.abs(Date.parse(first?.start_time ?? "") - Date.parse(since))).toBeLessThan(5000);
      expect(first?.flow).toMatchObject({ node_name: "node1", source: { pod_name: "client" } });
      const answered = { protocol: [protocol], source_port: [port] };
      const [answer] = await names("source", { ...answered, source_process: ["axon-probe"] });
      expect(answer).toMatchObject({ container: "main", flow: { node_name: "node2" } });
      const [heard] = await names("destination", { ...answered, destination_process: [node] });
      expect(heard).toMatchObject({ pid: first?.pid, flow: { node_name: "node1" } });
    }
    const [curl] = await names("source", { source_process: ["/usr/bin/curl"] });
    expect(curl).toMatchObject({ binary: "/usr/bin/curl", flow: { destination: { pod_name: "server" } } });
    const table = await lab.axonRun([
      "hubble",
      "observe",
      "--process",
      "curl",
      "--since",
      since,
      "--print-processes",
    ]);
    expect(table.stdout).toContain(` process curl[${curl?.pid}] -> `);
    const { stdout } = await lab.axonRun(["status", "--verbose"]);
    expect(stdout).toMatch(/node1 +processes +ok .*with sockets in pods/);
  });

  it("the relay comes back after it was killed", async () => {
    const pid = Number(readFileSync(`${lab.paths.state}/relay.pid`, "utf8"));
    process.kill(pid, "SIGKILL");
    relay.close();
    relay = await waitFor(() => openHubble({ target: { path: lab.paths.relaySocket } }, 5000), {
      timeoutMs: 20_000,
      everyMs: 100,
      what: "the relay to be back",
    });
    await waitFor(async () => (await relay.status()).num_connected_nodes === 2, {
      timeoutMs: 20_000,
      what: "both nodes",
    });
  });

  it("a new certificate is shown without a restart", async () => {
    const before = await shown("node1");
    expect(before).not.toBe("");
    const pid = lab.agentPid("node1");
    const ca = {
      certificate: await secretText(hubbleSecrets.ca, "ca.crt"),
      key: await secretText(hubbleSecrets.ca, "ca.key"),
    };
    const request = {
      commonName: "node1",
      sans: [nodeServerName("node1", "default")],
      use: "server",
    } as const;
    const next = await issue({ ...request, validMs: 86_400_000 * 30 }, ca);
    const encode = (text: string): string => Buffer.from(text).toString("base64");
    const data = { "tls.crt": encode(next.certificate), "tls.key": encode(next.key) };
    await secrets().patch(nodeSecret("node1"), { data }, { namespace });
    await waitFor(async () => (await shown("node1")) !== before, {
      timeoutMs: 15_000,
      everyMs: 200,
      what: "the new certificate",
    });
    expect(lab.agentPid("node1")).toBe(pid);
    expect((await relay.status()).num_connected_nodes).toBe(2);
  });
});

describe("what agents did", () => {
  it("is told: endpoints, addresses, policies, Services", async () => {
    const stop = new AbortController();
    const agent = await openHubble({ target: { path: `${lab.paths.nodeDir("node1")}/hubble.sock` } }, 5000);
    const seen: string[] = [];
    const following = (async () => {
      try {
        for await (const { agent_event: event } of agent.agentEvents({ follow: true }, stop.signal)) {
          seen.push(`${event?.type ?? ""} ${JSON.stringify(event)}`);
        }
      } catch {
        stop.abort();
      }
    })();
    const policy = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "told", namespace: "default" },
      spec: { podSelector: {}, policyTypes: ["Ingress"], ingress: [{}] },
    };
    await lab.pods({ name: "brief", node: "node1" });
    await lab.apply(policy);
    await lab.deletePod("brief");
    await lab.remove(policy);
    const wanted = [
      /^ENDPOINT_CREATED .*"pod_name":"brief"/,
      /^IPCACHE_UPSERTED .*"pod_name":"brief"/,
      /^POLICY_UPDATED .*policy.name=told/,
      /^ENDPOINT_REGENERATE_SUCCESS /,
      /^ENDPOINT_DELETED .*"pod_name":"brief"/,
      /^POLICY_DELETED .*policy.name=told/,
    ];
    await waitFor(() => wanted.every((each) => seen.some((line) => each.test(line))), {
      timeoutMs: 20_000,
      what: "all of these events",
    }).catch((cause: unknown) => {
      throw new Error(`missing ${wanted.filter((each) => !seen.some((line) => each.test(line))).join(" ")}`, {
        cause,
      });
    });
    stop.abort();
    await following;
    agent.close();
    const { stdout } = await lab.axonRun(["hubble", "observe", "agent-events", "--node", "node1", "--all"]);
    expect(stdout).toMatch(/: AGENT_STARTED time=/);
    expect(stdout).toMatch(/: SERVICE_UPSERTED .*name=kubernetes/);
  });
});

describe("taking the lab down", () => {
  it("leaves nothing of the relay", async () => {
    relay.close();
    await labDown({ name });
    expect(isClean(await leftovers(name))).toBe(true);
  });
});
