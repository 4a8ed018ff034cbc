// SPDX-License-Identifier: MIT
// usage: node peers.js MODULES bullmq PORT N | node peers.js MODULES plainjob FILE N
// N jobs that do nothing: drain_per_s, those that are queued, from the start of the workers to
// the end of the last. MODULES is a folder with node_modules. BullMQ's redis-server has to
// listen at PORT; plainjob's SQLite gets synchronous=FULL, without which nothing is on disk.
const { createRequire } = require("module");
const { pathToFileURL } = require("url");
const [modules, peer, where, count] = process.argv.slice(2);
const load = createRequire(`${modules}/package.json`);
const n = Number(count);

function tell(began) {
  console.log(`drain_per_s\t${(n / (Number(process.hrtime.bigint() - began) / 1e9)).toPrecision(4)}`);
}

// One worker that has many jobs under way is its best in one process.
async function bullmq() {
  const { Queue, Worker } = load("bullmq");
  const connection = { host: "127.0.0.1", port: Number(where), maxRetriesPerRequest: null };
  const queue = new Queue("bench", { connection });
  for (let done = 0; done < n; done += 1000) {
    await queue.addBulk(Array.from({ length: Math.min(1000, n - done) }, () => ({ name: "nothing", data: {} })));
  }
  let left = n;
  const began = process.hrtime.bigint();
  await new Promise((resolve) => {
    const worker = new Worker("bench", async () => {}, { connection, concurrency: 500 });
    worker.on("completed", () => { if (--left === 0) resolve(); });
  });
  tell(began);
  process.exit(0);
}

async function plainjob() {
  const { better, defineQueue, defineWorker } = await import(pathToFileURL(load.resolve("plainjob")).href);
  const Database = load("better-sqlite3");
  const database = new Database(where);
  const logger = { debug() {}, info() {}, warn() {}, error: console.error };
  const queue = defineQueue({ connection: better(database), logger });
  database.pragma("synchronous = FULL"); // it has set NORMAL
  database.transaction(() => { for (let i = 0; i < n; i++) queue.add("nothing", {}); })();
  let left = n;
  const began = process.hrtime.bigint();
  await new Promise((resolve) => {
    const worker = defineWorker("nothing", async () => {}, {
      queue, logger, onCompleted: () => { if (--left === 0) resolve(); },
    });
    worker.start();
  });
  tell(began);
  process.exit(0);
}

({ bullmq, plainjob })[peer]();
