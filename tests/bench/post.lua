-- wrk script: POST to /Echo/echo, /Counter/<key>/add, ... ; arguments: path with %d for a random key, number of keys, body
local path, keys, body = nil, 1, "1"
function init(args)
  path, keys, body = args[1], tonumber(args[2] or "1"), args[3] or "1"
  math.randomseed(os.time())
end
function request()
  return wrk.format("POST", string.format(path, math.random(1, keys)), {["content-type"] = "application/json"}, body)
end
local bad = 0
function response(status)
  if status ~= 200 and status ~= 202 then bad = bad + 1 end
end
function done(summary, latency, requests)
  io.write(string.format("RESULT %d %d %.3f %.3f %.3f\n", summary.requests, summary.duration, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
