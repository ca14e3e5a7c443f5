/**
 * The layers of docs/architecture.md as a rule: imports go down only. A pure package imports pure packages,
 * an adapter imports pure ones and the adapters below it, an app imports anything but another app.
 */
const pure = "^packages/(base|proto|state|identity|policy|loadbalancer|ipam|flow|dns|l7|tracing)/";
module.exports = {
  forbidden: [
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
    {
      name: "base-imports-nothing",
      severity: "error",
      from: { path: "^packages/base/src" },
      to: { path: "^(packages/(?!base/)|apps/|node_modules/)" },
    },
    {
      name: "pure-stays-pure",
      comment: "pure packages do no I/O and run in the browser",
      severity: "error",
      from: { path: `${pure.slice(0, -1)}/src` },
      to: { pathNot: [pure, "^packages/abi/"], path: "^packages/|^apps/" },
    },
    {
      name: "pure-has-no-node",
      severity: "error",
      from: { path: `${pure.slice(0, -1)}/src` },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "bindings-at-the-bottom",
      severity: "error",
      from: { path: "^packages/(abi|bpf|netlink)/src" },
      to: { path: "^(apps/|packages/(?!base/|abi/|bpf/|netlink/))" },
    },
    { name: "packages-know-no-app", severity: "error", from: { path: "^packages/" }, to: { path: "^apps/" } },
    {
      name: "apps-stand-alone",
      comment: "the CLI may drive the lab; otherwise apps meet over their APIs",
      severity: "error",
      from: { path: "^apps/(?!cli/)([^/]+)/" },
      to: { path: "^apps/([^/]+)/", pathNot: "^apps/$1/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "(/test/|\\.gen\\.ts$|/dist/)" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default"],
      extensions: [".ts", ".js", ".mjs"],
    },
  },
};
