import { AxonError } from "@axoneme/base";
import { type Labels, splitKey } from "./labels.ts";

interface Pattern {
  source: string | undefined;
  expression: RegExp;
}

/** Always part of an identity. */
const MANDATORY = [
  "reserved:.*",
  "io\\.kubernetes\\.pod\\.namespace",
  "io\\.cilium\\.k8s\\.namespace\\.labels",
  "app\\.kubernetes\\.io",
  "io\\.cilium\\.k8s\\.policy\\.cluster",
  "io\\.cilium\\.k8s\\.policy\\.serviceaccount",
];

/** Never part of one unless a longer pattern says so: they differ from pod to pod, or say nothing. */
const EXCLUDED = [
  "io\\.kubernetes",
  "kubernetes\\.io",
  "statefulset\\.kubernetes\\.io/pod-name",
  "apps\\.kubernetes\\.io/pod-index",
  "batch\\.kubernetes\\.io/job-completion-index",
  "batch\\.kubernetes\\.io/controller-uid",
  ".*beta\\.kubernetes\\.io",
  "k8s\\.io",
  "pod-template-generation",
  "pod-template-hash",
  "controller-revision-hash",
  "annotation.*",
  "controller-uid",
  "etcd_node",
  "topology\\.kubernetes\\.io",
];

function compile(text: string): Pattern {
  const colon = text.indexOf(":");
  const source = colon > 0 && /^[a-z0-9]+$/.test(text.slice(0, colon)) ? text.slice(0, colon) : undefined;
  const body = source === undefined ? text : text.slice(colon + 1);
  try {
    return { source, expression: new RegExp(`^(?:${body})`) };
  } catch (cause) {
    throw new AxonError("label.filter", `"${text}" is not a label pattern`, { cause });
  }
}

function longestMatch(patterns: readonly Pattern[], source: string, key: string): number {
  let longest = -1;
  for (const pattern of patterns) {
    if (pattern.source !== undefined && pattern.source !== source) continue;
    const match = pattern.expression.exec(key);
    if (match !== null) longest = Math.max(longest, match[0].length);
  }
  return longest;
}

/** Decides which labels make an identity. */
export interface LabelFilter {
  /** Whether `source:key` takes part. */
  includes(sourceKey: string): boolean;
  /** Those labels that take part. */
  apply(labels: Labels): Labels;
}

/**
 * Makes a filter from the field's `--labels` expressions, separated by blanks: a pattern matches from the start
 * of the key, `!` before it excludes, `source:` before the pattern restricts it. The longest match wins. With
 * an including expression only what is included counts (and the mandatory labels); without, everything not
 * excluded does. Throws `label.filter` for a pattern that is no regular expression.
 */
export function labelFilter(expressions = ""): LabelFilter {
  const texts = expressions.split(/\s+/).filter((text) => text !== "");
  const including = texts.filter((text) => !text.startsWith("!"));
  const included = [...MANDATORY, ...including].map(compile);
  const excluded = [
    ...EXCLUDED,
    ...texts.filter((text) => text.startsWith("!")).map((text) => text.slice(1)),
  ].map(compile);
  const includes = (sourceKey: string): boolean => {
    const { source, key } = splitKey(sourceKey, "unspec");
    const ignored = longestMatch(excluded, source, key);
    return (including.length === 0 && ignored < 0) || longestMatch(included, source, key) > ignored;
  };
  return {
    includes,
    apply: (labels) => Object.fromEntries(Object.entries(labels).filter(([key]) => includes(key))),
  };
}

/** The filter without any option set. */
export const defaultLabelFilter: LabelFilter = labelFilter();
