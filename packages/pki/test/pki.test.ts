import { X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  type Authority,
  caDue,
  certificateFacts,
  hubbleSecrets,
  issue,
  type KeyPair,
  nodeSecret,
  nodeServerName,
  trustBundle,
} from "../src/index.ts";

const hourMs = 3_600_000;
const ca = (validMs = 10 * hourMs): Promise<KeyPair> => issue({ commonName: "ca", use: "ca", validMs });

describe("issue", () => {
  it("makes a CA, and certificates for one use each", async () => {
    const authority = await ca();
    expect(new X509Certificate(authority.certificate).ca).toBe(true);
    const server = await issue(
      { commonName: "a", sans: ["a.example", "192.0.2.1"], use: "server", validMs: hourMs },
      authority,
    );
    const facts = certificateFacts(server.certificate);
    expect(facts?.names).toEqual(["a.example"]);
    expect(facts?.isSignedBy(authority.certificate)).toBe(true);
    expect(facts?.isSignedBy((await ca()).certificate)).toBe(false);
    expect(facts?.hasKey(server.key)).toBe(true);
    expect(facts?.hasKey(authority.key)).toBe(false);
    const uses = new X509Certificate(server.certificate).keyUsage;
    expect(uses).toEqual(["1.3.6.1.5.5.7.3.1"]);
    const client = await issue({ commonName: "b", use: "client", validMs: hourMs }, authority);
    expect(new X509Certificate(client.certificate).keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
  });

  it("is valid from an hour ago for as long as was asked", async () => {
    const facts = certificateFacts((await ca(5 * hourMs)).certificate);
    expect(Math.abs((facts?.notBeforeMs ?? 0) - (Date.now() - hourMs))).toBeLessThan(60_000);
    expect(Math.abs((facts?.notAfterMs ?? 0) - (Date.now() + 5 * hourMs))).toBeLessThan(60_000);
  });

  it("reads no facts from what is no certificate", () => {
    expect(certificateFacts("nonsense")).toBeUndefined();
  });
});

describe("a CA's successor", () => {
  const times = { renewBeforeMs: 2 * hourMs, overlapMs: hourMs };

  it("is staged in time, trusted before it signs, and followed by silence", async () => {
    const now = Date.now();
    const [first, second] = [await ca(), await ca(20 * hourMs)];
    const young: Authority = { active: first };
    expect(caDue(young, now, times)).toBe("nothing");
    const late = now + 9 * hourMs;
    expect(caDue(young, late, times)).toBe("stage");
    const staged: Authority = { active: first, next: { ...second, sinceMs: late } };
    expect(trustBundle(staged)).toBe(`${first.certificate.trim()}\n${second.certificate.trim()}\n`);
    expect(caDue(staged, late + hourMs / 2, times)).toBe("nothing");
    expect(caDue(staged, late + hourMs, times)).toBe("promote");
    const promoted: Authority = { active: second, previous: first.certificate };
    expect(trustBundle(promoted)).toContain(first.certificate.trim());
    expect(caDue(promoted, late + hourMs / 2, times)).toBe("nothing");
    expect(caDue(promoted, now + 11 * hourMs, times)).toBe("forget");
  });

  it("does not wait for the overlap once the old one has ended", async () => {
    const now = Date.now();
    const staged: Authority = { active: await ca(), next: { ...(await ca()), sinceMs: now + 10 * hourMs } };
    expect(caDue(staged, now + 10 * hourMs + 1000, times)).toBe("promote");
  });
});

describe("names", () => {
  it("are the field's, and fit", () => {
    expect(nodeServerName("a.example", "eu.1")).toBe("a-example.eu-1.hubble-grpc.cilium.io");
    expect(nodeSecret("n1")).toBe("hubble-server-certs.n1");
    expect(nodeSecret("n".repeat(253)).length).toBeLessThan(253);
    expect(hubbleSecrets.ca).toBe("cilium-ca");
  });
});
