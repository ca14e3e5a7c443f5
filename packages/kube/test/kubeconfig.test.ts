import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { findConfig, inCluster, KubeClient, loadKubeconfig, resources } from "@axoneme/kube";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { FakeApi } from "./fakeapi.ts";

const openssl = "/usr/bin/openssl"; // Debian's package openssl
const dir = mkdtempSync(join(tmpdir(), "axon-kube-"));
const open: { close(): Promise<void> }[] = [];
afterAll(() => rmSync(dir, { recursive: true }));
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

/** A self-signed certificate: its own authority. */
function certificate(name: string): { cert: string; key: string } {
  const [cert, key] = [join(dir, `${name}.crt`), join(dir, `${name}.key`)];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"];
  const names = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1,DNS:api.test"];
  execFileSync(openssl, ["req", "-x509", ...curve, ...names, "-keyout", key, "-out", cert], {
    stdio: "pipe",
  });
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}

let server: { cert: string; key: string };
let user: { cert: string; key: string };
beforeAll(() => {
  server = certificate("server");
  user = certificate("user");
  certificate("other");
});

const base64 = (text: string): string => Buffer.from(text).toString("base64");

interface Parts {
  cluster: Record<string, unknown>;
  user?: Record<string, unknown>;
}

function write(name: string, { cluster, user = {} }: Parts): string {
  const path = join(dir, name);
  const doc = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "main",
    clusters: [{ name: "c", cluster }],
    users: [{ name: "u", user }],
    contexts: [{ name: "main", context: { cluster: "c", user: "u", namespace: "work" } }],
  };
  writeFileSync(path, JSON.stringify(doc));
  return path;
}

function broken(): string {
  const path = join(dir, "broken.yaml");
  writeFileSync(path, "a: [b");
  return path;
}

function clientOf(path: string): KubeClient {
  const client = new KubeClient(loadKubeconfig({ path }));
  open.push(client);
  return client;
}

async function serve(tls: boolean): Promise<FakeApi> {
  const api = await new FakeApi(
    tls ? { ...server, ca: user.cert, requestCert: true, rejectUnauthorized: false } : undefined,
  ).listen();
  open.push(api);
  return api;
}

const list = (client: KubeClient): Promise<unknown> => client.resource(resources.pods).list();

describe("TLS", () => {
  test.each(["data", "files"])("certificate authority and client certificate as %s", async (form) => {
    const api = await new FakeApi({
      ...server,
      ca: user.cert,
      requestCert: true,
      rejectUnauthorized: true,
    }).listen();
    open.push(api);
    const data = {
      cluster: { server: api.url, "certificate-authority-data": base64(server.cert) },
      user: { "client-certificate-data": base64(user.cert), "client-key-data": base64(user.key) },
    };
    // Relative: to the directory of the kubeconfig.
    const files = {
      cluster: { server: api.url, "certificate-authority": "server.crt" },
      user: { "client-certificate": "user.crt", "client-key": "user.key" },
    };
    await list(clientOf(write("tls.json", form === "data" ? data : files)));
    expect(api.seen).toHaveLength(1);
  });

  test("a server that is not trusted is refused, unless told not to care", async () => {
    const api = await serve(true);
    const wrong = { server: api.url, "certificate-authority": "other.crt" };
    await expect(list(clientOf(write("wrong.json", { cluster: wrong })))).rejects.toThrow(
      /self-signed certificate/,
    );
    await list(
      clientOf(write("insecure.json", { cluster: { server: api.url, "insecure-skip-tls-verify": true } })),
    );
  });

  test("tls-server-name is what is checked", async () => {
    const api = await serve(true);
    const cluster = { server: api.url, "certificate-authority": "server.crt" };
    await list(clientOf(write("sni.json", { cluster: { ...cluster, "tls-server-name": "api.test" } })));
    const bad = clientOf(write("sni2.json", { cluster: { ...cluster, "tls-server-name": "wrong.test" } }));
    await expect(list(bad)).rejects.toThrow(/does not match certificate/);
  });

  test("a client certificate that is replaced is taken for the next request", async () => {
    const api = await serve(true);
    const subjects: string[] = [];
    api.server.on("secureConnection", (socket: { getPeerCertificate(): { subject?: { CN: string } } }) => {
      subjects.push(socket.getPeerCertificate().subject?.CN ?? "");
    });
    const copy = (from: string): void => {
      for (const kind of ["crt", "key"]) {
        writeFileSync(join(dir, `new.${kind}`), readFileSync(join(dir, `${from}.${kind}`)));
        renameSync(join(dir, `new.${kind}`), join(dir, `rotating.${kind}`));
      }
    };
    copy("user");
    const cluster = { server: api.url, "certificate-authority": "server.crt" };
    const files = { "client-certificate": "rotating.crt", "client-key": "rotating.key" };
    const client = clientOf(write("rotating.json", { cluster, user: files }));
    await list(client);
    copy("other");
    await waitFor(() => list(client).then(() => subjects.at(-1) === "other"), { everyMs: 50 });
    expect([...new Set(subjects)]).toEqual(["user", "other"]);
  });
});

describe("credentials", () => {
  const authorization = (api: FakeApi): string => api.seen.at(-1)?.headers.authorization ?? "";

  test("token, name and password, impersonation", async () => {
    const api = await serve(false);
    const cluster = { server: api.url };
    await list(
      clientOf(write("token.json", { cluster, user: { token: "t0", as: "jane", "as-groups": ["a", "b"] } })),
    );
    expect(authorization(api)).toBe("Bearer t0");
    expect(api.seen.at(-1)?.headers["impersonate-user"]).toBe("jane");
    expect(api.seen.at(-1)?.headers["impersonate-group"]).toBe("a, b");
    await list(clientOf(write("basic.json", { cluster, user: { username: "u", password: "p:q" } })));
    expect(authorization(api)).toBe(`Basic ${base64("u:p:q")}`);
  });

  test("a token file is read again when it changes", async () => {
    const api = await serve(false);
    const file = join(dir, "token");
    writeFileSync(file, "t1\n");
    const client = clientOf(
      write("tokenfile.json", { cluster: { server: api.url }, user: { tokenFile: "token" } }),
    );
    await list(client);
    expect(authorization(api)).toBe("Bearer t1");
    writeFileSync(`${file}.new`, "t2\n");
    renameSync(`${file}.new`, file);
    await waitFor(() => list(client).then(() => authorization(api) === "Bearer t2"), { everyMs: 50 });
    rmSync(file);
    await list(client); // between two rotations the last one serves
    expect(authorization(api)).toBe("Bearer t2");
  });

  test("after a 401 the file is read at once and the request repeated", async () => {
    const api = await serve(false);
    const file = join(dir, "token401");
    writeFileSync(file, "old");
    const client = clientOf(write("t401.json", { cluster: { server: api.url }, user: { tokenFile: file } }));
    await list(client);
    writeFileSync(file, "newer");
    api.intercept = (seen, response) =>
      seen.headers.authorization !== "Bearer newer" && FakeApi.status(response, 401, "Unauthorized");
    await list(client);
    expect(authorization(api)).toBe("Bearer newer");
    api.intercept = (_seen, response) => FakeApi.status(response, 401, "Unauthorized");
    await expect(list(client)).rejects.toMatchObject({ unauthorized: true });
  });

  test("an exec plugin gives tokens, runs again when refused, and says what went wrong", async () => {
    const api = await serve(false);
    const plugin = join(dir, "plugin.sh");
    const count = join(dir, "count");
    writeFileSync(count, "");
    writeFileSync(
      plugin,
      `#!/bin/sh
echo x >> ${count}
n=$(wc -l < ${count} | tr -d ' ')
echo "{\\"apiVersion\\":\\"client.authentication.k8s.io/v1\\",\\"kind\\":\\"ExecCredential\\",\\"status\\":{\\"token\\":\\"$PREFIX$1$n\\"}}"
`,
    );
    chmodSync(plugin, 0o755);
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "./plugin.sh",
      args: ["-a"],
      env: [{ name: "PREFIX", value: "p" }],
    };
    const client = clientOf(write("exec.json", { cluster: { server: api.url }, user: { exec } }));
    await Promise.all([list(client), list(client), list(client)]);
    expect(authorization(api)).toBe("Bearer p-a1");
    let refusals = 1;
    api.intercept = (_seen, response) => refusals-- > 0 && FakeApi.status(response, 401, "Unauthorized");
    await list(client);
    expect(authorization(api)).toBe("Bearer p-a2");
    const broken = { ...exec, command: "/no/such/plugin", installHint: "Install it." };
    const bad = clientOf(write("exec2.json", { cluster: { server: api.url }, user: { exec: broken } }));
    await expect(list(bad)).rejects.toThrow(/credential plugin \/no\/such\/plugin failed.*Install it\./);
  });
});

describe("files and contexts", () => {
  test("several files merge: the first to name a thing wins", () => {
    const first = write("m1.json", { cluster: { server: "http://first" } });
    const second = join(dir, "m2.yaml");
    writeFileSync(
      second,
      [
        "current-context: other",
        "clusters: [{name: c, cluster: {server: http://second}}, {name: d, cluster: {server: http://third}}]",
        "contexts: [{name: other, context: {cluster: d}}]",
        "users: []",
      ].join("\n"),
    );
    const env = { KUBECONFIG: `${first}:${join(dir, "absent")}:${second}` };
    expect(loadKubeconfig({ env })).toMatchObject({ server: "http://first", namespace: "work" });
    expect(loadKubeconfig({ env, context: "other" })).toMatchObject({
      server: "http://third",
      namespace: "default",
    });
    expect(findConfig({ env })).toMatchObject({ server: "http://first" });
  });

  test.each([
    ["no file", () => join(dir, "none.yaml"), /no such file/],
    ["not YAML", () => broken(), /cannot be read as YAML/],
    ["no server", () => write("e1.json", { cluster: {} }), /cluster "c" has no server/],
    [
      "certificate without key",
      () => write("e2.json", { cluster: { server: "http://x" }, user: { "client-certificate": "a" } }),
      /needs its key/,
    ],
    [
      "not PEM",
      () => write("e3.json", { cluster: { server: "http://x", "certificate-authority-data": "eA==" } }),
      /not base64 of a PEM/,
    ],
    [
      "auth-provider",
      () => write("e4.json", { cluster: { server: "http://x" }, user: { "auth-provider": { name: "gcp" } } }),
      /auth-provider is not supported/,
    ],
  ])("%s", (_title, path, message) => {
    expect(() => loadKubeconfig({ path: path() })).toThrow(message);
  });

  test("an unknown context lists the known", () => {
    const path = write("ctx.json", { cluster: { server: "http://x" } });
    expect(() => loadKubeconfig({ path, context: "nope" })).toThrow(
      'no context named "nope" (contexts there: main)',
    );
  });

  test("in a pod", async () => {
    const account = join(dir, "account");
    mkdirSync(account);
    for (const [name, text] of [
      ["token", "pod-token"],
      ["ca.crt", server.cert],
      ["namespace", "kube-system\n"],
    ]) {
      writeFileSync(join(account, name as string), text as string);
    }
    const config = inCluster({ KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" }, account);
    expect(config).toMatchObject({ server: "https://[fd00::1]:443", namespace: "kube-system" });
    expect(await config.credentials.current()).toEqual({ authorization: "Bearer pod-token" });
    expect(() => inCluster({}, account)).toThrow("not in a pod");
  });
});
