import { describe, expect, test } from "vitest";
import { decodeProtobuf } from "../../src/apiserver/protobuf.ts";

/** A length-delimited field, or a varint below 128. */
function field(number: number, value: string | Buffer | number): Buffer {
  if (typeof value === "number") return Buffer.from([number << 3, value]);
  const data = Buffer.from(value);
  return Buffer.concat([Buffer.from([(number << 3) | 2, data.length]), data]);
}

function envelope(apiVersion: string, kind: string, raw: Buffer): Buffer {
  const typeMeta = Buffer.concat([field(1, apiVersion), field(2, kind)]);
  return Buffer.concat([Buffer.from("k8s\0"), field(1, typeMeta), field(2, raw)]);
}

const metadata = Buffer.concat([
  field(1, "x"),
  field(3, ""),
  field(11, Buffer.concat([field(1, "k"), field(2, "v")])),
]);

describe("protobuf bodies", () => {
  test("names, maps and bytes come out as JSON has them; unset strings do not come out", () => {
    const data = Buffer.concat([field(1, "key"), field(2, Buffer.from([0xff, 0x00]))]);
    const secret = decodeProtobuf(
      envelope("v1", "Secret", Buffer.concat([field(1, metadata), field(2, data)])),
    );
    expect(secret).toEqual({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "x", labels: { k: "v" } },
      data: { key: "/wA=" },
    });
  });

  test("embedded messages, lists, integers or strings, and zeros that mean something", () => {
    // ServicePort: name 1, protocol 2, port 3, targetPort 4 (type 1, intVal 2, strVal 3), nodePort 5.
    const named = Buffer.concat([field(1, 1), field(3, "http")]);
    const numbered = Buffer.concat([field(1, 0), field(2, 81)]);
    const ports = [named, numbered].map((target, i) =>
      field(1, Buffer.concat([field(3, 80 + i), field(4, target), field(5, 0)])),
    );
    const service = decodeProtobuf(envelope("v1", "Service", field(2, Buffer.concat(ports))));
    expect(service["spec"]).toEqual({
      ports: [
        { port: 80, targetPort: "http" },
        { port: 81, targetPort: 81 },
      ],
    });
    const deployment = decodeProtobuf(envelope("apps/v1", "Deployment", field(2, field(1, 0))));
    expect(deployment["spec"]).toEqual({ replicas: 0 });
    // Volume: name 1, its source 2 embedded; emptyDir is 2 of the source.
    const volume = Buffer.concat([field(1, "v"), field(2, field(2, ""))]);
    const pod = decodeProtobuf(envelope("v1", "Pod", field(2, field(1, volume))));
    expect(pod["spec"]).toEqual({ volumes: [{ name: "v", emptyDir: {} }] });
  });

  test("what is cut short, or not ours, is refused", () => {
    const whole = envelope("v1", "Secret", field(1, metadata));
    expect(() => decodeProtobuf(whole.subarray(0, whole.length - 2))).toThrow(/ends in the middle/);
    expect(() => decodeProtobuf(Buffer.from("{}"))).toThrow(/does not begin with/);
    expect(() => decodeProtobuf(envelope("example.com/v1", "Widget", Buffer.alloc(0)))).toThrow(/send JSON/);
  });
});
