import { badRequest } from "./errors.ts";
import { define, isObject, type JsonObject } from "./object.ts";
import { builtinSchema, deref } from "./schema/builtin.ts";
import { anything, type Schema } from "./schema/schema.ts";
import { wireNumbers } from "./schema/wire-numbers.ts";

/** The four bytes before every protobuf object of Kubernetes. */
const magic = Buffer.from("6b387300", "hex");

/** Fields whose zero differs from being left out; of all others the wire carries a zero for "not set". */
const meaningfulZeros = new Set(
  (
    "replicas minReplicas terminationGracePeriodSeconds gracePeriodSeconds completions parallelism backoffLimit " +
    "ttlSecondsAfterFinished activeDeadlineSeconds partition revisionHistoryLimit progressDeadlineSeconds " +
    "successfulJobsHistoryLimit failedJobsHistoryLimit runAsUser runAsGroup fsGroup tolerationSeconds exitCode value " +
    "enableServiceLinks automountServiceAccountToken allocateLoadBalancerNodePorts suspend controller " +
    "blockOwnerDeletion optional allowPrivilegeEscalation privileged runAsNonRoot readOnlyRootFilesystem " +
    "shareProcessNamespace manualSelector hostUsers orphanDependents setHostnameAsFQDN allowed"
  ).split(" "),
);

function isUnset(name: string, value: unknown): boolean {
  return value === "" || ((value === 0 || value === false) && !meaningfulZeros.has(name));
}

/** A field of a message as it is on the wire: a number, or bytes. */
interface Field {
  number: number;
  value: bigint | Buffer;
}

function truncated(): Error {
  return badRequest("the protobuf body ends in the middle of a field");
}

function varint(data: Buffer, at: number): { value: bigint; next: number } {
  let value = 0n;
  for (let i = at, shift = 0n; i < data.length && shift < 70n; i++, shift += 7n) {
    const byte = data[i] ?? 0;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return { value: BigInt.asUintN(64, value), next: i + 1 };
  }
  throw truncated();
}

function* fields(data: Buffer): IterableIterator<Field> {
  let at = 0;
  while (at < data.length) {
    const tag = varint(data, at);
    const number = Number(tag.value >> 3n);
    const wire = Number(tag.value & 7n);
    const first =
      wire === 0 || wire === 2 ? varint(data, tag.next) : { value: wire === 1 ? 8n : 4n, next: tag.next };
    if (wire > 5 || wire === 3 || wire === 4) throw badRequest(`the protobuf body has the wire type ${wire}`);
    at = first.next;
    if (wire === 0) {
      yield { number, value: first.value };
      continue;
    }
    const end = at + Number(first.value);
    if (end > data.length) throw truncated();
    yield { number, value: data.subarray(at, end) };
    at = end;
  }
}

interface Wire {
  name: string;
  bytes: boolean;
  /** The type of an embedded message whose fields belong to the parent. */
  embedded?: string;
}

const rows = new Map<string, Map<number, Wire>>();

function wireOf(type: string): Map<number, Wire> {
  const known = rows.get(type);
  if (known !== undefined) return known;
  const row = wireNumbers[type];
  if (row === undefined) throw badRequest(`${type} is not accepted as protobuf: send JSON`);
  const made = new Map<number, Wire>();
  for (const word of row.split(" ")) {
    const match = /^([^:]+):(\d+)(b?)(?:@(.+))?$/.exec(word);
    if (match === null) continue;
    const wire: Wire = { name: match[1] ?? "", bytes: match[3] === "b" };
    if (match[4] !== undefined) wire.embedded = match[4];
    made.set(Number(match[2]), wire);
  }
  rows.set(type, made);
  return made;
}

function message(data: Buffer, type: string, schema: Schema, into: JsonObject = {}): JsonObject {
  const wire = wireOf(type);
  for (const { number, value } of fields(data)) {
    const field = wire.get(number);
    if (field === undefined) continue;
    if (field.embedded !== undefined) {
      message(bytesOf(value), field.embedded, schema, into);
      continue;
    }
    const inner = schema.properties?.[field.name] ?? anything;
    if (inner.type === "array") {
      const items = decode(value, inner.items ?? anything, field);
      const list = Array.isArray(into[field.name]) ? (into[field.name] as unknown[]) : [];
      define(into, field.name, [...list, items]);
    } else if (inner.type === "object" && isObject(inner.additionalProperties)) {
      const map: JsonObject = isObject(into[field.name]) ? (into[field.name] as JsonObject) : {};
      const entry = mapEntry(bytesOf(value), inner.additionalProperties as Schema, field);
      define(map, entry.key, entry.value);
      define(into, field.name, map);
    } else {
      const decoded = decode(value, inner, field);
      if (decoded !== undefined && !isUnset(field.name, decoded)) define(into, field.name, decoded);
    }
  }
  return into;
}

function mapEntry(data: Buffer, schema: Schema, field: Wire): { key: string; value: unknown } {
  const entry = { key: "", value: undefined as unknown };
  for (const { number, value } of fields(data)) {
    if (number === 1) entry.key = bytesOf(value).toString();
    else entry.value = decode(value, schema, field);
  }
  return { key: entry.key, value: entry.value ?? decode(Buffer.alloc(0), schema, field) };
}

function bytesOf(value: bigint | Buffer): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.alloc(0);
}

function decode(value: bigint | Buffer, schema: Schema, field: Wire): unknown {
  if (field.bytes) return bytesOf(value).toString("base64");
  if (schema.ref !== undefined) return message(bytesOf(value), schema.ref, deref(schema));
  if (schema.format === "date-time") return time(bytesOf(value));
  if (schema.format === "quantity") return numbered(bytesOf(value)).get(1)?.toString() ?? "0";
  if (schema["x-kubernetes-int-or-string"] === true) return intOrString(bytesOf(value));
  if (schema.type === "integer" || schema.type === "number")
    return Number(BigInt.asIntN(64, value as bigint));
  if (schema.type === "boolean") return value !== 0n;
  if (schema.type === "string") return bytesOf(value).toString();
  // FieldsV1 and RawExtension carry JSON in their first field.
  const raw = numbered(bytesOf(value)).get(1);
  return Buffer.isBuffer(raw) && raw.length > 0 ? JSON.parse(raw.toString()) : undefined;
}

function numbered(data: Buffer): Map<number, bigint | Buffer> {
  return new Map([...fields(data)].map(({ number, value }) => [number, value]));
}

/** Seconds and nanoseconds; the zero time is an absent one. */
function time(data: Buffer): string | undefined {
  const parts = numbered(data);
  const seconds = Number(BigInt.asIntN(64, (parts.get(1) ?? 0n) as bigint));
  const nanos = Number((parts.get(2) ?? 0n) as bigint);
  if (seconds === 0 || seconds < -62_000_000_000) return undefined;
  const text = new Date(seconds * 1000).toISOString().slice(0, 19);
  return nanos === 0 ? `${text}Z` : `${text}.${String(Math.floor(nanos / 1000)).padStart(6, "0")}Z`;
}

function intOrString(data: Buffer): number | string {
  const parts = numbered(data);
  if (parts.get(1) === 1n) return (parts.get(3) ?? "").toString();
  return Number(BigInt.asIntN(32, (parts.get(2) ?? 0n) as bigint));
}

/** group -> the folder of the type table. */
const folders: Readonly<Record<string, string>> = {
  "": "core",
  "rbac.authorization.k8s.io": "rbac",
  "authentication.k8s.io": "authentication",
  "authorization.k8s.io": "authorization",
};

/** A protobuf body (with Kubernetes' envelope) as the object it stands for. Throws 400. */
export function decodeProtobuf(body: Buffer): JsonObject {
  if (!body.subarray(0, 4).equals(magic)) throw badRequest("the protobuf body does not begin with k8s\\0");
  const envelope = numbered(body.subarray(4));
  const typeMeta = numbered(bytesOf(envelope.get(1) ?? 0n));
  const apiVersion = bytesOf(typeMeta.get(1) ?? 0n).toString();
  const kind = bytesOf(typeMeta.get(2) ?? 0n).toString();
  const [first = "", second] = apiVersion.split("/");
  const group = second === undefined ? "" : first;
  const folder = folders[group] ?? group.split(".")[0] ?? "";
  // DeleteOptions are the same type in every group.
  const type = kind === "DeleteOptions" ? "meta.v1.DeleteOptions" : `${folder}.${second ?? first}.${kind}`;
  return { apiVersion, kind, ...message(bytesOf(envelope.get(2) ?? 0n), type, builtinSchema(type)) };
}
