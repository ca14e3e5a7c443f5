import { readFileSync } from "node:fs";
import type { WhyRuleView, WhySideView } from "@axoneme/observe";
import type { ManifestText } from "@axoneme/policy/manifests";
import { CliError, exitCode } from "../errors.ts";

/** Reads YAML files of policies, for the lines of their rules. @throws CliError for what is no YAML */
export async function readTexts(files: readonly string[]): Promise<ManifestText[]> {
  if (files.length === 0) return [];
  const { readManifests } = await import("@axoneme/policy/manifests");
  return files.map((file) => {
    try {
      return readManifests(file, readFileSync(file, "utf8"));
    } catch (cause) {
      throw new CliError(exitCode.usage, { what: "cannot read the policies", object: file, cause });
    }
  });
}

/** A rule with the place where it is written. */
export interface WrittenRule extends WhyRuleView {
  file?: string;
  line?: number;
}

/** Names the lines of all rules that are in the texts. */
export function withLines<Side extends Pick<WhySideView, "rule" | "others">>(
  side: Side,
  texts: readonly ManifestText[],
): Side {
  const written = (rule: WhyRuleView): WrittenRule => {
    const { kind, name, namespace } = rule;
    const object = { kind, name, ...(namespace !== "" && { namespace }) };
    for (const text of texts) {
      const line = text.lineOf(object, rule.fields?.at(-1) ?? rule.path) ?? text.lineOf(object, rule.path);
      if (line !== undefined) return { ...rule, file: text.file, line };
    }
    return rule;
  };
  return { ...side, ...(side.rule && { rule: written(side.rule) }), others: side.others.map(written) };
}
