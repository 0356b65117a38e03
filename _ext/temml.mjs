// TeX to MathML, for mathematics.py: each line of input is [tex, display] as JSON, each line of output
// {"mathml": ...} or {"error": ...}. A command that Temml does not know is an error, never red text on a page.
import { createInterface } from "node:readline";
import temml from "temml";

for await (const line of createInterface({ input: process.stdin })) {
  const [tex, displayMode] = JSON.parse(line);
  let answer;
  try {
    answer = { mathml: temml.renderToString(tex, { displayMode, throwOnError: true, wrap: "none" }) };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
