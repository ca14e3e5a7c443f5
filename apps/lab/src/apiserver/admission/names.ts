import { randomBytes } from "node:crypto";
import { type Cause, invalidValue, required } from "../errors.ts";
import type { KubeObject } from "../object.ts";
import type { ResourceType } from "../resources/resource.ts";

const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const labelText =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const dns1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const dns1035Text =
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const subdomainText =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const qualifiedName = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

export function isDnsLabel(value: string): boolean {
  return value.length <= 63 && label.test(value);
}

function isDnsSubdomain(value: string): boolean {
  return value.length <= 253 && subdomain.test(value);
}

/** Five characters that make no words, as the server adds to generateName. */
export function randomSuffix(): string {
  const alphabet = "bcdfghjklmnpqrstvwxz2456789";
  return [...randomBytes(5)].map((byte) => alphabet[byte % alphabet.length]).join("");
}

/** Length and syntax of `metadata.name` for the kind. */
export function validateName(type: ResourceType, name: string): Cause[] {
  const field = "metadata.name";
  if (name === "") return [required(field, "name or generateName is required")];
  const kind = type.builtin ? `${type.group}/${type.kind}` : "";
  if (kind === "/Service") {
    if (name.length > 63) return [invalidValue(field, name, "must be no more than 63 characters")];
    return dns1035.test(name) ? [] : [invalidValue(field, name, dns1035Text)];
  }
  if (kind === "/Namespace") {
    if (name.length > 63) return [invalidValue(field, name, "must be no more than 63 characters")];
    return label.test(name) ? [] : [invalidValue(field, name, labelText)];
  }
  if (type.group === "rbac.authorization.k8s.io") {
    return name === "." || name === ".." || /[/%]/.test(name)
      ? [invalidValue(field, name, "may not contain '/' or '%'")]
      : [];
  }
  if (name.length > 253) return [invalidValue(field, name, "must be no more than 253 characters")];
  return subdomain.test(name) ? [] : [invalidValue(field, name, subdomainText)];
}

/** A label or annotation key: `[prefix/]name`. */
function isQualifiedName(key: string): boolean {
  const [first, second, third] = key.split("/");
  if (third !== undefined || first === undefined) return false;
  if (second === undefined) return first.length <= 63 && qualifiedName.test(first);
  return isDnsSubdomain(first) && second.length <= 63 && qualifiedName.test(second);
}

/** Labels, annotations and finalizers of any object. */
export function validateMeta(object: KubeObject): Cause[] {
  const causes: Cause[] = [];
  const { labels, annotations, finalizers, ownerReferences } = object.metadata;
  const nameWhy =
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!isQualifiedName(key)) causes.push(invalidValue("metadata.labels", key, nameWhy));
    if (typeof value !== "string" || value.length > 63 || !labelValue.test(value)) {
      causes.push(
        invalidValue(
          "metadata.labels",
          value,
          "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
      );
    }
  }
  for (const key of Object.keys(annotations ?? {})) {
    if (!isQualifiedName(key.toLowerCase())) causes.push(invalidValue("metadata.annotations", key, nameWhy));
  }
  for (const finalizer of finalizers ?? []) {
    if (!isQualifiedName(finalizer)) causes.push(invalidValue("metadata.finalizers", finalizer, nameWhy));
  }
  for (const [i, owner] of (ownerReferences ?? []).entries()) {
    const where = `metadata.ownerReferences[${i}]`;
    if (!owner.apiVersion) causes.push(invalidValue(`${where}.apiVersion`, "", "version must not be empty"));
    if (!owner.kind) causes.push(invalidValue(`${where}.kind`, "", "must not be empty"));
    if (!owner.name) causes.push(invalidValue(`${where}.name`, "", "must not be empty"));
    if (!owner.uid) causes.push(invalidValue(`${where}.uid`, "", "must not be empty"));
  }
  return causes;
}
