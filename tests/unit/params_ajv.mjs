// SPDX-License-Identifier: MIT
// The verdicts of fixtures/params.ndjson by another implementation of JSON Schema. test_params
// checks that the same schemas come out and that our own verdicts are the same; this says that
// they are right. `./dev deps schema` installs ajv; params_ajv.sh is the test.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { default: Ajv } = createRequire(import.meta.url)('ajv/dist/2020.js');
const ajv = new Ajv({ strict: false });
let verdicts = 0;
let wrong = 0;
for (const line of readFileSync(process.argv[2], 'utf8').trim().split('\n')) {
  const { parameters, schema, good, bad, bad_here } = JSON.parse(line);
  const fits = ajv.compile(schema);
  // What only our check refuses (bounds of durations that are texts) the schema allows.
  for (const [all, wanted] of [[good, true], [bad, false], [bad_here, true]]) {
    for (const args of all) {
      verdicts++;
      if (fits(args) !== wanted) {
        wrong++;
        console.log(JSON.stringify(parameters), JSON.stringify(args), 'wanted', wanted);
      }
    }
  }
}
console.log(`${verdicts} verdicts, ${wrong} wrong`);
process.exit(wrong ? 1 : 0);
