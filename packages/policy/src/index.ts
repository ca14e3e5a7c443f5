export { type CidrMatch, isMatchedByCidr } from "./cidrmatch.ts";
export { parseCiliumPolicy } from "./ciliumpolicy.ts";
export type { DnsRuleSet } from "./dnsrules.ts";
export type { Effort } from "./effort.ts";
export { PolicyEngine } from "./engine.ts";
export type {
  FlowQuery,
  FlowSide,
  PolicyCommit,
  PolicyEndpoint,
  PolicyEngineOptions,
} from "./enginetypes.ts";
export { type MatchedConnection, matchedFields } from "./explainfields.ts";
export { lostBecause } from "./explainlost.ts";
export { fqdnLabel, fqdnSelectors } from "./fqdn.ts";
export { type ClassNumbers, type FqdnClass, FqdnClasses, type FqdnMove } from "./fqdnclasses.ts";
export type { Enforcement } from "./grouping.ts";
export { hostLabels, isHostPolicy } from "./hostpolicy.ts";
export { portRange } from "./l4.ts";
export { type ParseContext, parseNetworkPolicy } from "./networkpolicy.ts";
export { NodeSelectors } from "./nodes.ts";
export { peerKeys } from "./peerkeys.ts";
export type { ContainerPort } from "./peerports.ts";
export {
  applied,
  type ChangedFlow,
  type ChangedPod,
  type NamedPod,
  type Preview,
  previewChange,
} from "./preview.ts";
export { type CidrGroup, type PolicyService, parseCidrGroup } from "./references.ts";
export {
  type Decision,
  decide,
  type PolicyChange,
  type PolicyHead,
  PolicyMaps,
  type PolicyRow,
  type PolicyRowKey,
  type RowQuery,
  type RowSource,
} from "./rows.ts";
export {
  Direction,
  type DnsNames,
  type L4,
  type NamedPort,
  type Peer,
  type Policy,
  type PolicyRef,
  type PolicySpec,
  type Problem,
  policyKey,
  type Rule,
  Verdict,
} from "./rule.ts";
export type { RuleInfo } from "./ruletable.ts";
export {
  type Judged,
  PolicySandbox,
  parsePolicy,
  type SandboxContext,
  type SandboxQuery,
  type SandboxSide,
  type SideJudgement,
} from "./sandbox.ts";
export { type Requirement, type Selector, selectorText } from "./selector.ts";
export {
  namespaceOf,
  type SeenConnection,
  type SuggestedPolicy,
  type SuggestOptions,
  suggestPolicies,
  tellingLabels,
} from "./suggest.ts";
export { parseTierPolicy } from "./tierpolicy.ts";
export { auditAnnotation } from "./trial.ts";
