import { describe, expect, it } from "vitest";
import { parseFlowLogs } from "../../src/export/config.ts";

describe("parseFlowLogs", () => {
  it("reads the field's file", () => {
    const logs = parseFlowLogs(`
flowLogs:
- name: all
  filePath: /var/log/flows/all.log
- name: drops
  filePath: /var/log//flows/drops.log
  fieldMask: [time, source.namespace, verdict]
  includeFilters:
  - source_pod: [default/]
    event_type: [{type: 1}]
  - sourcePod: [shop/web]
    verdict: [DROPPED]
  excludeFilters:
  - source_ip: [10.0.0.0/8]
  fileMaxSizeMb: 3
  fileMaxBackups: 0
  fileCompress: true
  end: 2026-11-20T12:00:00+01:00
`);
    expect(logs).toEqual([
      {
        name: "all",
        filePath: "/var/log/flows/all.log",
        fieldMask: [],
        includeFilters: [],
        excludeFilters: [],
        fileMaxSizeMb: 10,
        fileMaxBackups: 5,
        fileCompress: false,
      },
      {
        name: "drops",
        filePath: "/var/log/flows/drops.log",
        fieldMask: ["time", "source.namespace", "verdict"],
        includeFilters: [
          { source_pod: ["default/"], event_type: [{ type: 1 }] },
          { source_pod: ["shop/web"], verdict: ["DROPPED"] },
        ],
        excludeFilters: [{ source_ip: ["10.0.0.0/8"] }],
        fileMaxSizeMb: 3,
        fileMaxBackups: 0,
        fileCompress: true,
        end: "2026-11-20T11:00:00Z",
      },
    ]);
  });

  it.each(["", "flowLogs: []", "flowLogs:", "# nothing"])("wants nothing: %j", (text) => {
    expect(parseFlowLogs(text)).toEqual([]);
  });

  it("takes empty fields of what is not served", () => {
    const text = "flowLogs: [{name: a, filePath: /a, fieldAggregate: [], aggregationInterval: 0s}]";
    expect(parseFlowLogs(text)).toHaveLength(1);
  });

  const log = (more: string): string => `flowLogs: [{name: a, filePath: /a, ${more}}]`;
  it.each([
    ["flowLogs: [", "the file is not YAML"],
    ["logs: []", 'the file has no list "flowLogs"'],
    ["flowLogs: [{filePath: /a}]", "flowLogs[0] needs a name"],
    ["flowLogs: [{name: a}]", 'log "a" needs a filePath'],
    ["flowLogs: [{name: a, filePath: a.log}]", 'filePath "a.log" is not absolute'],
    ["flowLogs: [{name: a, filePath: /a}, {name: a, filePath: /b}]", 'two logs have the name "a"'],
    ["flowLogs: [{name: a, filePath: /a}, {name: b, filePath: //a}]", 'two logs have the filePath "/a"'],
    [log("fields: []"), '"fields" is unknown (known: name,'],
    [log("fieldMask: [source.pod]"), 'flow.Flow has no field "source.pod"'],
    [log("includeFilters: [{pod: [a]}]"), "includeFilters[0]:"],
    [log("excludeFilters: [{source_ip: [nowhere]}]"), "nowhere"],
    [log("includeFilters: [{verdict: [LOST]}]"), "includeFilters[0]:"],
    [log("fileMaxSizeMb: 0"), "fileMaxSizeMb is not a whole number from 1 to 1000000"],
    [log("end: tomorrow"), 'time "tomorrow" is not RFC 3339'],
    [log("fieldAggregate: [verdict]"), "fieldAggregate is not supported"],
  ])("refuses %s", (text, message) => {
    expect(() => parseFlowLogs(text)).toThrow(message);
  });
});
