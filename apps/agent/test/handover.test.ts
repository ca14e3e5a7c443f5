import type { PolicyKey, PolicyRow } from "@axoneme/abi";
import { parseIp } from "@axoneme/base";
import { expect, test } from "vitest";
import { Handover } from "../src/state/handover.ts";
import { ModelKernel } from "./model-kernel.ts";

const row: PolicyRow = { ruleId: 1 } as PolicyRow;

/** Rows of a number under policies of the agent before (1) and of the one that starts (2). */
function rowsOf(kernel: ModelKernel, identity: number): string[] {
  const own = kernel.policy.entries().filter(([key]) => key.identity === identity);
  return own.map(([{ policyId, port }]) => `${policyId} ${port}`).sort();
}

function stage() {
  const kernel = new ModelKernel();
  const put = (policyId: number, identity: number, port: number) => {
    const key: PolicyKey = { policyId, identity, cidr: 0, port, proto: 6, shape: 0 };
    kernel.policy.put(key, row);
  };
  const ip = parseIp("10.0.0.1");
  kernel.ipcache.put({ addr: ip, prefixlen: 128 }, { identity: 100 } as never);
  put(1, 100, 80);
  return { kernel, put, ip };
}

test("a number that nobody goes by loses what the old policies said of it", () => {
  const { kernel, put, ip } = stage();
  put(1, 200, 443);
  new Handover(kernel.asKernel()).carryAddress(ip, 200);
  expect(rowsOf(kernel, 200)).toEqual(["1 80"]);
});

test("rows of the agent that starts are neither copied nor removed, and what was carried is carried on", () => {
  const { kernel, put, ip } = stage();
  const handover = new Handover(kernel.asKernel());
  put(2, 100, 8080);
  put(2, 200, 9090);
  handover.carryAddress(ip, 200);
  expect(rowsOf(kernel, 200)).toEqual(["1 80", "2 9090"]);
  handover.carry(200, 300);
  expect(rowsOf(kernel, 300)).toEqual(["1 80"]);
});
