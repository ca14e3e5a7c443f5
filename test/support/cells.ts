/** One cell of a matrix of connections: a question, who must answer, and what is told when it does not. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AxonError, waitFor } from "@axoneme/base";
import { type Outcome, root, run } from "./command.ts";
import type { Place, TestLab } from "./lab.ts";
import type { Protocol } from "./services.ts";

export interface Question {
  readonly from: Place;
  readonly protocol: Protocol;
  readonly address: string;
  readonly port: number;
  /** Address and port the client binds itself to. */
  readonly source?: string;
  readonly sourcePort?: number;
  readonly timeoutMs?: number;
}

export interface Expected {
  /** Names of servers of which one must answer. */
  readonly by: readonly string[];
  /** The client's address as the server must see it. */
  readonly sees?: string;
}

/** Who answered, and whom it saw. */
export interface Answer {
  readonly by: string;
  readonly sees: string;
}

/** The probe's arguments for a question. */
export function probeArgs(command: string, question: Omit<Question, "protocol">): string[] {
  const { address, port, source, sourcePort, timeoutMs = 5000 } = question;
  return [
    command,
    address,
    String(port),
    "--timeout",
    String(timeoutMs),
    ...(source === undefined ? [] : ["--source", source]),
    ...(sourcePort === undefined ? [] : ["--source-port", String(sourcePort)]),
  ];
}

function ask(lab: TestLab, question: Question): Promise<Outcome> {
  return lab.probe(question.from, probeArgs(question.protocol, question));
}

function answerOf({ code, stdout }: Outcome): Answer | undefined {
  const [, by, sees] = /^(\S+) sees (\S+)\n$/.exec(stdout) ?? [];
  return code === 0 && by !== undefined && sees !== undefined ? { by, sees } : undefined;
}

function isAsExpected(answer: Answer | undefined, { by, sees }: Expected): answer is Answer {
  return answer !== undefined && by.includes(answer.by) && (sees === undefined || sees === answer.sees);
}

/**
 * One question that must be answered as expected at the first try.
 * @throws AxonError `test.cell` with what was expected, what came, and what the agent says about the path.
 */
export async function expectAnswer(lab: TestLab, question: Question, expected: Expected): Promise<Answer> {
  const outcome = await ask(lab, question);
  const answer = answerOf(outcome);
  if (isAsExpected(answer, expected)) return answer;
  throw await failure(lab, question, told(expected), outcome);
}

/** The same, within a time: for what has to spread first. */
export async function answersIn(
  lab: TestLab,
  question: Question,
  expected: Expected,
  withinMs = 10_000,
): Promise<Answer> {
  return within(lab, question, told(expected), withinMs, (outcome) => {
    const answer = answerOf(outcome);
    return isAsExpected(answer, expected) ? answer : undefined;
  });
}

/**
 * The question must be refused at once: by a reset, or ICMP. A datagram that meets silence is sent again: a host says
 * to each other one six times that a port is closed, then once a second (net.ipv4.icmp_ratelimit).
 */
export async function expectRefused(lab: TestLab, question: Question): Promise<void> {
  let outcome = await ask(lab, question);
  for (let again = 0; again < 3 && question.protocol === "udp" && isSilence(outcome); again++)
    outcome = await ask(lab, question);
  if (!isRefused(outcome)) throw await failure(lab, question, "a refusal", outcome);
}

/** The same, within a time. */
export async function refusedIn(lab: TestLab, question: Question, withinMs = 10_000): Promise<void> {
  await within(lab, question, "a refusal", withinMs, isRefused);
}

/** The question must meet silence. */
export async function expectSilence(lab: TestLab, question: Question): Promise<void> {
  const outcome = await ask(lab, { ...question, timeoutMs: question.timeoutMs ?? 400 });
  if (!isSilence(outcome)) throw await failure(lab, question, "silence", outcome);
}

/** The same, within a time. */
export async function silentIn(lab: TestLab, question: Question, withinMs = 10_000): Promise<void> {
  const brief = { ...question, timeoutMs: question.timeoutMs ?? 400 };
  await within(lab, brief, "silence", withinMs, isSilence);
}

/** No answer of any kind within a time. */
export async function unreachedIn(lab: TestLab, question: Question, withinMs = 10_000): Promise<void> {
  const brief = { ...question, timeoutMs: question.timeoutMs ?? 400 };
  await within(lab, brief, "no answer", withinMs, ({ code }) => code !== 0);
}

function isSilence({ code }: Outcome): boolean {
  return code === 1;
}

function isRefused({ code, stderr }: Outcome): boolean {
  return code === 2 && /refused|unreachable|prohibited|not permitted/i.test(stderr);
}

async function within<T>(
  lab: TestLab,
  question: Question,
  expected: string,
  withinMs: number,
  judge: (outcome: Outcome) => T | undefined | false,
): Promise<T> {
  let last: Outcome | undefined;
  try {
    return await waitFor(
      async () => {
        last = await ask(lab, { ...question, timeoutMs: question.timeoutMs ?? 1500 });
        return judge(last) || undefined;
      },
      { timeoutMs: withinMs, everyMs: 20, what: expected },
    );
  } catch {
    throw await failure(lab, question, `${expected} within ${withinMs} ms`, last);
  }
}

/** Packets that the machine's queues (all namespaces share them) had no room for so far: proc_net_softnet_stat, column 2. */
function queueDrops(): number {
  const lines = readFileSync("/proc/net/softnet_stat", "utf8").trim().split("\n");
  return lines.reduce((sum, line) => sum + Number.parseInt(line.split(" ")[1] ?? "0", 16), 0);
}

/**
 * Asks that many times, each from a port of its own; how often each server answered. Once more where the machine itself
 * lost packets meanwhile, which datagrams do not survive: tests beside this one may flood it.
 */
export async function spreadOf(
  lab: TestLab,
  question: Question,
  count: number,
): Promise<ReadonlyMap<string, number>> {
  const args = [...probeArgs(question.protocol, question), "--count", String(count)];
  let drops = queueDrops();
  let outcome = await lab.probe(question.from, args);
  for (let again = 0; again < 2 && outcome.code !== 0 && queueDrops() > drops; again++) {
    drops = queueDrops();
    outcome = await lab.probe(question.from, args);
  }
  if (outcome.code !== 0) throw await failure(lab, question, `${count} answers`, outcome);
  const found = new Map<string, number>();
  for (const [, by = ""] of outcome.stdout.matchAll(/^(\S+) sees \S+$/gm))
    found.set(by, (found.get(by) ?? 0) + 1);
  return found;
}

function told({ by, sees }: Expected): string {
  return `an answer by ${by.join(" or ")}${sees === undefined ? "" : `, which sees ${sees}`}`;
}

async function failure(
  lab: TestLab,
  question: Question,
  expected: string,
  outcome: Outcome | undefined,
): Promise<AxonError> {
  const { from, protocol, address, port, source } = question;
  const got = outcome === undefined ? "nothing" : `${outcome.stdout}${outcome.stderr}`.trim();
  const lines = [
    `${from.name}${source === undefined ? "" : ` (${source})`} asks ${address} port ${port} (${protocol})`,
    `expected: ${expected}`,
    `got:      ${got} (exit ${outcome?.code ?? "-"})`,
    await trace(lab, question),
  ];
  return new AxonError("test.cell", lines.join("\n"));
}

/** A whole table that fails would spend its time on asking why. */
let tracesLeft = 12;

/** What the agent of the client's node (of the first node for a client outside) says about a path. */
async function trace(lab: TestLab, { from, protocol, address, port, source }: Question): Promise<string> {
  if (tracesLeft-- <= 0) return "(axon service trace: not asked, too many failures)";
  const isNode = lab.nodes.has(from.name);
  const node = "node" in from ? String(from.node) : isNode ? from.name : "node1";
  const target = `${address.includes(":") ? `[${address}]` : address}:${port}/${protocol}`;
  const client = isNode ? "host" : (source ?? (address.includes(":") ? from.v6 : from.v4));
  const args = ["service", "trace", client, target, "--lab", lab.name, "--node", node];
  const { stdout, stderr } = await run(join(root, "bin/axon"), args, { timeoutMs: 10_000 });
  return `axon service trace ${client} ${target} --node ${node}:\n${stdout}${stderr}`;
}
