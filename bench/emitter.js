// SPDX-License-Identifier: MIT
// usage: node emitter.js: nanoseconds for one event to 64 listeners of an EventEmitter.
const { EventEmitter } = require("events");
const emitter = new EventEmitter();
emitter.setMaxListeners(0);
const sums = new Array(64).fill(0);
for (let i = 0; i < 64; i++) emitter.on("tick", (n) => { sums[i] += n; });
let best = Infinity;
for (let turn = 0; turn < 5; turn++) {
  const rounds = 100000;
  const began = process.hrtime.bigint();
  for (let i = 0; i < rounds; i++) emitter.emit("tick", 1);
  best = Math.min(best, Number(process.hrtime.bigint() - began) / rounds);
}
console.log(`emitter_ns\t${best.toPrecision(4)}`);
