// SPDX-License-Identifier: Apache-2.0
// The service of memory.test.mjs, as bench-endpoint has it. Environment as services.mjs has it.
import http2 from "node:http2";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.SDK_HOME, "package.json"));
const restate = require("@restatedev/restate-sdk");

const large = restate.service({
  name: "Large",
  handlers: {
    run: async (ctx, [results, bytes]) => {
      let sum = 0;
      for (let i = 0; i < results; i++)
        sum += (await ctx.run("large", () => Buffer.alloc(bytes - 2, 120).toString())).length + 2;
      await ctx.awakeable().promise;
      return sum;
    },
  },
  // asked to suspend as soon as it waits
  options: { inactivityTimeout: 500 },
});

const endpoint = restate.endpoint().bind(large);
http2.createServer(endpoint.http2Handler()).listen(Number(process.env.PORT), "127.0.0.1",
  () => console.log(`services on ${process.env.PORT}`));
