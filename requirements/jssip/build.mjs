// Bundles entry.js into one ES module that begins with the versions and licences of all that is in it.
// Usage, where package-lock.json is installed: node build.mjs OUTPUT
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const result = await build({
  entryPoints: ["entry.js"],
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2020",
  minify: true,
  lineLimit: 500,
  legalComments: "none", // the whole licences are in the banner
  charset: "ascii",
  metafile: true,
  write: false,
});

const packages = [
  ...new Set(Object.keys(result.metafile.inputs).flatMap((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1] ?? [])),
].sort((one, other) => (other === "jssip") - (one === "jssip") || one.localeCompare(other, "en"));

const about = packages.map((name) => {
  const folder = `node_modules/${name}`;
  const { version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name} has no licence file`);
  const text = readFileSync(`${folder}/${file}`, "utf8").replaceAll("*/", "* /").replace(/[ \t]+$/gm, "").trim();
  return `${name} ${version} (${license})\n\n${text}`;
});

const rule = `\n\n${"-".repeat(100)}\n\n`;
const head = `Built by \`make vendor\` from requirements/jssip; do not edit.\n\n${packages.join(", ")} as one ES module.`;
writeFileSync(process.argv[2], `/*!\n${[head, ...about].join(rule)}\n*/\n${result.outputFiles[0].text}`);
