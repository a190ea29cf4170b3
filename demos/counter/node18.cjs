// SPDX-License-Identifier: Apache-2.0
// The SDK expects Promise.withResolvers, which came with node 22; Debian 12 has node 18. Loaded with `node --require`.
if (!Promise.withResolvers) {
  Promise.withResolvers = function () {
    let resolve, reject;
    const promise = new this((res, rej) => {
      resolve = res;
      reject = rej;
    });
    return { promise, resolve, reject };
  };
}
