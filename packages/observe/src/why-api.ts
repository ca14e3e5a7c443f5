/** GET /v1/why: what an endpoint's policy says of a connection, and why. */

/** A rule that has a say. */
export interface WhyRuleView {
  id: number;
  kind: string;
  namespace: string;
  name: string;
  /** Its place in the object: `spec.ingress[0]`; `spec` for a default deny. */
  path: string;
  verdict: "allow" | "deny" | "default-deny" | "audit" | "pass";
  precedence: number;
  /** What in the entry matched: `spec.ingress[0].toPorts[1]`. */
  fields?: string[];
  /** Of those that do not decide: why. */
  lost?: string;
}

/** What one endpoint says, in one direction. */
export interface WhySideView {
  node: string;
  direction: "ingress" | "egress";
  endpoint: { id: number; namespace: string; pod: string; labels: string[]; policyId: number };
  /** As this agent knows the other side. */
  peer: { address: string; identity: number; labels: string[] };
  verdict: "allow" | "deny" | "default-deny" | "audit";
  /** Whether any policy isolates the endpoint in this direction. */
  isEnforced: boolean;
  /** Who decided; absent when nobody did. */
  rule?: WhyRuleView;
  /** Others that match, the highest ranking first. */
  others: WhyRuleView[];
  /** The verdict of the rows in the kernel: they should say the same. */
  kernel: "allow" | "deny" | "default-deny" | "audit";
}
