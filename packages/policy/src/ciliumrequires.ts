import { labelKeys } from "@axoneme/identity";
import type { Raw, Reader } from "./reader.ts";
import type { Peer } from "./rule.ts";
import { exists, type Requirement, type Selector } from "./selector.ts";

/** Pods of whatever cluster. */
const pod = exists("k8s", labelKeys.namespace);

const opposite = { In: "NotIn", NotIn: "In", Exists: "DoesNotExist", DoesNotExist: "Exists" } as const;

/**
 * The pods that `fromRequires` or `toRequires` of an entry that allows keeps out: those that miss one of its
 * requirements, whatever else lets them in. A requirement that is not understood keeps all of them out.
 * @param complete adds what a selector of this policy leaves unsaid.
 * @returns undefined when the entry requires nothing.
 */
export function readRequires(
  reader: Reader,
  raw: Raw,
  field: "fromRequires" | "toRequires",
  path: string,
  complete: (selector: Selector) => Selector,
): Peer[] | undefined {
  const list = reader.list(raw, field, path);
  if (list === undefined || (list.length === 0 && Array.isArray(raw[field]))) return undefined;
  const keptOut: Requirement[][] = [];
  if (list.length === 0) keptOut.push([pod]);
  for (const [i, value] of list.entries()) {
    const selector = reader.selector(value, `${path}.${field}[${i}]`);
    if (selector === undefined) keptOut.push([pod]);
    else keptOut.push(...complete(selector).requirements.map((one) => [pod, negated(one)]));
  }
  return keptOut.map((requirements) => ({ kind: "labels", selector: { requirements } }));
}

function negated(requirement: Requirement): Requirement {
  return { ...requirement, op: opposite[requirement.op] };
}
