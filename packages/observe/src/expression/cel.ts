import { AxonError, errorText } from "@axoneme/base";
import type { ExpressionCompiler, Flow } from "@axoneme/flow";
import { FlowSchema } from "@axoneme/proto";
import { celEnv, isCelError, objectType, parse, plan } from "@bufbuild/cel";
import { create, createRegistry, fromJson, type JsonValue } from "@bufbuild/protobuf";

/** Characters of an expression at most. */
const maxLength = 2048;
/** Nodes of its tree, and loops (`all`, `exists`, `map`, ...) in one another: what bounds the cost of a flow. */
const maxNodes = 256;
const maxLoops = 2;

/** The field's environment: `_flow` is a flow.Flow, and names of its package (`Verdict.DROPPED`) are known. */
const environment = celEnv({
  namespace: "flow",
  registry: createRegistry(FlowSchema.file),
  variables: { _flow: objectType(FlowSchema) },
});

/** What is wrong with the expression, whatever the flow; other errors (an index out of a list) are of some flows. */
const always = /^(field not found|unresolved attribute|unbound function|error parsing regexp)/;

type Evaluate = (variables: { _flow: ReturnType<typeof messageOf> }) => unknown;

/** Kept for the flow that several expressions look at in turn. */
const messages = new WeakMap<Flow, ReturnType<typeof messageOf>>();

/**
 * Compiles a CEL expression of a filter. A flow for which it cannot be evaluated does not match.
 * @throws AxonError `flow.filter_invalid`: it cannot be parsed, is too large, names what is not there, or is no condition
 */
export const compileExpression: ExpressionCompiler = (expression) => {
  const evaluate = planned(expression);
  const first = result(() => evaluate({ _flow: create(FlowSchema) }));
  if (first instanceof Error) {
    if (always.test(first.message)) throw invalid(expression, first.message);
  } else if (typeof first !== "boolean") {
    throw invalid(expression, "is no condition: its value is not true or false");
  }
  return (flow) => result(() => evaluate({ _flow: messageFor(flow) })) === true;
};

function planned(expression: string): Evaluate {
  if (expression.length > maxLength)
    throw invalid(expression.slice(0, 60), `has more than ${maxLength} characters`);
  let tree: ReturnType<typeof parse>;
  try {
    tree = parse(expression);
  } catch (error) {
    throw invalid(expression, errorText(error));
  }
  const { nodes, loops } = sizeOf(tree.expr);
  if (nodes > maxNodes) throw invalid(expression, `has ${nodes} parts; ${maxNodes} are the most`);
  if (loops > maxLoops) throw invalid(expression, `has loops ${loops} deep; ${maxLoops} are the most`);
  try {
    return plan(environment, tree);
  } catch (error) {
    throw invalid(expression, errorText(error));
  }
}

/** A value, or an error: what evaluation returned as one, or threw. */
function result(evaluate: () => unknown): unknown {
  try {
    const value = evaluate();
    return isCelError(value) ? new Error(value.message) : value;
  } catch (error) {
    return error instanceof Error ? error : new Error(errorText(error));
  }
}

/** Nodes of a tree, and how deep its loops go. */
function sizeOf(value: unknown): { nodes: number; loops: number } {
  if (typeof value !== "object" || value === null) return { nodes: 0, loops: 0 };
  let nodes = 0;
  let loops = 0;
  for (const child of Object.values(value)) {
    const size = sizeOf(child);
    nodes += size.nodes;
    loops = Math.max(loops, size.loops);
  }
  const kind = "exprKind" in value ? (value.exprKind as { case?: string }).case : undefined;
  return {
    nodes: nodes + (kind === undefined ? 0 : 1),
    loops: loops + (kind === "comprehensionExpr" ? 1 : 0),
  };
}

function messageFor(flow: Flow): ReturnType<typeof messageOf> {
  const message = messages.get(flow) ?? messageOf(flow);
  messages.set(flow, message);
  return message;
}

function messageOf(flow: Flow) {
  return fromJson(FlowSchema, flow as unknown as JsonValue, { ignoreUnknownFields: true });
}

function invalid(expression: string, why: string): AxonError {
  return new AxonError("flow.filter_invalid", `filter cel_expression "${expression}": ${why}`);
}
