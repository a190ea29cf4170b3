// SPDX-License-Identifier: Apache-2.0
// A durable counter: one virtual object, whose state per key lives inside restate-server.
//
//   npm install && npm start
//   restate deployments register http://127.0.0.1:9080
//   curl http://127.0.0.1:8080/Counter/hello/add -H 'content-type: application/json' -d 1
import http2 from "node:http2";
import * as restate from "@restatedev/restate-sdk";

const counter = restate.object({
  name: "Counter",
  handlers: {
    // Exclusive: the calls for one key run one after the other.
    add: async (ctx, amount) => {
      const value = ((await ctx.get("count")) ?? 0) + amount;
      ctx.set("count", value);
      return { key: ctx.key, count: value };
    },
    // After a durable delay, which survives any restart.
    addLater: async (ctx, amount) => {
      await ctx.sleep(1000);
      const value = ((await ctx.get("count")) ?? 0) + amount;
      ctx.set("count", value);
      return { key: ctx.key, count: value };
    },
    reset: async (ctx) => {
      ctx.clear("count");
    },
    // Shared: reads run beside everything else.
    get: restate.handlers.object.shared(async (ctx) => (await ctx.get("count")) ?? 0),
  },
});

const port = Number(process.env.PORT ?? 9080);
const bind = process.env.BIND ?? "127.0.0.1";
http2
  .createServer(restate.createEndpointHandler({ services: [counter] }))
  .listen(port, bind, () => console.log(`the counter listens on http://${bind}:${port}`));
