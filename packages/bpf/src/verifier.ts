import { BpfError } from "./errors.ts";

/** The kernel's limit on instructions the verifier walks (BPF_COMPLEXITY_LIMIT_INSNS). */
export const VERIFIER_LIMIT = 1_000_000;

/** What verifying one program cost. */
export interface VerifierStats {
  program: string;
  /** Instructions the verifier walked, all paths together. */
  verifiedInsns: number;
  /** 0 when the kernel did not say. */
  verificationUs: number;
  jitedBytes: number;
  xlatedBytes: number;
  /** Bytes of stack, the deepest chain of calls; undefined when the kernel did not say. */
  stackBytes: number | undefined;
  /** Branches in flight at most; undefined when the kernel did not say. */
  peakStates: number | undefined;
}

/** The lines of a rejected program's log that say why. Empty texts where the log had no such line. */
export interface Rejection {
  /** The verifier's complaint. */
  reason: string;
  /** The last line of C it walked, with file and line number when the object has them. */
  sourceLine: string;
  /** The last instruction it walked. */
  instruction: string;
  /** State of the registers that matter, as the log words it. */
  registers: string;
}

/** A program that the kernel did not accept. `message` is short; `log` is everything it said. */
export class VerifierError extends BpfError {
  readonly program: string;
  readonly rejection: Rejection;
  readonly log: string;

  constructor(program: string, errno: number, rejection: Rejection, log: string) {
    super("bpf.verifier", shortText(program, rejection), { errno });
    this.program = program;
    this.rejection = rejection;
    this.log = log;
  }
}

function shortText(program: string, r: Rejection): string {
  const lines = [`program ${program} was rejected: ${r.reason || "the kernel gave no reason"}`];
  if (r.sourceLine) lines.push(`  at   ${r.sourceLine}`);
  if (r.instruction) lines.push(`  insn ${r.instruction}`);
  if (r.registers) lines.push(`  with ${r.registers}`);
  return lines.join("\n");
}

const INSTRUCTION = /^(\d+): \([0-9a-f]{2}\) /;
const STATE = /^(?:from \d+ to )?\d+: (?:safe|.*\bR\d)/;
const TAIL =
  /^(?:processed \d+ insns|verification time|stack depth|mark_precise|-- (?:BEGIN|END)|max_states|insns_processed)/;
const NOISE = /^(?:func#\d+ @\d+|Live regs before insn:|\s*\d+: [.\d]+ \(|reg type unsupported|Validating )/;

/** The source comment without its leading "; ". */
function sourceText(line: string): string {
  return line.replace(/^;\s*/, "").trim();
}

/** The states of the registers that the complaint names, else of those the instruction uses, else all. */
function mentioned(reason: string, instruction: string, registers: string): string {
  const states = registers.split(/\s+(?=R\d+(?:_\w+)?=|fp-?\d|refs=|frame\d)/);
  for (const text of [reason, instruction]) {
    const wanted = new Set([...text.matchAll(/\b[RrWw](\d+)\b/g)].map((m) => `R${m[1]}`));
    const found = states.filter((state) => wanted.has(/^R\d+/.exec(state)?.[0] ?? ""));
    if (found.length > 0) return found.join(" ");
  }
  return registers;
}

/** Finds the few lines that matter in a log of level 1 or 2. Pure. */
export function parseRejection(log: string): Rejection {
  const lines = log.split("\n").map((line) => line.trimEnd());
  const body = lines.filter((line) => line !== "" && !TAIL.test(line) && !NOISE.test(line));
  let last = -1;
  let sourceLine = "";
  let registers = "";
  body.forEach((line, i) => {
    if (line.startsWith(";")) sourceLine = sourceText(line);
    if (INSTRUCTION.test(line)) last = i;
    const state = stateIn(line);
    if (state) registers = state;
  });
  const reason = body
    .slice(last + 1)
    .filter((line) => !line.startsWith(";") && !STATE.test(line))
    .slice(0, 3)
    .join("; ");
  const instruction = last >= 0 ? (body[last] ?? "").replace(/\s*;.*$/, "") : "";
  return { reason, sourceLine, instruction, registers: mentioned(reason, instruction, registers) };
}

/** The register state printed before an instruction (`3: R1=...`) or after it (`...; R1_w=...`). */
function stateIn(line: string): string {
  if (INSTRUCTION.test(line)) return /;\s*((?:frame\d+: )?R\d.*)$/.exec(line)?.[1] ?? "";
  return /^(?:from \d+ to )?\d+: (.*\bR\d.*)$/.exec(line)?.[1] ?? "";
}

function number(log: string, pattern: RegExp): number | undefined {
  const text = pattern.exec(log)?.[1];
  return text === undefined ? undefined : Number(text);
}

/** Statistics out of a log of level 4 (BPF_LOG_STATS). Pure; the sizes come from the program's info. */
export function parseStats(
  program: string,
  log: string,
  info: { verifiedInsns: number; jitedBytes: number; xlatedBytes: number },
): VerifierStats {
  const depths = /^stack depth ([\d+]+)/m.exec(log)?.[1];
  return {
    program,
    verifiedInsns: number(log, /^processed (\d+) insns/m) ?? info.verifiedInsns,
    verificationUs: number(log, /^verification time (\d+) usec/m) ?? 0,
    jitedBytes: info.jitedBytes,
    xlatedBytes: info.xlatedBytes,
    stackBytes: depths?.split("+").reduce((sum, n) => sum + Number(n), 0),
    peakStates: number(log, /peak_states (\d+)/),
  };
}
