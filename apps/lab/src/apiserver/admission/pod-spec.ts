import { type Cause, duplicate, invalidValue, required, unsupportedValue } from "../errors.ts";
import { arrayOf, at, ensureObject, isObject, type JsonObject, stringOf } from "../object.ts";
import { isDnsLabel } from "./names.ts";

const probes = ["livenessProbe", "readinessProbe", "startupProbe"];

function defaultProbe(probe: JsonObject): void {
  probe["timeoutSeconds"] ??= 1;
  probe["periodSeconds"] ??= 10;
  probe["successThreshold"] ??= 1;
  probe["failureThreshold"] ??= 3;
  const http = probe["httpGet"];
  if (isObject(http)) {
    http["path"] ??= "/";
    http["scheme"] ??= "HTTP";
  }
}

/** Without a tag, or with `latest`, an image is always fetched; otherwise when absent. */
function pullPolicy(image: string): string {
  const last = image.split("/").at(-1) ?? "";
  const tag = last.includes("@") ? "digest" : last.split(":")[1];
  return tag === undefined || tag === "latest" ? "Always" : "IfNotPresent";
}

function defaultContainer(container: JsonObject): void {
  container["terminationMessagePath"] ??= "/dev/termination-log";
  container["terminationMessagePolicy"] ??= "File";
  container["imagePullPolicy"] ??= pullPolicy(stringOf(container["image"]));
  container["resources"] ??= {};
  for (const port of arrayOf(container["ports"])) if (isObject(port)) port["protocol"] ??= "TCP";
  for (const name of probes) {
    const probe = container[name];
    if (isObject(probe)) defaultProbe(probe);
  }
  const { requests, limits } = ensureObject(container, "resources") as {
    requests?: JsonObject;
    limits?: JsonObject;
  };
  // A limit without a request asks for as much as the limit.
  if (isObject(limits)) {
    (container["resources"] as JsonObject)["requests"] = { ...limits, ...requests };
  }
  for (const env of arrayOf(container["env"])) {
    const ref = at(env, "valueFrom", "fieldRef");
    if (isObject(ref)) ref["apiVersion"] ??= "v1";
  }
}

function defaultVolume(volume: JsonObject): void {
  for (const kind of ["configMap", "secret", "projected", "downwardAPI"]) {
    const source = volume[kind];
    if (isObject(source)) source["defaultMode"] ??= 420;
  }
  const hostPath = volume["hostPath"];
  if (isObject(hostPath)) hostPath["type"] ??= "";
  const sources = Object.keys(volume).filter((key) => key !== "name");
  if (sources.length === 0) volume["emptyDir"] = {};
}

/** Fills the defaults Kubernetes documents for a PodSpec, in place; templates get them as well as pods. */
export function defaultPodSpec(spec: JsonObject): void {
  spec["restartPolicy"] ??= "Always";
  spec["terminationGracePeriodSeconds"] ??= 30;
  spec["dnsPolicy"] ??= "ClusterFirst";
  spec["securityContext"] ??= {};
  spec["schedulerName"] ??= "default-scheduler";
  for (const field of ["containers", "initContainers", "ephemeralContainers"]) {
    for (const container of arrayOf(spec[field])) if (isObject(container)) defaultContainer(container);
  }
  for (const volume of arrayOf(spec["volumes"])) if (isObject(volume)) defaultVolume(volume);
  // The older name of the same field is still written for old readers.
  if (spec["serviceAccountName"] === undefined && spec["serviceAccount"] !== undefined) {
    spec["serviceAccountName"] = spec["serviceAccount"];
  }
  if (spec["serviceAccountName"] !== undefined) spec["serviceAccount"] = spec["serviceAccountName"];
  if (spec["hostNetwork"] !== true) return;
  for (const container of arrayOf(spec["containers"])) {
    for (const port of arrayOf(at(container, "ports")))
      if (isObject(port)) port["hostPort"] ??= port["containerPort"];
  }
}

function portCauses(container: JsonObject, where: string): Cause[] {
  const causes: Cause[] = [];
  const names = new Set<string>();
  for (const [i, port] of arrayOf(container["ports"]).entries()) {
    const path = `${where}.ports[${i}]`;
    const number = at(port, "containerPort");
    if (number === undefined) causes.push(required(`${path}.containerPort`));
    for (const field of ["containerPort", "hostPort"]) {
      const value = at(port, field);
      if (
        value !== undefined &&
        (typeof value !== "number" || value < (field === "hostPort" ? 0 : 1) || value > 65_535)
      ) {
        causes.push(invalidValue(`${path}.${field}`, value, "must be between 1 and 65535, inclusive"));
      }
    }
    const protocol = at(port, "protocol");
    if (!["TCP", "UDP", "SCTP"].includes(String(protocol))) {
      causes.push(unsupportedValue(`${path}.protocol`, protocol, ["SCTP", "TCP", "UDP"]));
    }
    const name = at(port, "name");
    if (typeof name !== "string") continue;
    if (name.length > 15 || !/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name) || !/[a-z]/.test(name)) {
      causes.push(
        invalidValue(
          `${path}.name`,
          name,
          "must be an IANA service name: at most 15 of a-z, 0-9 and '-', with a letter",
        ),
      );
    }
    if (names.has(name)) causes.push(duplicate(`${path}.name`, name));
    names.add(name);
  }
  return causes;
}

const handlers = ["exec", "httpGet", "tcpSocket", "grpc"];

function probeCauses(container: JsonObject, where: string): Cause[] {
  const causes: Cause[] = [];
  for (const name of probes) {
    const probe = container[name];
    if (!isObject(probe)) continue;
    const given = handlers.filter((handler) => probe[handler] !== undefined);
    if (given.length === 0) causes.push(required(`${where}.${name}`, "must specify a handler type"));
    if (given.length > 1) {
      causes.push({
        reason: "FieldValueForbidden",
        message: "Forbidden: may not specify more than 1 handler type",
        field: `${where}.${name}.${given[1]}`,
      });
    }
  }
  return causes;
}

function containerCauses(
  container: unknown,
  where: string,
  names: Set<string>,
  volumes: Set<string>,
): Cause[] {
  if (!isObject(container)) return [required(where)];
  const causes: Cause[] = [];
  const name = container["name"];
  if (typeof name !== "string" || name === "") causes.push(required(`${where}.name`));
  else if (!isDnsLabel(name)) {
    causes.push(
      invalidValue(
        `${where}.name`,
        name,
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
      ),
    );
  } else if (names.has(name)) causes.push(duplicate(`${where}.name`, name));
  names.add(String(name));
  if (stringOf(container["image"]) === "") causes.push(required(`${where}.image`));
  for (const [i, env] of arrayOf(container["env"]).entries()) {
    if (stringOf(at(env, "name")) === "") causes.push(required(`${where}.env[${i}].name`));
  }
  for (const [i, mount] of arrayOf(container["volumeMounts"]).entries()) {
    const volume = at(mount, "name");
    const path = `${where}.volumeMounts[${i}]`;
    if (typeof volume !== "string") causes.push(required(`${path}.name`));
    else if (!volumes.has(volume)) {
      causes.push({
        reason: "FieldValueNotFound",
        message: `Not found: ${JSON.stringify(volume)}`,
        field: `${path}.name`,
      });
    }
    if (stringOf(at(mount, "mountPath")) === "") causes.push(required(`${path}.mountPath`));
  }
  return [...causes, ...portCauses(container, where), ...probeCauses(container, where)];
}

/** Every rule a PodSpec at `where` breaks. */
export function podSpecCauses(
  spec: JsonObject,
  where: string,
  restartPolicies = ["Always", "OnFailure", "Never"],
): Cause[] {
  const causes: Cause[] = [];
  const volumes = new Set<string>();
  for (const [i, volume] of arrayOf(spec["volumes"]).entries()) {
    const name = at(volume, "name");
    if (typeof name !== "string" || name === "") causes.push(required(`${where}.volumes[${i}].name`));
    else if (volumes.has(name)) causes.push(duplicate(`${where}.volumes[${i}].name`, name));
    volumes.add(String(name));
  }
  if (arrayOf(spec["containers"]).length === 0) causes.push(required(`${where}.containers`));
  const names = new Set<string>();
  for (const field of ["initContainers", "containers"]) {
    for (const [i, container] of arrayOf(spec[field]).entries()) {
      causes.push(...containerCauses(container, `${where}.${field}[${i}]`, names, volumes));
    }
  }
  if (!restartPolicies.includes(String(spec["restartPolicy"]))) {
    causes.push(unsupportedValue(`${where}.restartPolicy`, spec["restartPolicy"], restartPolicies));
  }
  const policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
  if (!policies.includes(String(spec["dnsPolicy"]))) {
    causes.push(unsupportedValue(`${where}.dnsPolicy`, spec["dnsPolicy"], policies));
  }
  const grace = spec["terminationGracePeriodSeconds"];
  if (typeof grace === "number" && grace < 0) {
    causes.push(
      invalidValue(`${where}.terminationGracePeriodSeconds`, grace, "must be greater than or equal to 0"),
    );
  }
  return causes;
}
