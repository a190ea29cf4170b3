// SPDX-License-Identifier: Apache-2.0
// The service of memory.test.mjs. Environment as services.mjs has it.
import http2 from "node:http2";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.SDK_HOME, "package.json"));
const restate = require("@restatedev/restate-sdk");

const large = restate.service({
  name: "Large",
  handlers: {
    // Suspends half-way and at the end, so the journal is replayed with half of the results and with all.
    run: async (ctx, { results, bytes }) => {
      let sum = 0;
      for (let i = 0; i < results; i++) {
        if (i === results / 2) await ctx.sleep(1500);
        sum += (await ctx.run("large", () => Buffer.alloc(bytes - 2, 120).toString())).length + 2;
      }
      await ctx.sleep(1500);
      return sum;
    },
  },
  // asked to suspend as soon as it waits
  options: { inactivityTimeout: 500 },
});

const endpoint = restate.endpoint().bind(large);
http2.createServer(endpoint.http2Handler()).listen(Number(process.env.PORT), "127.0.0.1",
  () => console.log(`services on ${process.env.PORT}`));
