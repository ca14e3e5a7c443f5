import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, expect, it } from "vitest";
import { FakeLabs } from "./fixture.ts";
import { routesOf, statusOf } from "./views.ts";

async function oneNode(): Promise<FakeLabs> {
  return new FakeLabs().node("default", "node1", routesOf("node1"));
}

async function twoNodes(): Promise<FakeLabs> {
  return (await oneNode()).node("default", "node2", routesOf("node2"));
}

describe("tables", () => {
  it.each([
    ["endpoint list"],
    ["service list"],
    ["service list --wide"],
    ["service get default/web"],
    ["service trace default/cart-0 10.96.0.10:80"],
    ["lb maglev"],
    ["bpf nat stat"],
    ["bpf nat flush --yes"],
    ["policy get"],
    ["fqdn cache list"],
    ["fqdn names"],
    ["identity list"],
    ["ip list"],
    ["bpf ct list"],
    ["status"],
    ["status --verbose"],
    ["hubble status"],
    ["endpoint get default/web-0"],
    ["version"],
  ])("axon %s", async (line) => {
    const labs = await oneNode();
    const { code, out, err } = await labs.axon(...line.split(" "));
    expect(code).toBe(0);
    expect(
      `${out.replaceAll(process.version, "<node>")}${err === "" ? "" : `--- stderr\n${err}`}`,
    ).toMatchSnapshot();
  });

  it("several nodes: a NODE column; what all have alike is one row", async () => {
    const labs = await twoNodes();
    const { out } = await labs.axon("ip", "list");
    expect(out).toMatchSnapshot();
    const status = await labs.axon("status");
    expect(
      status.out
        .split("\n")
        .slice(1, 3)
        .map((line) => line.slice(0, 5)),
    ).toEqual(["node1", "node2"]);
    expect((await labs.axon("ip", "list", "--node", "node2")).out).not.toContain("NODE ");
  });

  it("several nodes: rows about the same identity stand together, in the order of their numbers", async () => {
    const of = (endpoints: number) =>
      [1000, 90, 20_000].map((id) => ({
        id,
        scope: "cluster",
        labels: ["k8s:a=b"],
        endpoints: id === 90 ? 1 : endpoints,
      }));
    const labs = new FakeLabs();
    await labs.node("default", "node1", { "/v1/identities": of(0) });
    await labs.node("default", "node2", { "/v1/identities": of(5) });
    const { out } = await labs.axon("identity", "list");
    const rows = out.trim().split("\n").slice(1);
    expect(rows.map((row) => row.split(/ +/).slice(0, 2).join(" "))).toEqual([
      "all 90",
      "node1 1000",
      "node2 1000",
      "node1 20000",
      "node2 20000",
    ]);
  });
});

describe("-o", () => {
  it("json: the objects, each with its node", async () => {
    const labs = await twoNodes();
    const { out, code } = await labs.axon("endpoint", "list", "-o", "json");
    const endpoints = JSON.parse(out) as { node: string; id: number }[];
    expect(endpoints.map(({ node, id }) => `${node}/${id}`)).toEqual([
      "node1/1",
      "node1/42",
      "node2/1",
      "node2/42",
    ]);
    expect(code).toBe(0);
  });

  it("yaml", async () => {
    const labs = await oneNode();
    const { out } = await labs.axon("identity", "list", "-o", "yaml");
    expect(out.startsWith("- node: node1\n  id: 1\n  scope: reserved\n")).toBe(true);
  });

  it.each([
    "service list",
    "service get web",
    "service trace world [fd00::10]:80/udp",
    "lb maglev default/web",
    "bpf nat stat",
    "policy get",
    "ip list",
    "bpf ct list",
    "status",
    "endpoint get default/web-0",
    "version",
  ])("%s -o json is JSON", async (line) => {
    const labs = await oneNode();
    const { out } = await labs.axon(...line.split(" "), "-o", "json");
    expect(() => JSON.parse(out) as unknown).not.toThrow();
  });

  it("an empty list is [] for machines, a word on stderr for people", async () => {
    const labs = await new FakeLabs().node("default", "node1", { "/v1/services": [] });
    expect((await labs.axon("service", "list", "-o", "json")).out).toBe("[]\n");
    const { out, err, code } = await labs.axon("service", "list");
    expect([out, err, code]).toEqual(["", "no services\n", 0]);
  });
});

describe("flush", () => {
  const flushable = async () => {
    const seen: string[] = [];
    const labs = await new FakeLabs().node("default", "node1", {
      "/v1/flush/ct": (req: IncomingMessage, res: ServerResponse) => {
        seen.push(req.method ?? "");
        res.writeHead(200).end(JSON.stringify({ name: "ct", removed: { ax_ct: 3 } }));
      },
    });
    return { labs, seen };
  };

  it("asks, naming nodes and consequences; yes does it", async () => {
    const { labs, seen } = await flushable();
    let asked = "";
    const confirm = (question: string) => {
      asked = question;
      return true;
    };
    const { code, out } = await labs.run(["bpf", "ct", "flush"], { confirm });
    expect([code, out, seen]).toEqual([0, "node1: removed 3 of ax_ct\n", ["POST"]]);
    expect(asked).toMatch(/^Flush ct on node1\? .* \[y\/N\] $/);
  });

  it("no does nothing, and without a terminal it wants --yes", async () => {
    const { labs, seen } = await flushable();
    const no = await labs.run(["bpf", "ct", "flush"], { confirm: () => false });
    expect([no.code, no.err]).toEqual([1, "Error: nothing was flushed: the answer was not yes\n"]);
    const nobody = await labs.axon("bpf", "ct", "flush");
    expect(nobody).toEqual({
      code: 2,
      out: "",
      err: "Error: ct is not flushed without a word\n  fix: there is no terminal to ask on: add --yes\n",
    });
    expect(seen).toEqual([]);
    expect((await labs.axon("bpf", "ct", "flush", "--yes")).code).toBe(0);
    expect(seen).toEqual(["POST"]);
  });
});

describe("DNS names", () => {
  const seen: string[] = [];
  const labs = () =>
    new FakeLabs().node("default", "node1", {
      "/v1/fqdn/cache": (req: IncomingMessage, res: ServerResponse) => {
        seen.push(`${req.method} ${req.url}`);
        res.writeHead(200).end(req.method === "POST" ? '{"removed":4}' : "[]");
      },
    });

  it("filters are the agent's work; cleaning asks first", async () => {
    const made = await labs();
    await made.axon("fqdn", "cache", "list", "-m", "*.a.b", "-e", "shop/web");
    expect(seen.splice(0)).toEqual(["GET /v1/fqdn/cache?match=*.a.b&endpoint=shop%2Fweb"]);
    const no = await made.run(["fqdn", "cache", "clean", "--ip", "192.0.2.1"], { confirm: () => false });
    expect([no.code, seen]).toEqual([1, []]);
    expect((await made.axon("fqdn", "cache", "clean")).code).toBe(2);
    const yes = await made.axon("fqdn", "cache", "clean", "--ip", "192.0.2.1", "--yes");
    expect([yes.code, yes.out]).toEqual([0, "node1: removed 4 entries\n"]);
    expect(seen).toEqual(["POST /v1/fqdn/cache?ip=192.0.2.1"]);
  });
});

describe("services", () => {
  it("--problems shows what is wrong and exits 1; without problems it says so", async () => {
    const labs = await oneNode();
    const { code, out } = await labs.axon("service", "list", "--problems");
    expect([code, out.split("\n").length]).toEqual([1, 4]);
    expect(out).toContain("map full");
    const good = await new FakeLabs().node("default", "node1", { "/v1/services?problems=1": [] });
    const fine = await good.axon("service", "list", "--problems");
    expect([fine.code, fine.err]).toEqual([0, "no problems\n"]);
  });

  it("filters are the agent's work", async () => {
    const seen: string[] = [];
    const labs = await new FakeLabs().node("default", "node1", {
      "/v1/services": (req: IncomingMessage, res: ServerResponse) => {
        seen.push(req.url ?? "");
        res.writeHead(200).end("[]");
      },
    });
    await labs.axon("svc", "ls", "-n", "shop", "--name", "web", "--type", "NodePort");
    expect(seen).toEqual(["/v1/services?namespace=shop&name=web&type=NodePort"]);
  });

  it("what nobody knows is not found, with where to look", async () => {
    const labs = await twoNodes();
    expect(await labs.axon("service", "get", "shop/none")).toEqual({
      code: 3,
      out: "",
      err: "Error: no such Service (shop/none)\n  fix: see `axon service list`\n",
    });
    const empty = await new FakeLabs().node("default", "node1", { "/v1/maglev": [] });
    expect((await empty.axon("lb", "maglev", "shop/none")).code).toBe(3);
    expect((await empty.axon("service", "trace", "shop/none", "10.0.0.1:80")).err).toContain(
      "no node knows this client (shop/none)",
    );
  });

  it("a trace is asked with every part by its name", async () => {
    const seen: string[] = [];
    const labs = await new FakeLabs().node("default", "node1", {
      "/v1/trace": (req: IncomingMessage, res: ServerResponse) => {
        seen.push(req.url ?? "");
        res.writeHead(404).end(JSON.stringify({ code: "x", message: "no" }));
      },
    });
    await labs.axon("service", "trace", "host", "[fd00::10]:53/udp");
    expect(seen).toEqual(["/v1/trace?client=host&address=fd00%3A%3A10&port=53&protocol=UDP"]);
  });
});

describe("colours", () => {
  const sequence = "\u001b[";
  it.each([
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: "1" }, false],
    [false, { FORCE_COLOR: "1" }, true],
  ])("terminal %s, %j: %s", async (tty, env, colored) => {
    const labs = await oneNode();
    const { out } = await labs.run(["status"], { tty, env: env as Record<string, string> });
    expect(out.includes(sequence)).toBe(colored);
  });
});

describe("exit codes and errors", () => {
  it("0: done", async () => {
    expect((await (await oneNode()).axon("endpoint", "list")).code).toBe(0);
  });

  it("1: the agent could not do it; status of what is not ok", async () => {
    const labs = await new FakeLabs().node("default", "node1", {
      "/v1/status": statusOf("node1", "degraded"),
      "/v1/services": (_: unknown, res: ServerResponse) => {
        res.writeHead(500).end(JSON.stringify({ code: "x", message: "the table is broken", fix: "mend it" }));
      },
    });
    const status = await labs.axon("status");
    expect(status.code).toBe(1);
    expect(status.out).toContain("map full");
    const failed = await labs.axon("service", "list");
    expect(failed).toEqual({
      code: 1,
      out: "",
      err: "Error: cannot read the services (node node1): the table is broken\n  fix: mend it\n",
    });
  });

  it.each([
    ["no-such-command"],
    ["endpoint"],
    ["endpoint get"],
    ["endpoint list --colour"],
    ["endpoint list -o xml"],
    ["bpf ct list --limit none"],
    ["bpf ct flush"],
    ["bpf frags flush"],
    ["service list --type Headless"],
    ["service get a/b/c"],
    ["service get Web"],
    ["service trace world"],
    ["service trace world 10.0.0.1"],
    ["service trace world fd00::1:80"],
    ["service trace world 10.0.0.1:99999"],
    ["service trace world 10.0.0.1:80/icmp"],
    ["hubble observe --verdict eaten"],
    ["hubble observe --pod a --from-pod b"],
    ["hubble observe --namespace a --pod b/c"],
    ["hubble observe -n a -A"],
    ["hubble observe --first 3 -f"],
    ["hubble observe --since yesterday"],
    ["hubble observe --not"],
    ["completion tcsh"],
  ])("2: axon %s", async (line) => {
    const labs = await oneNode();
    const { code, err } = await labs.axon(...line.split(" "));
    expect(code).toBe(2);
    expect(err.length).toBeGreaterThan(0);
  });

  it("3: not found, and where to look", async () => {
    const labs = await twoNodes();
    expect(await labs.axon("endpoint", "get", "default/none")).toEqual({
      code: 3,
      out: "",
      err: "Error: no such endpoint (default/none)\n  fix: see `axon endpoint list`\n",
    });
    expect((await labs.axon("policy", "get", "default/none")).code).toBe(3);
    const node = await labs.axon("status", "--node", "node9");
    expect(node.code).toBe(3);
    expect(node.err).toBe("Error: no such node (node9)\n  fix: nodes of lab default: node1, node2\n");
    const lab = await labs.axon("status", "--lab", "other");
    expect([lab.code, lab.err]).toEqual([3, "Error: no such lab (other)\n  fix: labs here: default\n"]);
  });

  it("4: nobody there", async () => {
    const labs = new FakeLabs();
    const none = await labs.axon("status");
    expect(none.code).toBe(4);
    expect(none.err).toContain("axon lab up");
    await labs.node("default", "node1");
    const dead = await labs.axon("status");
    expect(dead.code).toBe(4);
    expect(dead.err).toContain("the agent is not running");
    const named = await labs.axon("status", "--agent", "/nonexistent/agent.sock");
    expect(named.code).toBe(4);
  });

  it("4: one of two is dead: the other's answer is shown all the same", async () => {
    const labs = await (await oneNode()).node("default", "node2");
    const { code, out, err } = await labs.axon("endpoint", "list");
    expect(code).toBe(4);
    expect(out).toContain("default/web-0");
    expect(err).toContain("node node2");
  });

  it("4: an agent that hangs up in the middle", async () => {
    const labs = await new FakeLabs().node("default", "node1", {
      "/v1/services": (_: unknown, res: ServerResponse) => {
        res.writeHead(200, { "content-length": "100" }).write("[{");
        res.flushHeaders();
        setImmediate(() => res.destroy());
      },
    });
    const { code, err } = await labs.axon("service", "list");
    expect(code).toBe(4);
    expect(err).toContain("the answer broke off");
  });
});

describe("finding agents", () => {
  it("several labs without a default need a name; AXON_LAB gives it", async () => {
    const labs = await new FakeLabs().node("a", "node1", routesOf("node1"));
    expect((await labs.axon("status")).code).toBe(0);
    await labs.node("b", "node1", routesOf("node1"));
    const { code, err } = await labs.axon("status");
    expect([code, err.split("\n")[0]]).toEqual([2, "Error: there are several labs: a, b"]);
    expect((await labs.run(["status"], { env: { AXON_LAB: "b" } })).code).toBe(0);
    await labs.node("default", "node1", routesOf("node1"));
    expect((await labs.axon("status")).code).toBe(0);
  });

  it("--agent needs no lab", async () => {
    const labs = await new FakeLabs().node("x", "node1", routesOf("node1"));
    const { out, code } = await labs.axon("endpoint", "list", "--agent", labs.socket("x", "node1"));
    expect(code).toBe(0);
    expect(out).toContain("default/web-0");
  });
});
