/** Annotation in which kubectl keeps whole objects, secrets of their environment included. */
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

/** An object of the API without values of environment variables, which may be secrets, and without what tools keep for themselves. */
export function redacted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(redacted);
  if (typeof value !== "object" || value === null) return value;
  const out: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    if (key === "managedFields" || key === lastApplied) continue;
    out[key] = key === "env" && Array.isArray(inner) ? inner.map(namesOnly) : redacted(inner);
  }
  return out;
}

function namesOnly(variable: unknown): unknown {
  if (typeof variable !== "object" || variable === null || !("value" in variable)) return variable;
  return { ...variable, value: "(left out)" };
}
