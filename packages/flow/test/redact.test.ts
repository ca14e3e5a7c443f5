import fc from "fast-check";
import { expect, it } from "vitest";
import { compileRedaction, type FlowHttp, type RedactionOptions } from "../src/index.ts";

const nothing: RedactionOptions = {
  urlQuery: false,
  userInfo: false,
  headersAllow: ["host", "cookie", "accept"],
  headersDeny: [],
  kafkaApiKey: false,
};

function http(of: FlowHttp, options: Partial<RedactionOptions>): FlowHttp | undefined {
  return compileRedaction({ ...nothing, ...options })({ type: "REQUEST", http: of }).http;
}

const headers = [
  { key: "Host", value: "shop.example.org" },
  { key: "Cookie", value: "session=1234" },
  { key: "Accept", value: "text/html" },
];
const values = (options: Partial<RedactionOptions>): (string | undefined)[] | undefined =>
  http({ headers }, { headersAllow: [], ...options })?.headers?.map(({ value }) => value);

it.each([
  ["/search?q=secret#part", "/search"],
  ["http://shop/a#b?c", "http://shop/a"],
  ["/plain", "/plain"],
])("the query of %s", (url, safe) => {
  expect(http({ url }, { urlQuery: true })?.url).toBe(safe);
  expect(http({ url }, {})?.url).toBe(url);
});

it.each([
  ["http://user:pass@shop/a", "http://user:HUBBLE_REDACTED@shop/a"],
  ["http://user:p@ss:w@shop:80", "http://user:HUBBLE_REDACTED@shop:80"],
  ["//user:pass@shop/a", "//user:HUBBLE_REDACTED@shop/a"],
  ["http://:pass@shop?x=a:b@c", "http://:HUBBLE_REDACTED@shop?x=a:b@c"],
  ["http://user@shop:80/a:b@c", "http://user@shop:80/a:b@c"],
  ["http://[fd00::1]:80/a@b", "http://[fd00::1]:80/a@b"],
  ["/a:b@c", "/a:b@c"],
])("the password in %s", (url, safe) => {
  expect(http({ url }, { userInfo: true })?.url).toBe(safe);
});

it("a password does not show, whatever it is", () => {
  const secret = fc.stringMatching(/^[a-z0-9:@%!$&*+=.~-]{4,20}$/).map((text) => `Q${text}Z`);
  fc.assert(
    fc.property(secret, fc.webPath(), (password, path) => {
      const url = http(
        { url: `http://user:${password}@shop.example.org:8080${path}` },
        { userInfo: true },
      )?.url;
      expect(url).toBe(`http://user:HUBBLE_REDACTED@shop.example.org:8080${path}`);
    }),
  );
});

it("headers: all without lists, all but the allowed, or the denied only; a name in both lists is secret", () => {
  const secret = "HUBBLE_REDACTED";
  expect(values({})).toEqual([secret, secret, secret]);
  expect(values({ headersAllow: ["HOST"] })).toEqual(["shop.example.org", secret, secret]);
  expect(values({ headersDeny: ["cookie"] })).toEqual(["shop.example.org", secret, "text/html"]);
  expect(values({ headersAllow: ["host", "cookie"], headersDeny: ["Cookie"] })).toEqual([
    "shop.example.org",
    secret,
    secret,
  ]);
});

it("API keys of Kafka", () => {
  const kafka = { api_key: "produce", topic: "orders" };
  expect(compileRedaction({ ...nothing, kafkaApiKey: true })({ kafka }).kafka).toEqual({
    api_key: "HUBBLE_REDACTED",
    topic: "orders",
  });
  expect(compileRedaction(nothing)({ kafka }).kafka).toEqual(kafka);
});

it("leaves what came in as it was, and DNS alone", () => {
  const detail = { http: { url: "/a?b", headers } };
  compileRedaction({ ...nothing, urlQuery: true, headersAllow: [] })(detail);
  expect(detail).toEqual({ http: { url: "/a?b", headers } });
  const dns = { dns: { query: "a.example.org?" } };
  expect(compileRedaction({ ...nothing, urlQuery: true })(dns)).toBe(dns);
});
