// Builds what Python ships. `node build.mjs` writes the bundles into the Python package, `--out FOLDER` elsewhere (a test
// compares the two), `--tests` the unit tests for node.
import { build, transform } from "esbuild";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const dependencies = Object.keys(JSON.parse(readFileSync(join(here, "package.json"), "utf8")).dependencies);

// A style sheet becomes a string: it is put into a shadow root, where a page's own styles cannot reach it.
const styles = {
  name: "styles",
  setup(builder) {
    builder.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const sheet = await transform(readFileSync(path, "utf8"), { loader: "css", minify: true, charset: "ascii" });
      return { contents: sheet.code.trim(), loader: "text" };
    });
  },
};

// The licences of what is inside must travel with it.
const licences = () =>
  dependencies
    .map((name) => `${name}: ${readFileSync(join(here, "node_modules", name, "LICENSE"), "utf8").trim()}`)
    .join("\n\n");

const shared = {
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "ascii",
  legalComments: "none",
  logLevel: "warning",
  plugins: [styles],
};

const bundles = [
  { entry: "src/explorer.ts", file: "views/page/explorer/explorer.js", licensed: true },
  { entry: "src/page.ts", file: "serve/static/page.js", external: ["./explorer.js", "./answer.js"] },
];

async function buildBundle({ entry, file, licensed = false, external = [] }, folder) {
  const banner = licensed ? { js: `/*! contextmix explorer, MIT. It contains:\n\n${licences()}\n*/` } : {};
  const { outputFiles } = await build({ ...shared, entryPoints: [entry], external, minify: true, banner, write: false });
  const { text } = outputFiles[0];
  // Inside <script> these would end it, or hide what follows.
  if (/<\/script|<!--|[^\x00-\x7f]/i.test(text)) throw new Error(`${file} cannot stand inside an HTML page`);
  mkdirSync(dirname(join(folder, file)), { recursive: true });
  writeFileSync(join(folder, file), text);
  console.log(`${file}: ${(text.length / 1024).toFixed(1)} kB`);
}

async function buildTests() {
  const names = readdirSync(join(here, "tests")).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...shared,
    entryPoints: names.map((name) => `tests/${name}`),
    outdir: "build",
    outExtension: { ".js": ".mjs" },
    platform: "node",
  });
}

const out = process.argv.indexOf("--out");
const folder = out < 0 ? join(here, "../src/contextmix") : process.argv[out + 1];
if (process.argv.includes("--tests")) await buildTests();
else for (const bundle of bundles) if (existsSync(join(here, bundle.entry))) await buildBundle(bundle, folder);
