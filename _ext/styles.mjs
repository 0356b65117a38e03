// The style sheets of a book as one, for light_pages.py: what no page uses is left out, the rest is written short.
// Reads {"theirs": [...], "ours": [...], "pages": [...]}, lists of files; writes the sheet. Ours stay whole.
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import CleanCSS from "clean-css";
import { PurgeCSS } from "purgecss";

const read = (path) => readFileSync(path, "utf8");
const { theirs, ours, pages } = JSON.parse(read(0));

const withImports = (path) =>
  read(path).replace(/@import\s+(?:url\()?["']?([^"')]+\.css)["']?\)?\s*;/g, (_, name) => withImports(resolve(dirname(path), name)));

const [purged] = await new PurgeCSS().purge({
  css: [{ raw: theirs.map(withImports).join("\n") }],
  content: pages,
  safelist: {
    // What scripts set on elements, or put together from parts of names.
    greedy: [/data-(theme|mode)/, /tooltip/, /^fade$/, /^show$/],
  },
});
const made = new CleanCSS({ level: 1 }).minify([purged.css, ...ours.map(read)].join("\n"));
if (made.errors.length) throw new Error(made.errors.join("\n"));
process.stdout.write(made.styles);
