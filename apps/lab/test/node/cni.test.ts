import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CniError, type CniNetwork, CniRuntime } from "../../src/node/cni.ts";
import { parseCniError, parseCniResult, podAddresses } from "../../src/node/cniresult.ts";

const attachment = {
  containerId: "c1",
  netns: "/run/netns/x",
  ifname: "eth0",
  podNamespace: "default",
  podName: "web",
  podUid: "u1",
};

describe("a CNI result", () => {
  const valid = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "lxc1" }, { name: "eth0", sandbox: "/run/netns/x" }],
    ips: [
      { address: "10.0.0.5/24", interface: 1 },
      { address: "fd00::5/64", interface: 1 },
    ],
  };

  it("gives the pod's addresses in order, without those of the host's end", () => {
    const result = parseCniResult(
      JSON.stringify({ ...valid, ips: [{ address: "10.0.0.1/24", interface: 0 }, ...valid.ips] }),
    );
    expect(podAddresses(result)).toEqual(["10.0.0.5", "fd00::5"]);
  });

  it.each([
    ["no JSON", "oops"],
    ["an unknown version", JSON.stringify({ ...valid, cniVersion: "2.0.0" })],
    ["an address without a length", JSON.stringify({ ...valid, ips: [{ address: "10.0.0.5" }] })],
    [
      "an interface index out of range",
      JSON.stringify({ ...valid, ips: [{ address: "10.0.0.5/24", interface: 7 }] }),
    ],
    ["ips that are no list", JSON.stringify({ ...valid, ips: {} })],
    ["an interface without a name", JSON.stringify({ ...valid, interfaces: [{}] })],
  ])("is refused with %s", (_what, text) => {
    expect(() => parseCniResult(text)).toThrow(/CNI plugin|ips\[0\]/);
  });

  it("knows an error object from other output", () => {
    expect(parseCniError('{"cniVersion":"1.0.0","code":11,"msg":"try again","details":"d"}')).toEqual({
      code: 11,
      msg: "try again",
      details: "d",
    });
    expect(parseCniError("panic")).toBeUndefined();
  });
});

describe("the runtime", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "axlab-cni-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  /** A plugin that writes down how it was called and prints `output`. */
  function plugin(name: string, output: string, code = 0): void {
    const script = `#!/bin/sh
env | grep ^CNI_ | sort > ${dir}/${name}.env
cat > ${dir}/${name}.stdin
printf '%s\\n' '${output}'
exit ${code}
`;
    writeFileSync(join(dir, name), script, { mode: 0o755 });
  }

  function network(types: string[], cniVersion = "1.1.0"): CniNetwork {
    return {
      cniVersion,
      name: "net1",
      plugins: types.map((type) => ({ type, mtu: 1400 })),
      path: [dir],
      runInNode: false,
    };
  }

  const runtime = (types: string[], version?: string): CniRuntime =>
    new CniRuntime(network(types, version), (argv) => argv);
  const stdin = (name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(dir, `${name}.stdin`), "utf8")) as Record<string, unknown>;

  it("passes the environment and the configuration of the protocol", async () => {
    plugin("one", '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.5/24"}]}');
    const result = await runtime(["one"]).add(attachment);
    expect(podAddresses(result)).toEqual(["10.0.0.5"]);
    expect(readFileSync(join(dir, "one.env"), "utf8").trim().split("\n")).toEqual([
      "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u1",
      "CNI_COMMAND=ADD",
      "CNI_CONTAINERID=c1",
      "CNI_IFNAME=eth0",
      "CNI_NETNS=/run/netns/x",
      `CNI_PATH=${dir}`,
    ]);
    expect(stdin("one")).toEqual({ type: "one", mtu: 1400, name: "net1", cniVersion: "1.1.0" });
  });

  it("chains plugins: each gets its predecessor's whole result", async () => {
    plugin("one", '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.5/24"}],"extra":1}');
    plugin("two", '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.6/24"}]}');
    const result = await runtime(["one", "two"]).add(attachment);
    expect(podAddresses(result)).toEqual(["10.0.0.6"]);
    expect(stdin("two")["prevResult"]).toMatchObject({ extra: 1 });
  });

  it("turns a plugin's error object into an error with its code", async () => {
    plugin("one", '{"cniVersion":"1.1.0","code":11,"msg":"no address left"}', 1);
    const failure = await runtime(["one"])
      .add(attachment)
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(CniError);
    expect(failure).toMatchObject({ cniCode: 11, message: "CNI ADD by one failed (11): no address left" });
  });

  it("names the plugin that is missing", async () => {
    await expect(runtime(["nowhere"]).status()).rejects.toThrow(`the CNI plugin nowhere is not in ${dir}`);
  });

  it("asks for STATUS and sends GC only where the spec has them", async () => {
    plugin("one", "");
    await runtime(["one"], "1.0.0").status();
    await runtime(["one"], "1.0.0").gc([attachment]);
    expect(() => stdin("one")).toThrow();
    await runtime(["one"]).status();
    expect(readFileSync(join(dir, "one.env"), "utf8")).toContain("CNI_COMMAND=STATUS");
    await runtime(["one"]).gc([attachment]);
    expect(stdin("one")["cni.dev/valid-attachments"]).toEqual([{ containerID: "c1", ifname: "eth0" }]);
  });
});
