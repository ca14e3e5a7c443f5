import { describe, expect, it } from "vitest";
import { parseRejection, VERIFIER_LIMIT, VerifierError } from "../src/index.ts";

const PACKET = `func#0 @0
0: R1=ctx() R10=fp0
; __u8 *data = (__u8 *)(long)skb->data; @ x.bpf.c:16
0: (61) r1 = *(u32 *)(r1 +76)         ; R1_w=pkt(r=0)
; return data[40]; @ x.bpf.c:18
1: (71) r0 = *(u8 *)(r1 +40)
invalid access to packet, off=40 size=1, R1(id=0,off=40,r=0)
R1 offset is outside of the packet
verification time 83 usec
stack depth 0
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
`;

const BRANCH = `0: R1=ctx() R10=fp0
; if (!value) @ y.bpf.c:9
7: (15) if r0 == 0x0 goto pc+3        ; R0_w=map_value(map=m,ks=4,vs=8) refs=2
from 7 to 11: R0=0 R6=ctx() R10=fp0 fp-8=mmmm????
11: R0=0 R6=ctx() R10=fp0 fp-8=mmmm????
; return *value; @ y.bpf.c:11
11: (79) r0 = *(u64 *)(r0 +0)
R0 invalid mem access 'scalar'
processed 14 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 1
`;

const NESTED = `; while (n) @ z.bpf.c:3
4: (3e) if w7 >= w1 goto pc-4 ; R1_w=scalar(smin=0,var_off=(0x0; 0xff)) R6=ctx() R7_w=scalar() R10=fp0
The sequence of 8193 jumps is too complex.
processed 100 insns (limit 1000000)
`;

describe("a verifier log becomes the few lines that matter", () => {
  it("reason, source line, instruction and the register named", () => {
    expect(parseRejection(PACKET)).toEqual({
      reason:
        "invalid access to packet, off=40 size=1, R1(id=0,off=40,r=0); R1 offset is outside of the packet",
      sourceLine: "return data[40]; @ x.bpf.c:18",
      instruction: "1: (71) r0 = *(u8 *)(r1 +40)",
      registers: "R1_w=pkt(r=0)",
    });
  });

  it("takes the state of the branch that failed", () => {
    const rejection = parseRejection(BRANCH);
    expect(rejection.reason).toBe("R0 invalid mem access 'scalar'");
    expect(rejection.registers).toBe("R0=0");
    expect(rejection.sourceLine).toBe("return *value; @ y.bpf.c:11");
  });

  it("shows the registers of the instruction when the reason names none", () => {
    expect(parseRejection(NESTED).registers).toBe("R1_w=scalar(smin=0,var_off=(0x0; 0xff)) R7_w=scalar()");
  });

  it("does with a log that has no instruction, or nothing", () => {
    expect(parseRejection("BPF program is too large. Processed 1000001 insn\n")).toEqual({
      reason: "BPF program is too large. Processed 1000001 insn",
      sourceLine: "",
      instruction: "",
      registers: "",
    });
    expect(parseRejection("").reason).toBe("");
  });

  it("gives a message of at most four lines and keeps the log", () => {
    const error = new VerifierError("x", 13, parseRejection(PACKET), PACKET);
    expect(error.message.split("\n")).toHaveLength(4);
    expect([error.code, error.errnoName, error.log]).toEqual(["bpf.verifier", "EACCES", PACKET]);
    expect(new VerifierError("x", 22, parseRejection(""), "").message).toBe(
      "program x was rejected: the kernel gave no reason",
    );
    expect(VERIFIER_LIMIT).toBe(1_000_000);
  });
});
