import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { load } from "js-yaml";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestServer, widgetCrd } from "./harness.ts";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.stop());

/** Runs kubectl and returns what it printed; fails the test when it failed. */
async function ok(args: string, input?: string): Promise<string> {
  const { code, stdout, stderr } = await server.kubectl(split(args), document(input));
  expect(code, `kubectl ${args}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}

async function fails(args: string, input?: string): Promise<string> {
  const { code, stderr } = await server.kubectl(split(args), document(input));
  expect(code, `kubectl ${args} should fail`).not.toBe(0);
  return stderr;
}

/** kubectl takes what begins with a brace for JSON, so short YAML becomes that. */
function document(input: string | undefined): string | undefined {
  return input?.startsWith("{") === true ? JSON.stringify(load(input)) : input;
}

function split(args: string): string[] {
  return (args.match(/'[^']*'|\S+/g) ?? []).map((each) => each.replaceAll("'", ""));
}

function deployment(image: string, extra = ""): string {
  return `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: ${image}, ports: [{containerPort: 80}]}
${extra}`;
}

const options = { timeout: 30_000 };

describe("stock kubectl", options, () => {
  test("version and api-resources", async () => {
    expect(await ok("version")).toMatch(/Server Version: v1\.32/);
    const resources = await ok("api-resources");
    expect(resources).toMatch(/^pods +po +v1 +true +Pod$/m);
    expect(resources).toMatch(/^deployments +deploy +apps\/v1 +true +Deployment$/m);
    expect(await ok("auth whoami")).toMatch(/Username +admin/);
  });

  test("apply creates, changes, and leaves alone", async () => {
    expect(await ok("apply -f -", deployment("host:1"))).toBe("deployment.apps/web created\n");
    expect(await ok("apply -f -", deployment("host:1"))).toBe("deployment.apps/web unchanged\n");
    expect(await ok("apply -f -", deployment("host:2"))).toBe("deployment.apps/web configured\n");
    expect(await ok("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}")).toBe("host:2");
    expect(await ok("get deploy web -o jsonpath={.metadata.generation}")).toBe("2");
    expect(await ok("get deploy -o wide")).toMatch(
      /NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR\nweb +0\/2 +0 +0 +\S+ +web +host:2 +app=web/,
    );
    expect(await ok("get deploy web -o yaml")).toMatch(/maxSurge: 25%/);
  });

  test("unknown fields are refused by the server, or only warned of", async () => {
    const bad = deployment("host:2", "  bogus: 1\n");
    expect(await fails("apply -f -", bad)).toMatch(/unknown field "spec.bogus"/);
    const { stderr, code } = await server.kubectl(["apply", "--validate=warn", "-f", "-"], bad);
    expect([code, stderr]).toEqual([0, expect.stringMatching(/Warning: unknown field "spec.bogus"/)]);
  });

  test("server-side apply: conflict, force, and the field goes to the new owner", async () => {
    const config = (value: string) =>
      `{apiVersion: v1, kind: ConfigMap, metadata: {name: ssa}, data: {a: "${value}"}}`;
    await ok("apply --server-side --field-manager=one -f -", config("1"));
    const refused = await fails("apply --server-side --field-manager=two -f -", config("2"));
    expect(refused).toMatch(/Apply failed with 1 conflict: conflict with "one": \.data\.a/);
    await ok("apply --server-side --field-manager=two --force-conflicts -f -", config("2"));
    expect(await ok("get cm ssa -o jsonpath={.data.a}")).toBe("2");
    const managed = await ok(
      "get cm ssa --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}",
    );
    expect(managed).toBe("two");
  });

  test("client-side apply can move to server-side", async () => {
    await ok("apply -f -", deployment("host:3"));
    await ok("apply --server-side -f -", deployment("host:4"));
    expect(await ok("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}")).toBe("host:4");
  });

  test("patch: strategic, merge, JSON", async () => {
    await ok(
      `patch deploy web -p '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}'`,
    );
    expect(await ok("get deploy web -o jsonpath={.spec.template.spec.containers[*].env[0].name}")).toBe("A");
    expect(await ok("get deploy web -o jsonpath={.spec.template.spec.containers[*].image}")).toBe("host:4");
    await ok(`patch deploy web --type=merge -p '{"metadata":{"annotations":{"x":"y"}}}'`);
    await ok(`patch deploy web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":3}]'`);
    expect(await ok("get deploy web -o jsonpath={.spec.replicas}{.metadata.annotations.x}")).toBe("3y");
    expect(await fails(`patch deploy web --type=json -p '[{"op":"remove","path":"/spec/nothing"}]'`)).toMatch(
      /missing path/,
    );
  });

  test("scale, label, annotate, set image", async () => {
    await ok("scale deploy web --replicas=5");
    await ok("label deploy web tier=front");
    await ok("annotate deploy web note=kept");
    await ok("set image deploy/web web=host:5");
    const path =
      "{.spec.replicas}/{.metadata.labels.tier}/{.metadata.annotations.note}/{.spec.template.spec.containers[0].image}";
    expect(await ok(`get deploy web -o jsonpath=${path}`)).toBe("5/front/kept/host:5");
    expect(await ok("get deploy -l tier=front -o name")).toBe("deployment.apps/web\n");
    expect(await ok("get deploy -l tier!=front -o name")).toBe("");
  });

  test("create commands, which send protobuf", async () => {
    await ok("create namespace made");
    await ok("create deployment d --image=host --replicas=0 --port=80 -n made");
    await ok("create configmap c --from-literal=a=b -n made");
    await ok("create secret generic s --from-literal=p=q -n made");
    await ok("create service clusterip s --tcp=80:8080 -n made");
    await ok("create job j --image=host -n made -- sleep 1");
    await ok("create serviceaccount sa -n made");
    expect(await ok("get deploy d -n made -o jsonpath={.spec.replicas}")).toBe("0");
    expect(
      await ok("get deploy d -n made -o jsonpath={.spec.template.spec.containers[0].ports[0].containerPort}"),
    ).toBe("80");
    expect(await ok("get secret s -n made -o jsonpath={.data.p}")).toBe("cQ==");
    expect(await ok("get svc s -n made -o jsonpath={.spec.ports[0].targetPort}")).toBe("8080");
    expect(await ok("get job j -n made -o jsonpath={.spec.template.spec.containers[0].command}")).toBe(
      '["sleep","1"]',
    );
    expect(await ok("create token sa -n made")).toMatch(/^\S{20,}\n?$/);
    expect(await ok("auth can-i list pods")).toBe("yes\n");
  });

  test("a deleted namespace is emptied, then gone", async () => {
    await ok("delete namespace made --timeout=10s");
    expect(await fails("get namespace made")).toMatch(/namespaces "made" not found/);
    expect(await fails("create configmap c -n made")).toMatch(/namespaces "made" not found/);
  });

  test("pods: wide, describe, graceful deletion, wait", async () => {
    const manifest =
      "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: node1, containers: [{name: c, image: host}]}}";
    await ok("apply -f -", manifest);
    const status = {
      status: {
        phase: "Running",
        podIP: "10.1.2.3",
        podIPs: [{ ip: "10.1.2.3" }],
        conditions: [{ type: "Ready", status: "True" }],
        containerStatuses: [{ name: "c", ready: true, restartCount: 0, state: { running: {} } }],
      },
    };
    await ok(`patch pod p --subresource=status --type=merge -p '${JSON.stringify(status)}'`);
    await ok("wait --for=condition=Ready pod/p --timeout=5s");
    await ok("wait --for=jsonpath={.status.phase}=Running pod/p --timeout=5s");
    expect(await ok("get pods -o wide")).toMatch(
      /NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES\np +1\/1 +Running +0 +\S+ +10\.1\.2\.3 +node1 +<none> +<none>/,
    );
    expect(await ok("describe pod p")).toMatch(/Status: +Running\nIP: +10\.1\.2\.3/);
    expect(await ok("get pods --field-selector spec.nodeName=node1,status.phase!=Pending -o name")).toBe(
      "pod/p\n",
    );
    await ok("delete pod p --wait=false");
    expect(await ok("get pods")).toMatch(/p +1\/1 +Terminating/);
    const gone = server.kubectl(["wait", "--for=delete", "pod/p", "--timeout=10s"]);
    await ok("delete pod p --grace-period=0 --force");
    expect((await gone).code).toBe(0);
    expect(await ok("get pods -o name")).toBe("");
  });

  test("services: columns, describe, dry run", async () => {
    const manifest =
      "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: http}]}}";
    expect(await ok("apply --dry-run=server -f -", manifest)).toBe("service/s created (server dry run)\n");
    expect(await fails("get svc s")).toMatch(/not found/);
    await ok("apply -f -", manifest);
    expect(await ok("get svc s -o wide")).toMatch(
      /s +NodePort +10\.96\.\d+\.\d+ +<none> +80:3\d{4}\/TCP +\S+ +app=web/,
    );
    expect(await ok("describe svc s")).toMatch(/TargetPort: +http\/TCP/);
    expect(await ok("diff -f -", manifest)).toBe("");
    await ok("delete svc s");
  });

  test("explain, of built-in kinds", async () => {
    const text = await ok("explain pod.spec.containers");
    expect(text).toMatch(/FIELD: containers <\[\]Container>/);
    expect(text).toMatch(/readinessProbe\t<Probe>/);
    expect(await ok("explain networkpolicy.spec.ingress.from")).toMatch(/ipBlock\t<IPBlock>/);
    expect(await fails("explain pod.spec.nothing")).toMatch(/does not exist/);
  });

  test("custom resources: install, validate, default, prune, columns, scale, explain, delete", async () => {
    await ok("apply -f -", JSON.stringify(widgetCrd));
    await ok("wait --for=condition=Established crd/widgets.example.com --timeout=5s");
    const widget = (spec: string) =>
      `{apiVersion: example.com/v1, kind: Widget, metadata: {name: w}, spec: {${spec}}}`;
    await ok("apply -f -", widget("size: 3, items: [{name: a, v: ab}]"));
    expect(await ok("get widget w -o jsonpath={.spec.color}")).toBe("red");
    expect(await fails("apply -f -", widget("size: 30, items: [{name: a, v: b}]"))).toMatch(
      /spec\.size.*less than or equal to 10/,
    );
    expect(await fails("apply -f -", widget("size: 3, odd: 1"))).toMatch(/unknown field "spec.odd"/);
    await ok("apply --validate=false -f -", widget("size: 3, odd: 1"));
    expect(await ok("get wd w -o jsonpath={.spec.odd}")).toBe("");
    await ok(
      `patch wd w --subresource=status --type=merge -p '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'`,
    );
    expect(await ok("get wd")).toMatch(/NAME +SIZE +READY\nw +3 +True/);
    await ok("scale wd w --replicas=4");
    expect(await ok("get widgets.v1beta1.example.com w -o jsonpath={.apiVersion}{.spec.replicas}")).toBe(
      "example.com/v1beta14",
    );
    expect(await ok("explain wd.spec")).toMatch(/size\t<integer> -required-\n +How big the widget is\./);
    expect(await ok("get all")).toMatch(/widget.example.com\/w/);
    await ok("delete crd widgets.example.com --timeout=10s");
    expect(await fails("get widgets")).toMatch(/resource type "widgets"|could not find/);
  });

  test("get -w prints what happens", async () => {
    const env = { ...process.env, KUBECONFIG: join(server.dir, "kubeconfig") };
    const child = spawn("kubectl", ["get", "configmaps", "-w", "-l", "watched=yes"], { env });
    let text = "";
    const line = (pattern: RegExp) =>
      new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no ${pattern} in ${text}`)), 10_000);
        const check = () => {
          if (!pattern.test(text)) return;
          clearTimeout(timer);
          child.stdout.off("data", check);
          resolve();
        };
        child.stdout.on("data", check);
        check();
      });
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await ok("create configmap seen");
    await ok("label configmap seen watched=yes");
    await line(/seen +0/);
    await ok(`patch configmap seen --type=merge -p '{"data":{"a":"b"}}'`);
    await line(/seen +1/);
    child.kill();
    await once(child, "exit");
  });
});
