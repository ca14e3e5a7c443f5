import type { FilterEngines } from "@axoneme/flow";
import { RE2JS } from "@bufbuild/re2";
import { compileExpression } from "./cel.ts";

/**
 * What evaluates filters of others on a thread that others need. Regular expressions are the field's (RE2): they have no
 * references back and no looking ahead, and take a time that grows with the text only.
 */
export const filterEngines: FilterEngines = {
  expression: compileExpression,
  regex: (text) => {
    const expression = RE2JS.compile(text);
    return (value) => expression.test(value);
  },
};
